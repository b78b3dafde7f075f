"""What is asked for: which providers, with which settings, how much money, and what follows where there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drm.cloud_provider_manager.budget import Budget
from drm.cloud_provider_manager.catalogue import Catalogue, built_in, read_catalogue
from drm.cloud_provider_manager.policy import Policy
from drm.dynamic_resource_manager import ScalingSettings
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.markers import check_key, parse_worker_type, some_bytes
from drm.model.resources import Resources
from drm.model.units import parse_duration, shown

__all__ = ["PROVIDERS", "Machines", "boot_s_of", "parse_machines"]

_OF_CLOUDS = (
    *("types", "zones", "markets", "catalogue", "limit_cpus", "limit_memory", "limit_gpus"),
    *("bootstrap", "git", "ref", "requirements", "python", "drm"),
)
_KEYS: Mapping[str, tuple[str, ...]] = {
    "local": (),
    "docker": ("image", "host", "network", "volumes", "environment", "limit_cpus", "limit_memory", "limit_gpus"),
    "kubernetes": (
        *("image", "namespace", "context", "node_selector", "spot_selector", "service_account", "pull_secrets"),
        *("tolerations", "limit_cpus", "limit_memory", "limit_gpus"),
    ),
    "aws": (*_OF_CLOUDS, "region", "image", "subnets", "security_groups", "role", "fleet", "endpoint"),
    "gcp": (*_OF_CLOUDS, "project", "image", "network", "subnets", "service_account", "endpoint"),
}
PROVIDERS = tuple(_KEYS)
_NEEDED = {"docker": ("image",), "kubernetes": ("image",), "aws": ("region", "image"), "gcp": ("project", "image")}
_BOOTS_S = {"docker": 2.0, "kubernetes": 10.0, "aws": 60.0, "gcp": 60.0}  # until the first workers have shown it
_MARKETS = ("spot", "on-demand")
_LEAST_LEASE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """``providers``: in the order of preference. ``tables``: what is set for each, as text. ``limits``: what all
    machines of one may have together. ``lease_s``: for which a machine is rented."""

    providers: tuple[str, ...] = ("local",)
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    limits: Mapping[str, Resources] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    policy: Policy = field(default_factory=Policy)
    lease_s: float = 7200.0

    @property
    def is_local(self) -> bool:
        """Whether all workers are processes of this machine."""
        return set(self.providers) <= {"local"}


def parse_machines(
    option: Callable[[str], tuple[Any, str]],
    tables: Mapping[str, Mapping[str, str]],
    texts: Sequence[str],
    capacity: Resources,
    *,
    where: str,
) -> tuple[Machines, tuple[WorkerType, ...]]:
    """Return where workers come from, and every way in which one can be had.

    ``option`` gives the value of an option and what an error about it names. ``tables``: the providers' sections.
    ``texts``: worker types as they are written. ``capacity``: of this machine. ConfigError names what is wrong.
    """
    given, given_from = option("provider")
    providers = _names(given, given_from)
    for name, table in tables.items():
        for key in table:
            check_key(key, _KEYS[name], where=f"{where} {name}")
    for name in providers:
        for key in _NEEDED.get(name, ()):
            if not tables.get(name, {}).get(key):
                raise ConfigError(
                    f"provider {name}: {key} is not set",
                    remedy=f"set it in the section {name} of [drm] (docs/clouds.md)",
                )
    limits = {name: _limit(tables.get(name, {}), capacity, name) for name in providers}
    types = tuple(
        each for name in providers for each in _types(name, tables.get(name, {}), texts, capacity, limits[name])
    )
    _check_sizes([each for each in types if each.provider == "local"], capacity)
    _check_names(types)
    machines = Machines(
        providers=providers,
        tables=tables,
        limits=limits,
        budget=Budget(
            usd=_amount(*option("budget")),
            per_minute=_count(*option("creates_per_minute")),
        ),
        policy=_policy(option, types, texts, capacity),
        lease_s=_lease_s(*option("lease")),
    )
    return machines, types


def boot_s_of(provider: str, set_s: float) -> float:
    """Return what a boot is taken to last before any has shown it. ``set_s``: what the scaling settings say; their
    default is for workers of this machine."""
    return _BOOTS_S.get(provider, set_s) if set_s == ScalingSettings().boot_s else set_s


def _names(given: Any, where: str) -> tuple[str, ...]:
    names = tuple(str(given if given is not None else "local").replace(",", " ").split())
    for name in names:
        if name not in PROVIDERS:
            raise ConfigError(
                f"{where}: {shown(name)} is no provider", remedy=f"write one or more of {', '.join(PROVIDERS)}"
            )
        if names.count(name) > 1:
            raise ConfigError(f"{where}: {name} is given twice", remedy="give each once")
    if not names:
        raise ConfigError(f"{where}: no provider is named", remedy=f"write one or more of {', '.join(PROVIDERS)}")
    return names


def _limit(table: Mapping[str, str], capacity: Resources, name: str) -> Resources:
    """Return what all machines of the provider may have together: of this machine, all there is."""
    most = capacity if name in ("local", "docker") else Resources(cpu_cores=1e6, memory_bytes=2**60, gpus=1e5)
    cpus, gpus = _amount(table.get("limit_cpus"), f"{name}: limit_cpus"), table.get("limit_gpus")
    memory = table.get("limit_memory")
    return Resources(
        cpu_cores=most.cpu_cores if cpus is None else cpus,
        memory_bytes=most.memory_bytes if memory is None else some_bytes(memory, f"{name}: limit_memory"),
        gpus=most.gpus if gpus is None else float(_count(gpus, f"{name}: limit_gpus") or 0),
    )


def _types(
    name: str, table: Mapping[str, str], texts: Sequence[str], capacity: Resources, limit: Resources
) -> tuple[WorkerType, ...]:
    if name not in ("aws", "gcp"):
        size = limit if name == "docker" else capacity
        return _written(texts, size, name)
    names, zones = table.get("types", "").split(), table.get("zones", "").split()
    if not names or not zones:
        raise ConfigError(
            f"provider {name}: {'types' if not names else 'zones'} is not set",
            remedy="name machine types and zones, in the order of preference, such as types = c7i.large",
        )
    markets = table.get("markets", "spot on-demand").split()
    for market in markets:
        if market not in _MARKETS:
            raise ConfigError(f"provider {name}: {shown(market)} is no market", remedy="write spot, on-demand or both")
    catalogue: Catalogue = read_catalogue(Path(table["catalogue"])) if "catalogue" in table else built_in(name)
    return catalogue.worker_types(names, zones, markets=markets)


def _written(texts: Sequence[str], capacity: Resources, provider: str) -> tuple[WorkerType, ...]:
    return tuple(
        replace(
            parse_worker_type(text, machine=capacity, number=number if len(texts) > 1 else 0, what="worker type"),
            provider=provider,
        )
        for number, text in enumerate(texts)
    )


def _policy(
    option: Callable[[str], tuple[Any, str]], types: Sequence[WorkerType], texts: Sequence[str], capacity: Resources
) -> Policy:
    value, where = option("no_capacity")
    if value not in (None, "error", "local"):
        raise ConfigError(f"{where}: {shown(value)} is no way out", remedy="write error or local")
    local: tuple[WorkerType, ...] = ()
    if value == "local":
        standing = _written(texts, capacity, "local")
        local = tuple(each for each in standing if each.capacity.fits_in(capacity))[:1]
    floor, floor_from = option("on_demand_floor")
    return Policy(on_demand_floor=_count(floor, floor_from) or 0, local=local if types else ())


def _amount(value: Any, where: str) -> float | None:
    if value is None:
        return None
    try:
        amount = float(value)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e9:
        raise ConfigError(f"{where}: {shown(value)} is no amount", remedy="give a number from 0 on, such as 20")
    return amount


def _count(value: Any, where: str) -> int | None:
    if value is None:
        return None
    if not str(value).isdecimal() or len(str(value)) > 6:
        raise ConfigError(f"{where}: {shown(value)} is no number", remedy="give a whole number, such as 10")
    return int(value)


def _lease_s(value: Any, where: str) -> float:
    if value is None:
        return 7200.0
    seconds = parse_duration(value, what=where)
    if seconds < _LEAST_LEASE_S:
        raise ConfigError(f"{where}: {shown(value)} is too short", remedy="give ten minutes or more, such as 2h")
    return seconds


def _check_sizes(worker_types: Sequence[WorkerType], capacity: Resources) -> None:
    """Raise ConfigError for a type that the machine cannot give even once."""
    for worker_type in worker_types:
        lacking = worker_type.capacity.lacking(capacity)
        if lacking:
            raise ConfigError(
                f"worker type {worker_type.name!r} does not fit on this machine: {', '.join(lacking)}",
                remedy="ask for less, or set --drm-cpus, --drm-memory, --drm-gpus",
            )


def _check_names(worker_types: Sequence[WorkerType]) -> None:
    """Raise ConfigError where two types of one provider, zone and market have the same name, or two of one name are
    not the same."""
    seen: dict[tuple[str, ...], WorkerType] = {}
    sizes: dict[str, WorkerType] = {}
    for each in worker_types:
        known = sizes.setdefault(each.name, each)
        place = (each.provider, each.zone, each.market, each.name)
        if place in seen or known.capacity != each.capacity or known.labels != each.labels:
            raise ConfigError(f"two worker types are called {each.name!r}", remedy="give each its own name=...")
        seen[place] = each
