"""``@pytest.mark.drm(...)`` and the [drm] section as requirements; worker types as people write them. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drm.model.claims import claims_of
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.resources import Requirements, Resources
from drm.model.units import parse_bytes, parse_duration, shown

EXAMPLE = '@pytest.mark.drm(cpu=2, memory="4GiB", gpu=1, labels=["x"], lock="db", group="g", timeout=60)'
_MOST_USD = 1e9  # an hour; what a run costs is still a number then


def _amount(value: Any, what: str) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ConfigError(f"{what}: {shown(value)} is not an amount", remedy="give a number >= 0")
    return number


def _cpu(value: Any, what: str) -> float:
    number = _amount(value, what)
    if Resources(cpu_cores=number).cpu_cores == 0:  # less than a thousandth is nothing
        raise ConfigError(f"{what}: a test cannot run on {number:g} cpu", remedy="give a number above 0, such as 0.5")
    return number


def _gpus(value: Any, what: str) -> float:
    number = _amount(value, what)
    if number and Resources(gpus=number).gpus == 0:  # it would run, and find no gpu
        raise ConfigError(f"{what}: {number:g} is less than a thousandth of a gpu", remedy="give 0, or at least 0.001")
    return number


def _price(value: Any, what: str) -> float:
    number = _amount(value, what)
    if number >= _MOST_USD:
        raise ConfigError(f"{what}: {shown(value)} is no price", remedy="give USD an hour, such as 0.5")
    return number


def some_bytes(value: Any, what: str) -> int:
    """Return the memory that something has. ConfigError where that is none: no test runs in it."""
    size = parse_bytes(value, what=what)
    if size == 0:
        raise ConfigError(f"{what}: {shown(value)} is no memory to run tests in", remedy='give a size such as "4GiB"')
    return size


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{what}: {shown(value)} is not a name", remedy='give a text such as "db"')
    return value


def _names(value: Any, what: str) -> frozenset[str]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple | set | frozenset):
        raise ConfigError(f"{what}: {shown(value)} is no list of names", remedy='give a list such as ["db", "net"]')
    return frozenset(_name(item, what) for item in value)


def _yes_or_no(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{what}: {shown(value)} is neither yes nor no", remedy="give True or False")
    return value


def _counted(value: Any, what: str) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{what}: {shown(value)} names no amounts", remedy='give a dict such as {"license": 1}')
    for name, amount in value.items():
        if type(amount) is not int or amount < 1:
            wrong = f"{shown(amount)} of {shown(name)}"
            raise ConfigError(f"{what}: {wrong} is no count", remedy="give a whole number above 0")
    return {_name(name, what): amount for name, amount in value.items()}


def _timeout(value: Any, what: str) -> float:
    seconds = parse_duration(value, what=what)
    if seconds == 0:
        raise ConfigError(f"{what}: 0 seconds is no time to run in", remedy="give a number of seconds above 0")
    return seconds


KEYS: dict[str, Callable[[Any, str], Any]] = {
    "cpu": _cpu,
    "memory": lambda value, what: parse_bytes(value, what=what),
    "gpu": _gpus,
    "labels": _names,
    "lock": _names,
    "shared_lock": _names,
    "serial": _yes_or_no,
    "resources": _counted,
    "group": _name,
    "timeout": _timeout,
    "idempotent": _yes_or_no,
}
NO_COUNTED: Mapping[str, int] = {}


def check_key(key: str, valid: Sequence[str], *, where: str) -> None:
    """Raise ConfigError for a key that is none of ``valid``, with the likeliest one as the remedy."""
    if key not in valid:
        close = difflib.get_close_matches(key, valid, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(valid)}"
        raise ConfigError(f"{where}: unknown key {key!r}", remedy=remedy)


def requirements_of(
    markers: Sequence[tuple[Sequence[Any], Mapping[str, Any]]],
    defaults: Mapping[str, Any],
    *,
    where: str,
    counted: Mapping[str, int] = NO_COUNTED,
) -> Requirements:
    """Return what a test requires.

    ``markers`` are the (args, kwargs) of its drm markers, nearest first: a key of a nearer
    one wins. ``defaults`` are parsed values from the [drm] section, ``counted`` the resources that it
    declares. ConfigError names ``where``.
    """
    values: dict[str, Any] = {}
    for args, kwargs in markers:
        if args:
            raise ConfigError(f"{where}: the drm marker takes no positional values", remedy=f"write {EXAMPLE}")
        for key, value in kwargs.items():
            check_key(key, tuple(KEYS), where=f"{where}: drm marker")
            if key not in values and value is not None:
                values[key] = KEYS[key](value, f"{where}: drm marker {key}")
    sources = dict.fromkeys(values, "marker")
    for key, value in defaults.items():
        if key in KEYS and key not in values:
            values[key] = value
            sources[key] = "configuration"
    return Requirements(
        amounts=Resources(
            cpu_cores=values.get("cpu", 1.0), memory_bytes=values.get("memory", 0), gpus=values.get("gpu", 0.0)
        ),
        labels=values.get("labels", frozenset()),
        claims=claims_of(
            locks=values.get("lock", ()),
            shared_locks=values.get("shared_lock", ()),
            counted=_declared(values.get("resources", NO_COUNTED), counted, where=f"{where}: drm marker resources"),
            serial=values.get("serial", False),
        ),
        group=values.get("group"),
        timeout_s=values.get("timeout"),
        idempotent=values.get("idempotent", False),
        sources=tuple(sorted(sources.items())),
    )


def _declared(wanted: Mapping[str, int], counted: Mapping[str, int], *, where: str) -> Mapping[str, int]:
    """Return what is wanted; ConfigError for more than the [drm] section says there is."""
    for name, amount in wanted.items():
        if name not in counted:
            close = difflib.get_close_matches(name, counted, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f'write "resources = {name}:{amount}" in [drm]'
            raise ConfigError(f"{where}: {name!r} is not declared", remedy=remedy)
        if amount > counted[name]:
            raise ConfigError(
                f"{where}: {shown(amount)} of {name!r}; there are {counted[name]}",
                remedy="ask for less or declare more",
            )
    return wanted


def group_marker(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return pytest-xdist's ``xdist_group`` marker as a drm marker."""
    return (), {"group": str(kwargs.get("name", args[0] if args else "default"))}


