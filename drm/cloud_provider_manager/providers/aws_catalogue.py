"""Sizes and prices of EC2: DescribeInstanceTypes, DescribeSpotPriceHistory, and GetProducts of the AWS Price List.

docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html: each product is a text of
JSON; ``terms.OnDemand`` holds its price by the hour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from drm.cloud_provider_manager.failover import region_of
from drm.cloud_provider_manager.providers.aws_calls import Ec2
from drm.cloud_provider_manager.refreshing import Price, Size
from drm.model.errors import DrmError

__all__ = ["SOURCES", "aws_prices", "aws_sizes", "price_of_product", "size_of"]

SOURCES = (
    "cpu, memory, gpu, arch: EC2 DescribeInstanceTypes",
    "prices on demand: AWS Price List, GetProducts of AmazonEC2 (Linux, shared tenancy)",
    "prices of spot: EC2 DescribeSpotPriceHistory, of each region's dearest zone",
)
_MOST = 200  # values of a filter
_SAME = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
}


def aws_sizes(ec2: Ec2, names: Sequence[str]) -> list[Size]:
    """Return what these types have, of those that the region has."""
    found: list[Size] = []
    for at in range(0, len(names), _MOST):
        found += map(size_of, ec2.types("describe instance types", list(names[at : at + _MOST])))
    return found


def aws_prices(ec2: Ec2, region: str, names: Sequence[str]) -> list[Price]:
    """Return the prices of these types in a region. A type that is not sold there has none."""
    found: list[Price] = []
    for name in names:
        for text in ec2.products(f"ask for the price of {name}", {**_SAME, "regionCode": region, "instanceType": name}):
            price = price_of_product(text)
            found += [] if price is None else [Price(name=name, region=region, market="on-demand", usd_per_hour=price)]
    for row in ec2.spot_prices("ask for spot prices", list(names)):
        if region_of(str(row.get("AvailabilityZone", ""))) == region:
            usd = float(row.get("SpotPrice", 0))
            found.append(Price(name=str(row["InstanceType"]), region=region, market="spot", usd_per_hour=usd))
    return found


def size_of(row: Mapping[str, Any]) -> Size:
    """Return the size that DescribeInstanceTypes tells of."""
    try:
        gpus = (row.get("GpuInfo") or {}).get("Gpus") or ()
        return Size(
            name=str(row["InstanceType"]),
            cpu=int(row["VCpuInfo"]["DefaultVCpus"]),
            memory_mib=int(row["MemoryInfo"]["SizeInMiB"]),
            gpu=sum(int(each.get("Count", 0)) for each in gpus),
            arch=str(([*row["ProcessorInfo"]["SupportedArchitectures"]] or ["x86_64"])[-1]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DrmError(f"EC2 described a type in a way that is not understood ({error!r})") from None


def price_of_product(text: str) -> float | None:
    """Return the price on demand of a product of the price list; None where it is sold in another way.

    DrmError for what is no product.
    """
    try:
        terms = json.loads(text).get("terms", {}).get("OnDemand", {})
        for term in terms.values():
            for dimension in term["priceDimensions"].values():
                price = float(dimension["pricePerUnit"].get("USD", 0))
                if dimension.get("unit") == "Hrs" and price > 0:
                    return price
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = type(error).__name__
        raise DrmError(f"the AWS Price List answered with something that is no product ({said})") from None
    return None
