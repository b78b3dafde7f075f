"""A catalogue as its provider tells it today: sizes and prices, put together and written. Pure.

What the provider's answers hold is in ``providers/aws_catalogue`` and ``providers/gcp_catalogue``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from drm.cloud_provider_manager.catalogue import Catalogue, CatalogueType
from drm.model.errors import ConfigError
from drm.model.resources import Resources

__all__ = ["Price", "Size", "assembled", "built_price", "written"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a type has."""

    name: str
    cpu: int
    memory_mib: int
    gpu: int = 0
    arch: str = "x86_64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a type costs in a region, in USD an hour."""

    name: str
    region: str
    market: str
    usd_per_hour: float


def assembled(
    provider: str, as_of: date, sources: Sequence[str], sizes: Iterable[Size], prices: Iterable[Price]
) -> Catalogue:
    """Return the catalogue of the types that have a size and a price on demand, in the order of the sizes.

    Of several prices of one type, region and market the highest counts: a budget must hold in every zone.
    ConfigError where nothing is left.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    for each in prices:
        if each.usd_per_hour > 0:
            by_region = found.setdefault((each.name, each.market), {})
            by_region[each.region] = max(each.usd_per_hour, by_region.get(each.region, 0.0))
    types = tuple(
        CatalogueType(
            name=size.name,
            capacity=Resources(cpu_cores=size.cpu, memory_bytes=size.memory_mib * 2**20, gpus=size.gpu),
            arch=size.arch,
            on_demand=found[size.name, "on-demand"],
            spot=found.get((size.name, "spot"), {}),
        )
        for size in {each.name: each for each in sizes}.values()
        if (size.name, "on-demand") in found
    )
    if not types:
        raise ConfigError(
            f"{provider} told of no type that has a size and a price", remedy="check the regions and the types"
        )
    return Catalogue(provider=provider, as_of=as_of, sources=tuple(sources), types=types)


def built_price(cpu: int, memory_mib: int, usd_per_core: float, usd_per_gib: float) -> float:
    """Return the price of a type that is sold by the core and the GiB, to a millionth of a USD."""
    return round(cpu * usd_per_core + memory_mib / 1024 * usd_per_gib, 6)


def written(catalogue: Catalogue) -> str:
    """Return the file's text: JSON in the format of ``catalogue``, a type a line."""
    rows = [json.dumps(_row(each), separators=(", ", ": ")) for each in catalogue.types]
    head = {
        "format": 1,
        "provider": catalogue.provider,
        "as_of": catalogue.as_of.isoformat(),
        "currency": "USD per hour",
        "sources": list(catalogue.sources),
        "types": [],
    }
    text = json.dumps(head, indent=1)
    lines = ",\n".join(f"  {row}" for row in rows)
    return re.sub(r'"types": \[\]', lambda _: f'"types": [\n{lines}\n ]', text) + "\n"


def _row(each: CatalogueType) -> dict[str, object]:
    row: dict[str, object] = {
        "name": each.name,
        "cpu": int(each.capacity.cpu_cores),
        "memory_mib": each.capacity.memory_bytes // 2**20,
    }
    if each.capacity.gpus:
        row["gpu"] = int(each.capacity.gpus)
    row["arch"] = each.arch
    row["on_demand"] = _sorted(each.on_demand)
    if each.spot:
        row["spot"] = _sorted(each.spot)
    return row


def _sorted(prices: Mapping[str, float]) -> dict[str, float]:
    return {region: prices[region] for region in sorted(prices)}