def parse_counted(value: Any, *, where: str) -> dict[str, int]:
    """Return what ``resources`` of a [drm] section declares: ``license:2 browser:4``, or in TOML a table."""
    if isinstance(value, Mapping):
        return _counted(value, where)
    words = value if isinstance(value, list) else str(value).replace(",", " ").split()
    found: dict[str, int] = {}
    for word in words:
        name, _, amount = str(word).rpartition(":")
        if not name or not amount.isdecimal() or len(amount) > 9 or int(amount) < 1 or name in found:
            raise ConfigError(f"{where}: {shown(word)} is no name with an amount", remedy='write "license:2 browser:4"')
        found[name] = int(amount)
    return found


def parse_defaults(section: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the requirement keys of a [drm] section, parsed."""
    texts = {key: value for key, value in section.items() if key in ("cpu", "memory", "gpu", "timeout")}
    return {key: KEYS[key](value, f"{where}: {key}") for key, value in texts.items()}


def parse_worker_type(text: str, *, machine: Resources, number: int, what: str = "--drm-worker-type") -> WorkerType:
    """Return a worker type from ``"cpu=1"`` or ``"name=big,cpu=2,memory=4GiB,gpu=1,labels=gpu+ssd,price=0.5"``.

    Memory not given is the same share of the machine's as the cpu is of its cores (at most all of it).
    """
    where = f"{what} {text!r}"
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise ConfigError(f"{where}: {part!r} is not KEY=VALUE", remedy='write it like "cpu=1,memory=2GiB"')
        check_key(key.strip(), ("name", "cpu", "memory", "gpu", "labels", "price"), where=where)
        if key.strip() in values:
            raise ConfigError(f"{where}: {key.strip()} is given twice", remedy="give it once")
        values[key.strip()] = value.strip()
    cpu = _cpu(values.get("cpu", "1"), f"{where}: cpu")
    share = min(1.0, cpu / machine.cpu_cores) if machine.cpu_cores else 1.0
    memory = some_bytes(values["memory"], f"{where}: memory") if "memory" in values else None
    return WorkerType(
        name=values.get("name") or (f"standard-{number}" if number else "standard"),
        capacity=Resources(
            cpu_cores=cpu,
            memory_bytes=memory if memory is not None else int(machine.memory_bytes * share),
            gpus=_gpus(values.get("gpu", "0"), f"{where}: gpu"),
        ),
        labels=frozenset(filter(None, values.get("labels", "").split("+"))),
        usd_per_hour=_price(values.get("price", "0"), f"{where}: price"),
    )
