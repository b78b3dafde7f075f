"""Sizes and prices of Compute Engine: machineTypes.list, and the SKUs of the Cloud Billing Catalog.

Machines are sold by the core and the GiB; a SKU's description says of which family, and whether it is spot:
docs.cloud.google.com/billing/docs/reference/rest/v1/services.skus/list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drm.cloud_provider_manager.failover import region_of
from drm.cloud_provider_manager.providers.gcp_calls import Compute
from drm.cloud_provider_manager.refreshing import Price, Size, built_price
from drm.model.errors import DrmError

__all__ = ["SOURCES", "gcp_prices", "gcp_sizes", "prices_of", "size_of", "unit_prices"]

SOURCES = (
    "cpu, memory, gpu, arch: Compute Engine machineTypes.list",
    "prices: Cloud Billing Catalog, per vCPU and GiB, without discounts for sustained use",
)
_WORDS = {"n1": "N1 Predefined", "n2d": "N2D AMD", "t2d": "T2D AMD", "c2d": "C2D AMD", "c2": "Compute optimized"}
_PART = re.compile(r"(Spot Preemptible )?(.+?) (?:Instance )?(Core|Ram) running in ", re.IGNORECASE)
_UNIT = {"core": "h", "ram": "GiBy.h"}


def gcp_sizes(compute: Compute, zones: Sequence[str], names: Sequence[str]) -> list[Size]:
    """Return what these types have, in whichever of the zones they are there."""
    wanted = frozenset(names)
    rows = [row for zone in zones for row in compute.machine_types(f"list machine types of {zone}", zone)]
    return [size_of(row) for row in rows if row.get("name") in wanted]


def gcp_prices(compute: Compute, zones: Sequence[str], sizes: Sequence[Size]) -> list[Price]:
    """Return the prices of these types in the regions of the zones."""
    units = unit_prices(compute.skus("list prices"))
    return prices_of(sizes, units, list(dict.fromkeys(map(region_of, zones))))


def size_of(row: Mapping[str, Any]) -> Size:
    """Return the size that machineTypes.list tells of."""
    try:
        return Size(
            name=str(row["name"]),
            cpu=int(row["guest_cpus"]),
            memory_mib=int(row["memory_mb"]),
            gpu=sum(int(each.get("guest_accelerator_count", 0)) for each in row.get("accelerators") or ()),
            arch="arm64" if row.get("architecture") == "ARM64" else "x86_64",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DrmError(f"Compute Engine described a type in a way that is not understood ({error!r})") from None


def unit_prices(skus: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str, str], float]:
    """Return USD by (family's words, "core" or "ram", market, region).

    DrmError for what is no SKU. Commitments, sole tenants and custom machines are left out: their words differ.
    """
    found: dict[tuple[str, str, str, str], float] = {}
    try:
        for sku in skus:
            part = _PART.match(str(sku["description"]))
            if part is None or sku["category"]["usageType"] not in ("OnDemand", "Preemptible"):
                continue
            market = "spot" if sku["category"]["usageType"] == "Preemptible" else "on-demand"
            expression = sku["pricingInfo"][-1]["pricingExpression"]
            kind = part[3].lower()
            if expression["usageUnit"] != _UNIT[kind]:
                continue
            price = expression["tieredRates"][-1]["unitPrice"]
            usd = int(price.get("units") or 0) + int(price.get("nanos") or 0) / 1e9
            for region in sku["serviceRegions"]:
                found[part[2], kind, market, str(region)] = usd
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DrmError(f"the Cloud Billing Catalog answered with something that is no SKU ({error!r})") from None
    return found


def prices_of(
    sizes: Iterable[Size], units: Mapping[tuple[str, str, str, str], float], regions: Sequence[str]
) -> list[Price]:
    """Return the prices of the types whose core and memory both have one. One with gpus has none here."""
    found: list[Price] = []
    for size in sizes:
        family = size.name.partition("-")[0]
        words = _WORDS.get(family, family.upper())
        for market in ("on-demand", "spot"):
            for region in regions:
                core, ram = (units.get((words, kind, market, region)) for kind in ("core", "ram"))
                if core and ram and not size.gpu:
                    usd = built_price(size.cpu, size.memory_mib, core, ram)
                    found.append(Price(name=size.name, region=region, market=market, usd_per_hour=usd))
    return found
