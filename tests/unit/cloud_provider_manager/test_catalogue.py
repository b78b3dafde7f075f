"""Types and prices: from files that are checked, and that come with DRM."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from drm.cloud_provider_manager.catalogue import built_in, read_catalogue
from drm.model.errors import ConfigError
from drm.model.resources import Resources

SMALL: dict[str, Any] = {
    "name": "c7i.large",
    "cpu": 2,
    "memory_mib": 4096,
    "arch": "x86_64",
    "on_demand": {"us-east-1": 0.08925},
    "spot": {"eu-west-1": 0.03},
}
FILE: dict[str, Any] = {"format": 1, "provider": "aws", "as_of": "2025-03-02", "sources": ["me"], "types": [SMALL]}


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_type_is_offered_in_each_zone_and_market(tmp_path: Path) -> None:
    catalogue = read_catalogue(write(tmp_path, FILE))
    found = catalogue.worker_types(["c7i.large"], ["us-east-1a", "us-east-1b"])
    assert [(each.zone, each.market, each.usd_per_hour) for each in found] == [
        ("us-east-1a", "spot", 0.08925),  # at most what it costs on demand
        ("us-east-1b", "spot", 0.08925),
        ("us-east-1a", "on-demand", 0.08925),
        ("us-east-1b", "on-demand", 0.08925),
    ]
    assert found[0].capacity == Resources(cpu_cores=2, memory_bytes=4 * 2**30)
    assert (found[0].provider, found[0].labels) == ("aws", frozenset({"x86_64"}))
    assert catalogue.worker_types(["c7i.large"], ["eu-west-1a"], markets=["spot"])[0].usd_per_hour == 0.03


@pytest.mark.parametrize(
    ("names", "zones", "match"),
    [
        (["c99.huge"], ["us-east-1a"], r"'c99\.huge' is not in the catalogue of aws of 2025-03-02"),
        (["c7i.large"], ["moon-1a"], r"no price of c7i\.large in 'moon-1'"),
        (["c7i.large"], ["eu-west-1a"], r"no price of c7i\.large in 'eu-west-1'"),
    ],
)
def test_what_is_not_in_the_file_is_told(tmp_path: Path, names: list[str], zones: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        read_catalogue(write(tmp_path, FILE)).worker_types(names, zones)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"on_demand": {"us-east-1": 0}}, "us-east-1 = 0 is no price"),
        ({"on_demand": {"us-east-1": -1}}, "is no price"),
        ({"on_demand": {"us-east-1": True}}, "is no price"),
        ({"on_demand": {"us-east-1": "0.1"}}, "is no price"),
        ({"spot": {"us-east-1": float("nan")}}, "is no price"),
        ({"on_demand": [1]}, "must be prices by region"),
        ({"cpu": 0}, "cpu = 0 is no whole number from 1"),
        ({"memory_mib": 1.5}, "memory_mib = 1.5"),
        ({"gpu": -1}, "gpu = -1"),
        ({"colour": "red"}, r"type 1: unknown key 'colour'; keys: arch, cpu"),
    ],
)
def test_a_type_that_cannot_be_is_told_with_its_place(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        read_catalogue(write(tmp_path, {**FILE, "types": [{**SMALL, **change}]}))
    assert "prices.json" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ([], "is no object"),
        ({**FILE, "types": [7]}, "type 1 is no object"),
        ({**FILE, "format": 2}, "format 2 is not 1; upgrade drm"),
        ({**FILE, "as_of": "lately"}, "as_of must be a day"),
        ({**FILE, "as_of": 7}, "as_of must be a day"),
        ({**FILE, "types": {}}, "must be lists"),
        ({**FILE, "types": [SMALL, SMALL]}, r"'c7i\.large' is there twice"),
        ({**FILE, "price": 1}, "unknown key 'price'"),
        ({key: value for key, value in FILE.items() if key != "sources"}, "no key 'sources'"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, content: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        read_catalogue(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_catalogue(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="no catalogue of 'moon'; there are those of aws, gcp"):
        built_in("moon")


@pytest.mark.parametrize(
    ("provider", "name", "zone", "price"),
    [
        ("aws", "m6i.large", "us-east-1a", 0.096),
        ("aws", "r7g.large", "us-west-2b", 0.1071),
        ("aws", "g4dn.2xlarge", "us-west-2a", 0.752),
        ("gcp", "n2-standard-2", "us-central1-a", 0.097118),
        ("gcp", "c2-standard-4", "us-central1-f", 0.208808),
    ],
)
def test_what_comes_with_drm_has_known_prices(provider: str, name: str, zone: str, price: float) -> None:
    (found,) = built_in(provider).worker_types([name], [zone], markets=["on-demand"])
    assert found.usd_per_hour == pytest.approx(price, abs=1e-6)


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_what_comes_with_drm_is_whole(provider: str) -> None:
    catalogue = built_in(provider)
    assert len(catalogue.types) > 50
    assert all(catalogue.sources)
    for each in catalogue.types:
        assert each.on_demand
        assert all(each.spot[region] < each.on_demand[region] for region in each.spot)


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_a_core_of_a_family_costs_the_same_in_all_its_sizes(provider: str) -> None:
    """What a price of another kind among them (of a dedicated machine, say) would not."""
    seen: dict[tuple[str, str], Counter[float]] = {}
    for each in built_in(provider).types:
        if each.capacity.gpus:
            continue
        family = each.name.partition(".")[0] if provider == "aws" else each.name.rpartition("-")[0]
        for region, price in each.on_demand.items():
            per_gib = price / (each.capacity.memory_bytes / 2**30)
            seen.setdefault((family, region), Counter())[per_gib] += 1
    assert len(seen) > 20
    for place, prices in seen.items():
        assert max(prices) == pytest.approx(min(prices), rel=0.003), place
