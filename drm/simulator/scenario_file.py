"""Reading a scenario: YAML (or JSON) in, a checked ``Scenario`` out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from drm.coordinator.retries import parse_retries
from drm.dynamic_resource_manager import parse_scaling, parse_value_of_time
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.markers import KEYS, parse_counted, requirements_of, some_bytes
from drm.model.resources import Resources
from drm.model.units import parse_bytes, parse_duration, shown
from drm.simulator.plain_values import (
    MOST_WORKERS,
    fields_of,
    list_of,
    number_of,
    range_of,
    share_of,
    table_of,
    whole,
)
from drm.simulator.provider import PROVIDER
from drm.simulator.scenario import (
    Faults,
    Knowledge,
    Policies,
    Recorded,
    Rule,
    Scenario,
    Synthetic,
    TestClass,
    WorkerSpec,
)

__all__ = ["read_scenario", "scenario_of"]

_MOST_TESTS = 10_000_000
_TOP = (
    *("name", "seed", "workload", "workers", "pool", "requirements", "history", "faults", "policies", "resources"),
    *("executor_start", "sample"),
)


def read_scenario(path: Path, changes: Sequence[str] = ()) -> Scenario:
    """Read a file; ``changes`` are KEY.KEY=VALUE (a list's item by name or number). ConfigError names what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"{path}: cannot be read ({reason})", remedy="give a scenario, see docs/simulate.md"
        ) from error
    data = _parsed(text, path)
    for change in changes:
        _change(data, change)
    return scenario_of(data, where=path.name, folder=path.parent)


def _parsed(text: str, path: Path) -> Any:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: {error}", remedy="correct the file") from error
    return _yaml(text, str(path))


def _yaml(text: str, where: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{where}: PyYAML is not installed", remedy="pip install 'drm-testing[simulate]', or write it as .json"
        ) from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}", remedy="correct the file") from error


def _change(data: Any, change: str) -> None:
    path, equals, text = change.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {shown(change)}: not KEY=VALUE", remedy="write it like workers.gpu.count=3")
    place = data
    for key in keys[:-1]:
        place = _inner(place, key, change)
    if isinstance(place, list):
        place[_index(place, keys[-1], change)] = _yaml(text, f"--set {change}")
    elif isinstance(place, dict):
        place[keys[-1]] = _yaml(text, f"--set {change}")
    else:
        raise ConfigError(f"--set {shown(change)}: there is nothing to set it in", remedy="look at the scenario's keys")


def _inner(place: Any, key: str, change: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, key, change)]
    if isinstance(place, dict):
        return place.setdefault(key, {})
    raise ConfigError(f"--set {shown(change)}: {key!r} has nothing inside", remedy="look at the scenario's keys")


def _index(rows: list[Any], key: str, change: str) -> int:
    named = [index for index, row in enumerate(rows) if isinstance(row, dict) and row.get("name") == key]
    if named or (key.isdecimal() and int(key) < len(rows)):
        return named[0] if named else int(key)
    names = ", ".join(str(row.get("name")) for row in rows if isinstance(row, dict))
    raise ConfigError(f"--set {shown(change)}: nothing is called {key!r}", remedy=f"there is {names or 'nothing'}")


