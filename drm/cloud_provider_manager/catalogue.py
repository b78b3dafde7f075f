"""What types a cloud has, and what they cost: read from a dated file, so that a decision can be repeated.

The file is JSON. ``format``: 1. ``provider``. ``as_of``: the day of the prices. ``sources``: where each fact is from.
``currency``: a remark. ``types``: a list of ``name``, ``cpu`` (vCPUs), ``memory_mib``, ``gpu`` (0), ``arch``,
``on_demand`` and ``spot``: USD an hour by region.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from drm.cloud_provider_manager.failover import region_of
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.resources import Resources

__all__ = ["Catalogue", "CatalogueType", "built_in", "read_catalogue"]

_FORMAT = 1
_FILE_KEYS = frozenset({"format", "provider", "as_of", "sources", "currency", "types"})
_TYPE_KEYS = frozenset({"name", "cpu", "memory_mib", "gpu", "arch", "on_demand", "spot"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueType:
    """One type. Prices are USD an hour by region, and never 0."""

    name: str
    capacity: Resources
    arch: str
    on_demand: Mapping[str, float]
    spot: Mapping[str, float] = field(default_factory=dict)

    def price(self, region: str, market: str) -> float | None:
        """Return the price there; None where the file has none.

        Spot without a price of its own costs at most what it costs on demand: that is the highest price that AWS
        asks where no other is set (docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances.html).
        """
        if market == "spot" and region in self.spot:
            return self.spot[region]
        return self.on_demand.get(region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The types of one provider as of a day."""

    provider: str
    as_of: date
    sources: tuple[str, ...]
    types: tuple[CatalogueType, ...]

    def worker_types(
        self, names: Sequence[str], zones: Sequence[str], *, markets: Sequence[str] = ("spot", "on-demand")
    ) -> tuple[WorkerType, ...]:
        """Return these types in each of the zones and markets, in the order of preference that is given.

        ConfigError for a type that is not in the file, and for one without a price in a zone's region.
        """
        known = {each.name: each for each in self.types}
        found = []
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"type {name!r} is not in the catalogue of {self.provider} of {self.as_of}",
                    remedy="use another, or a catalogue of your own that has it",
                )
            for market in markets:
                for zone in zones:
                    price = known[name].price(region_of(zone), market)
                    if price is None:
                        raise ConfigError(
                            f"the catalogue of {self.provider} of {self.as_of} has no price of {name} in"
                            f" {region_of(zone)!r}",
                            remedy="leave it out there, or use a catalogue of your own",
                        )
                    found.append(
                        WorkerType(
                            name=name,
                            capacity=known[name].capacity,
                            labels=frozenset({known[name].arch}),
                            usd_per_hour=price,
                            provider=self.provider,
                            zone=zone,
                            market=market,
                        )
                    )
        return tuple(found)


def built_in(provider: str) -> Catalogue:
    """Return the newest catalogue that comes with DRM; ConfigError for a provider that has none."""
    folder = resources.files("drm.cloud_provider_manager") / "catalogues"
    files = sorted(each.name for each in folder.iterdir() if each.name.endswith(".json"))
    mine = [name for name in files if name.startswith(f"{provider}-")]
    if not mine:
        known = ", ".join(sorted({name.partition("-")[0] for name in files}))
        raise ConfigError(f"there is no catalogue of {provider!r}", remedy=f"there are those of {known}")
    return _parsed((folder / mine[-1]).read_text(encoding="utf-8"), mine[-1])


def read_catalogue(path: Path) -> Catalogue:
    """Read a file; ConfigError that names the file, the type and the key for anything that is not as it should be."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"catalogue {path} cannot be read ({error})") from error
    return _parsed(text, str(path))


def _parsed(text: str, where: str) -> Catalogue:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"catalogue {where} is no JSON ({error})") from error
    _check_keys(content, _FILE_KEYS, where, optional=frozenset({"currency"}))
    if content["format"] != _FORMAT:
        raise ConfigError(f"catalogue {where}: format {content['format']!r} is not {_FORMAT}", remedy="upgrade drm")
    if not isinstance(content["types"], list) or not isinstance(content["sources"], list):
        raise ConfigError(f"catalogue {where}: 'types' and 'sources' must be lists")
    try:
        as_of = date.fromisoformat(content["as_of"])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"catalogue {where}: as_of must be a day such as 2025-03-02 ({error})") from error
    types = tuple(_type(each, f"catalogue {where}: type {number}") for number, each in enumerate(content["types"], 1))
    names = [each.name for each in types]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"catalogue {where}: type {twice!r} is there twice")
    return Catalogue(
        provider=str(content["provider"]), as_of=as_of, sources=tuple(map(str, content["sources"])), types=types
    )


def _type(given: Any, where: str) -> CatalogueType:
    _check_keys(given, _TYPE_KEYS, where, optional=frozenset({"gpu", "spot"}))
    where = f"{where} ({given['name']!r})"
    amounts = {}
    for key in ("cpu", "memory_mib", "gpu"):
        value = given.get(key, 0)
        least = 0 if key == "gpu" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{where}: {key} = {value!r} is no whole number from {least} on")
        amounts[key] = value
    return CatalogueType(
        name=str(given["name"]),
        capacity=Resources(cpu_cores=amounts["cpu"], memory_bytes=amounts["memory_mib"] * 2**20, gpus=amounts["gpu"]),
        arch=str(given["arch"]),
        on_demand=_prices(given["on_demand"], f"{where}: on_demand"),
        spot=_prices(given.get("spot", {}), f"{where}: spot"),
    )


def _prices(given: Any, where: str) -> dict[str, float]:
    if not isinstance(given, dict):
        raise ConfigError(f"{where} must be prices by region")
    for region, price in given.items():
        if isinstance(price, bool) or not isinstance(price, int | float) or not (math.isfinite(price) and price > 0):
            raise ConfigError(f"{where}: {region} = {price!r} is no price", remedy="give USD an hour, more than 0")
    return {str(region): float(price) for region, price in given.items()}


def _check_keys(given: Any, keys: frozenset[str], where: str, *, optional: frozenset[str]) -> None:
    if not isinstance(given, dict):
        raise ConfigError(f"{where if 'catalogue' in where else f'catalogue {where}'} is no object of JSON")
    unknown, missing = sorted(given.keys() - keys), sorted(keys - optional - given.keys())
    if unknown or missing:
        what = f"unknown key {unknown[0]!r}" if unknown else f"no key {missing[0]!r}"
        raise ConfigError(
            f"{where if 'catalogue' in where else f'catalogue {where}'}: {what}",
            remedy=f"keys: {', '.join(sorted(keys))}",
        )
