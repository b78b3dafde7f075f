"""clouds.toml: where workers may be bought, of what types, and for how much. Read and checked; nothing is asked yet.

Tables: ``[budget]`` (usd, workers, per_minute), ``[policy]`` (on_demand_floor, patience, when_exhausted, lease, join),
``[warm_up]`` (see ``WarmUp``), and one per provider: ``[docker]``, ``[kubernetes]``, ``[aws]``, ``[gcp]``.
docs/clouds.md lists the keys. An unknown key is a ConfigError that names the nearest one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from drm.cloud_provider_manager.budget import Budget
from drm.cloud_provider_manager.catalogue import built_in, read_catalogue
from drm.cloud_provider_manager.policy import Policy
from drm.cloud_provider_manager.providers.aws import AwsSettings
from drm.cloud_provider_manager.providers.gcp import GcpSettings
from drm.cloud_provider_manager.providers.kubernetes import KubernetesSettings
from drm.cloud_provider_manager.warm_up import WarmUp
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.markers import check_key
from drm.model.resources import Resources
from drm.model.units import parse_bytes, parse_duration, shown

__all__ = ["Clouds", "ProviderSection", "read_clouds"]

_BUDGET = ("usd", "workers", "per_minute")
_POLICY = ("on_demand_floor", "patience", "when_exhausted", "lease", "join")
_OWN_TYPE = ("name", "cpu", "memory", "gpu", "usd_per_hour", "zone", "market", "labels")
_BOUGHT = ("types", "zones", "markets", "catalogue", "limit_cpu", "limit_memory", "limit_gpu")
_MADE = ("types", "limit_cpu", "limit_memory", "limit_gpu")
_DOCKER = ("image", "host", "network", "volumes")
_SETTINGS: Mapping[str, Any] = {"aws": AwsSettings, "gcp": GcpSettings, "kubernetes": KubernetesSettings}
_OF_US = ("limit", "bootstrap", "lease_s")  # they follow from other tables


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSection:
    """One provider. ``settings``: of its class, as they were written; ``types``: all ways to have a worker of it."""

    name: str
    settings: Mapping[str, Any]
    types: tuple[WorkerType, ...]
    limit: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Clouds:
    """The file. ``lease_s``: after which a machine ends itself; ``join_s``: for so long it may take to join.

    ``falls_back``: local workers come where every way is closed.
    """

    providers: tuple[ProviderSection, ...]
    budget: Budget
    policy: Policy
    falls_back: bool = False
    lease_s: float = 7200.0
    join_s: float = 900.0
    warm_up: WarmUp | None = None

    def ways(self) -> dict[str, tuple[WorkerType, ...]]:
        """Return, by the name of a type, every way to have a worker of it, in the order of the file."""
        found: dict[str, list[WorkerType]] = {}
        for each in (kind for section in self.providers for kind in section.types):
            found.setdefault(each.name, []).append(each)
        return {name: tuple(ways) for name, ways in found.items()}


def read_clouds(path: Path) -> Clouds:
    """Read the file; ConfigError that names it, the table and the key for anything that is not as it should be."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", remedy="docs/clouds.md has an example") from None
    return _checked(content, path)


def _checked(content: Mapping[str, Any], path: Path) -> Clouds:
    try:
        return _clouds(content, path)
    except (TypeError, ValueError, AttributeError) as error:  # a table where a text should be, and the like
        raise ConfigError(f"{path}: a value is of the wrong kind ({error})") from None


def _clouds(content: Mapping[str, Any], path: Path) -> Clouds:
    for table in content:
        check_key(table, ("budget", "policy", "warm_up", "docker", *_SETTINGS), where=str(path))
    names = [name for name in content if name in ("docker", *_SETTINGS)]
    if not names:
        raise ConfigError(f"{path} names no provider", remedy="add a table [docker], [kubernetes], [aws] or [gcp]")
    budget = _table(content, "budget", _BUDGET, path)
    policy = _table(content, "policy", _POLICY, path)
    warm_up = _table(content, "warm_up", [each.name for each in fields(WarmUp)], path)
    exhausted = policy.get("when_exhausted", "error")
    if exhausted not in ("error", "local"):
        raise ConfigError(f"{path} [policy]: when_exhausted = {exhausted!r}", remedy='write "error" or "local"')
    if "requirements" in warm_up:
        warm_up = {**warm_up, "requirements": tuple(warm_up["requirements"])}
    return Clouds(
        providers=tuple(_provider(name, content[name], path) for name in names),
        budget=Budget(**budget),
        policy=Policy(
            on_demand_floor=policy.get("on_demand_floor", 0),
            patience_s=parse_duration(policy.get("patience", 600), what=f"{path} [policy]: patience"),
        ),
        falls_back=exhausted == "local",
        lease_s=parse_duration(policy.get("lease", 7200), what=f"{path} [policy]: lease"),
        join_s=parse_duration(policy.get("join", 900), what=f"{path} [policy]: join"),
        warm_up=WarmUp(**warm_up) if "warm_up" in content else None,
    )