def scenario_of(data: Any, *, where: str, folder: Path) -> Scenario:
    """Return the scenario that plain values describe; files in it are relative to ``folder``."""
    top = table_of(data, where, _TOP)
    counted = parse_counted(top.get("resources", {}), where=f"{where}: resources")
    workers = tuple(
        _worker(row, f"{where}: workers[{number}]", number) for number, row in enumerate(list_of(top, "workers", where))
    )
    names = [spec.worker_type.name for spec in workers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: two kinds of workers are called {name!r}", remedy="give each its own name")
    pool = range_of(top["pool"], f"{where}: pool") if "pool" in top else (0, 0)
    if not any((spec.count or pool)[1] for spec in workers):
        raise ConfigError(f"{where}: there are no workers", remedy='give workers a count such as 3, or "pool: 1..4"')
    return Scenario(
        name=str(top.get("name", where.rpartition(".")[0] or where)),
        seed=whole(top.get("seed", 0), f"{where}: seed", least=0, most=2**63),
        workload=_workload(top.get("workload"), f"{where}: workload", folder, counted),
        workers=workers,
        pool=pool,
        rules=tuple(
            _rule(row, f"{where}: requirements[{number}]", counted)
            for number, row in enumerate(list_of(top, "requirements", where) if "requirements" in top else ())
        ),
        knowledge=fields_of(
            Knowledge, top.get("history", {}), f"{where}: history", {"known": share_of, "error": number_of}
        ),
        faults=_faults(top.get("faults", {}), f"{where}: faults"),
        policies=_policies(top.get("policies", {}), f"{where}: policies"),
        counted=counted,
        executor_start_s=parse_duration(top.get("executor_start", 0.02), what=f"{where}: executor_start"),
        sample_s=parse_duration(top["sample"], what=f"{where}: sample") or None if "sample" in top else None,
    )


def _workload(data: Any, where: str, folder: Path, counted: Mapping[str, int]) -> Synthetic | Recorded:
    rows = table_of(data, where, ("synthetic", "trace", "history", "record", "match"))
    given = [key for key in ("synthetic", "trace", "history") if key in rows]
    if len(given) != 1:
        raise ConfigError(f"{where}: {len(given)} sources of tests", remedy="give one of synthetic, trace, history")
    if given[0] == "synthetic":
        return _synthetic(rows["synthetic"], f"{where}: synthetic", counted)
    path = folder / str(rows[given[0]])
    return Recorded(
        path=path,
        record=folder / str(rows["record"]) if "record" in rows else None,
        match=str(rows.get("match", "*")),
    )


def _synthetic(data: Any, where: str, counted: Mapping[str, int]) -> Synthetic:
    rows = table_of(data, where, ("tests", "classes", "per_module", "arrivals"))
    arrivals = _arrivals(rows["arrivals"], f"{where}: arrivals") if "arrivals" in rows else ()
    tests = sum(count for _, count in arrivals) if arrivals and "tests" not in rows else rows.get("tests")
    classes = tuple(
        _test_class(row, f"{where}: classes[{number}]", number, counted)
        for number, row in enumerate(list_of(rows, "classes", where))
    )
    return Synthetic(
        tests=whole(tests, f"{where}: tests", least=0, most=_MOST_TESTS),
        classes=classes,
        per_module=whole(rows.get("per_module", 40), f"{where}: per_module", least=1, most=_MOST_TESTS),
        arrivals=arrivals,
    )


def _arrivals(data: Any, where: str) -> tuple[tuple[float, int], ...]:
    found = []
    for number, row in enumerate(data if isinstance(data, list) else [data]):
        each = table_of(row, f"{where}[{number}]", ("at", "tests"))
        at_s = parse_duration(each.get("at", 0), what=f"{where}[{number}]: at")
        found.append((at_s, whole(each.get("tests"), f"{where}[{number}]: tests", least=1, most=_MOST_TESTS)))
    return tuple(sorted(found))


def _test_class(data: Any, where: str, number: int, counted: Mapping[str, int]) -> TestClass:
    own = ("name", "weight", "seconds", "sigma", "peak")
    rows = table_of(data, where, (*own, *KEYS))
    wanted = {key: value for key, value in rows.items() if key in KEYS}
    return TestClass(
        name=str(rows.get("name", f"class{number}")),
        requirements=requirements_of([((), wanted)], {}, where=where, counted=counted),
        weight=number_of(rows.get("weight", 1), f"{where}: weight"),
        seconds=parse_duration(rows.get("seconds", 1), what=f"{where}: seconds"),
        sigma=number_of(rows.get("sigma", 0), f"{where}: sigma"),
        peak_bytes=parse_bytes(rows.get("peak", 0), what=f"{where}: peak"),
    )


def _rule(data: Any, where: str, counted: Mapping[str, int]) -> Rule:
    rows = table_of(data, where, ("match", *KEYS))
    if not isinstance(rows.get("match"), str):
        raise ConfigError(f"{where}: it says of no tests", remedy='add match: "tests/gpu/*"')
    changes = {key: value for key, value in rows.items() if key != "match"}
    requirements_of([((), changes)], {}, where=where, counted=counted)
    return Rule(match=rows["match"], changes=changes)


def _worker(data: Any, where: str, number: int) -> WorkerSpec:
    keys = ("name", "cpu", "memory", "gpu", "labels", "price", "count", "start", "jitter", "limit")
    rows = table_of(data, where, keys)
    if "memory" not in rows:
        raise ConfigError(f"{where}: no memory is given", remedy="add memory: 8GiB")
    worker_type = WorkerType(
        name=str(rows.get("name", f"worker{number}")),
        capacity=Resources(
            cpu_cores=KEYS["cpu"](rows.get("cpu", 1), f"{where}: cpu"),
            memory_bytes=some_bytes(rows["memory"], f"{where}: memory"),
            gpus=KEYS["gpu"](rows.get("gpu", 0), f"{where}: gpu"),
        ),
        labels=KEYS["labels"](rows.get("labels", []), f"{where}: labels"),
        usd_per_hour=number_of(rows.get("price", 0), f"{where}: price"),
        provider=PROVIDER,
    )
    return WorkerSpec(
        worker_type=worker_type,
        count=range_of(rows["count"], f"{where}: count") if "count" in rows else None,
        start_s=parse_duration(rows.get("start", 1), what=f"{where}: start"),
        jitter=share_of(rows.get("jitter", 0), f"{where}: jitter"),
        limit=whole(rows["limit"], f"{where}: limit", least=0, most=MOST_WORKERS) if "limit" in rows else None,
    )


def _faults(data: Any, where: str) -> Faults:
    readers: dict[str, Callable[[Any, str], Any]] = {
        "failures": share_of,
        "crashes": share_of,
        "stragglers": share_of,
        "straggler_factor": number_of,
        "start_failures": share_of,
        "worker_life": lambda value, what: parse_duration(value, what=what) or None,
    }
    return fields_of(Faults, data, where, readers, renamed={"worker_life": "worker_life_s"})


def _policies(data: Any, where: str) -> Policies:
    readers: dict[str, Callable[[Any, str], Any]] = {
        "scaling": lambda value, what: parse_scaling(value, where=what),
        "retries": lambda value, what: parse_retries(str(value), what),
        "order": _is_file_order,
        "timeout_factor": number_of,
        "speculate": KEYS["idempotent"],
        "value_of_time": lambda value, what: parse_value_of_time(value, where=what),
    }
    return fields_of(Policies, data, where, readers, renamed={"order": "file_order"})


def _is_file_order(value: Any, what: str) -> bool:
    if value not in ("longest", "file"):
        raise ConfigError(f"{what}: {shown(value)} is no order of tests", remedy="write longest or file")
    return bool(value == "file")