def _table(content: Mapping[str, Any], name: str, keys: Sequence[str], path: Path) -> dict[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: {name} must be a table", remedy=f"write [{name}] above its keys")
    for key in found:
        check_key(key, keys, where=f"{path} [{name}]")
    return found


def _provider(name: str, given: Any, path: Path) -> ProviderSection:
    own = [each.name for each in fields(_SETTINGS[name]) if each.name not in _OF_US] if name in _SETTINGS else _DOCKER
    is_bought = name in ("aws", "gcp")
    table = _table({name: given}, name, [*own, *(_BOUGHT if is_bought else _MADE)], path)
    where = f"{path} [{name}]"
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items() if key in own}
    for key in _needed(name):
        if key not in settings:
            raise ConfigError(f"{where}: {key} is missing", remedy="docs/clouds.md says what it is")
    types = _bought(name, table, path) if is_bought else _made(name, table, where)
    limit = Resources(
        cpu_cores=_amount(
            table.get("limit_cpu", sum(each.capacity.cpu_cores for each in types)), f"{where}: limit_cpu"
        ),
        memory_bytes=parse_bytes(
            table.get("limit_memory", sum(each.capacity.memory_bytes for each in types)), what=f"{where}: limit_memory"
        ),
        gpus=_amount(table.get("limit_gpu", sum(each.capacity.gpus for each in types)), f"{where}: limit_gpu"),
    )
    return ProviderSection(name=name, settings=settings, types=types, limit=limit)


def _amount(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:  # nor is nan
        raise ConfigError(f"{what} = {shown(value)} is no amount", remedy="write a number from 0 on")
    return float(value)


def _needed(name: str) -> tuple[str, ...]:
    return {"aws": ("region", "image"), "gcp": ("project", "image")}.get(name, ("image",))


def _bought(name: str, table: Mapping[str, Any], path: Path) -> tuple[WorkerType, ...]:
    """Return the types of a cloud, with the prices of its catalogue."""
    for key in ("types", "zones"):
        if not table.get(key) or not isinstance(table[key], list):
            raise ConfigError(f"{path} [{name}]: {key} must be a list", remedy=f'such as {key} = ["..."]')
    own = table.get("catalogue")
    catalogue = read_catalogue(path.parent / own) if own else built_in(name)
    markets = table.get("markets", ["spot", "on-demand"])
    for market in markets:
        if market not in ("spot", "on-demand"):
            raise ConfigError(f"{path} [{name}]: market {market!r}", remedy='write "spot" or "on-demand"')
    return catalogue.worker_types(table["types"], table["zones"], markets=markets)


def _made(name: str, table: Mapping[str, Any], where: str) -> tuple[WorkerType, ...]:
    """Return types that are written out: of what is bought from nobody, or priced by the user."""
    rows = table.get("types")
    if not rows or not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise ConfigError(f"{where}: it has no types", remedy=f"add [[{name}.types]] with name, cpu and memory")
    types = []
    for row in rows:
        for key in row:
            check_key(key, _OWN_TYPE, where=f"{where} types")
        for key in ("name", "cpu", "memory"):
            if key not in row:
                raise ConfigError(f"{where} types: {key} is missing")
        capacity = Resources(
            cpu_cores=_amount(row["cpu"], f"{where} types: cpu"),
            memory_bytes=parse_bytes(row["memory"], what=f"{where} types: memory"),
            gpus=_amount(row.get("gpu", 0), f"{where} types: gpu"),
        )
        types.append(
            WorkerType(
                name=str(row["name"]),
                capacity=capacity,
                labels=frozenset(map(str, row.get("labels", ()))),
                usd_per_hour=float(row.get("usd_per_hour", 0.0)),
                provider=name,
                zone=str(row.get("zone", "")),
                market=str(row.get("market", "on-demand")),
            )
        )
    return tuple(types)
