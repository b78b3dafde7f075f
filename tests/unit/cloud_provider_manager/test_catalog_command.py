"""``drm catalog refresh``: sizes and prices as clouds tell them, in a file that can be read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fake_compute import GCP_ZONES, PROJECT, FakeCompute
from fake_http import Answer, Asked, serving
from faulty_ec2_client import FaultyEc2
from hypothesis import given
from hypothesis import strategies as st

from drm.catalog_command import main
from drm.cloud_provider_manager.catalogue import Catalogue, CatalogueType, read_catalogue
from drm.cloud_provider_manager.providers.aws_catalogue import price_of_product, size_of
from drm.cloud_provider_manager.providers.gcp_catalogue import prices_of, unit_prices
from drm.cloud_provider_manager.refreshing import Price, Size, assembled, built_price, written
from drm.model.errors import ConfigError, DrmError
from drm.model.resources import Resources


def product(name: str, usd: str) -> str:
    """Return a product as the AWS Price List writes it."""
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd}, "description": f"${usd} per On Demand Linux {name}"}
    terms = {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": dimension}}}}
    return json.dumps({"product": {"attributes": {"instanceType": name}}, "serviceCode": "AmazonEC2", "terms": terms})


@pytest.fixture
def price_list() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The AWS Price List's GetProducts (JSON 1.1), one product a page: the URL, and what was asked."""
    asked: list[dict[str, Any]] = []
    prices = {("m6i.large", "us-east-1"): ["0.0000000000", "0.0960000000"], ("m6i.2xlarge", "us-east-1"): ["0.384"]}

    def answer(call: Asked) -> Answer:
        assert call.headers["x-amz-target"] == "AWSPriceListService.GetProducts"
        asked.append(call.body)
        wanted = {each["Field"]: each["Value"] for each in call.body["Filters"]}
        found = prices.get((wanted["instanceType"], wanted["regionCode"]), [])
        at = int(call.body.get("NextToken", "0"))
        page = {"NextToken": str(at + 1)} if at + 1 < len(found) else {}
        rows = [product(wanted["instanceType"], usd) for usd in found[at : at + 1]]
        return Answer(200, {"FormatVersion": "aws_v1", "PriceList": rows, **page})

    with serving(answer) as url:
        yield url, asked


@pytest.mark.drm(group="ec2")
def test_ec2_tells_sizes_and_prices(
    ec2: FaultyEc2,
    price_list: tuple[str, list[dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, asked = price_list
    path = tmp_path / "new" / "aws.json"
    place = ["--aws", "us-east-1", "--endpoint", ec2.url, "--prices-endpoint", url, "--output", str(path)]
    types = ["--type", "m6i.large", "--type", "m6i.2xlarge", "--type", "g4dn.xlarge"]
    assert main(["refresh", *place, *types]) == 0
    said = capsys.readouterr()
    assert f"{path}: 2 types in 1 regions" in said.out
    assert "left out, because a size or a price is not told: g4dn.xlarge" in said.err
    large, _ = read_catalogue(path).types
    assert (large.name, large.capacity) == ("m6i.large", Resources(cpu_cores=2, memory_bytes=8 * 2**30))
    assert large.price("us-east-1", "on-demand") == 0.096
    assert large.price("us-east-1", "spot") == 0.00001  # what moto always says
    values = {each["Value"] for call in asked for each in call["Filters"]}
    assert values >= {"Linux", "Shared", "us-east-1", "m6i.large", "m6i.2xlarge"}
    assert len(asked) == 4  # one has two pages


@pytest.mark.drm(group="ec2")
def test_types_that_nobody_has_are_one_line_and_leaves_no_file(
    ec2: FaultyEc2, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--aws", "us-east-1", "--endpoint", ec2.url, "--output", str(tmp_path / "aws.json")]
    assert main(["refresh", *place, "--type", "m99.huge"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "aws told of no type that has a size and a price; check the regions and the types" in line
    assert list(tmp_path.iterdir()) == []


SKUS = [
    ("N2 Instance Core running in Americas", "OnDemand", "h", 31_611_000, ["us-central1"]),
    ("N2 Instance Ram running in Americas", "OnDemand", "GiBy.h", 4_237_000, ["us-central1"]),
    ("Spot Preemptible N2 Instance Core running in Americas", "Preemptible", "h", 7_650_000, ["us-central1"]),
    ("Spot Preemptible N2 Instance Ram running in Americas", "Preemptible", "GiBy.h", 1_025_000, ["us-central1"]),
    ("N2 Custom Instance Core running in Americas", "OnDemand", "h", 33_000_000, ["us-central1"]),
    ("Commitment v1: N2 Cpu in Americas for 1 Year", "Commit1Yr", "h", 20_000_000, ["us-central1"]),
]


def sku(description: str, usage: str, unit: str, nanos: int, regions: list[str]) -> dict[str, Any]:
    """Return a SKU as the Cloud Billing Catalog writes it."""
    rate = {"startUsageAmount": 0, "unitPrice": {"currencyCode": "USD", "units": "0", "nanos": nanos}}
    pricing = [{"pricingExpression": {"usageUnit": unit, "tieredRates": [rate]}}]
    category = {"resourceFamily": "Compute", "usageType": usage}
    return {"description": description, "category": category, "serviceRegions": regions, "pricingInfo": pricing}


@pytest.mark.drm(group="gcp")
def test_compute_engine_tells_sizes_and_the_billing_catalogue_prices(
    compute: FakeCompute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fake_compute import TOKEN
    from google.oauth2.credentials import Credentials

    pages = {"": (SKUS[:3], "more"), "more": (SKUS[3:], "")}

    def answer(call: Asked) -> Answer:
        assert call.headers["authorization"] == f"Bearer {TOKEN}"
        rows, following = pages[call.query.get("pageToken", "")]
        return Answer(200, {"skus": [sku(*row) for row in rows], "nextPageToken": following})

    monkeypatch.setattr("google.auth.default", lambda *_, **__: (Credentials(token=TOKEN), PROJECT))
    path = tmp_path / "gcp.json"
    with serving(answer) as url:
        place = ["--gcp", PROJECT, "--zone", GCP_ZONES[0], "--endpoint", compute.url, "--prices-endpoint", url]
        types = ["--type", "n2-standard-2", "--type", "n2-standard-8"]
        assert main(["refresh", *place, *types, "--output", str(path)]) == 0
    assert "2 types in 1 regions" in capsys.readouterr().out
    small, _ = read_catalogue(path).types
    assert (small.name, small.capacity) == ("n2-standard-2", Resources(cpu_cores=2, memory_bytes=8 * 2**30))
    assert small.price("us-central1", "on-demand") == built_price(2, 8192, 0.031611, 0.004237) == 0.097118
    assert small.price("us-central1", "spot") == built_price(2, 8192, 0.00765, 0.001025)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "say what to do: refresh"),
        (["refresh"], "name one cloud: --aws REGION"),
        (["refresh", "--aws", "x", "--gcp", "y"], "name one cloud"),
        (["refresh", "--gcp", "y"], "--gcp needs --zone"),
    ],
)
def test_bad_usage_is_one_line_and_4(arguments: list[str], match: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 4
    assert match in capsys.readouterr().err


def test_an_unknown_region_is_one_line(aws_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refresh", "--aws", "moon-1"]) == 4
    assert "'moon-1' is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"terms": 1}', '{"terms": {"OnDemand": {"a": {}}}}', "[" * 5000]
)
def test_garbage_of_the_price_list_is_an_error(text: str) -> None:
    with pytest.raises(DrmError, match="is no product"):
        price_of_product(text)
    assert price_of_product('{"terms": {}}') is None


def test_garbage_of_others_is_an_error() -> None:
    with pytest.raises(DrmError, match="not understood"):
        size_of({"InstanceType": "x"})
    with pytest.raises(DrmError, match="is no SKU"):
        unit_prices([{"description": "N2 Instance Core running in X"}])


def test_families_are_known_by_the_words_of_their_skus() -> None:
    rows = [
        ("N1 Predefined Instance Core running in Americas", "OnDemand", "h", 10, ["r1"]),
        ("N1 Predefined Instance Ram running in Americas", "OnDemand", "GiBy.h", 10, ["r1"]),
        ("Compute optimized Core running in Americas", "OnDemand", "h", 10, ["r1"]),
        ("Compute optimized Ram running in Americas", "OnDemand", "GiBy.h", 10, ["r1"]),
        ("N2D AMD Instance Core running in Americas", "OnDemand", "h", 10, ["r1"]),
    ]
    names = ("n1-standard-1", "c2-standard-4", "n2d-standard-2", "a2-highgpu-1g")
    sizes = [Size(name=name, cpu=1, memory_mib=1024, gpu=int(name.startswith("a2"))) for name in names]
    found = prices_of(sizes, unit_prices([sku(*row) for row in rows]), ["r1", "r2"])
    assert [each.name for each in found] == ["n1-standard-1", "c2-standard-4"]


def test_of_several_prices_the_highest_counts_and_without_any_it_is_an_error() -> None:
    size = Size(name="a", cpu=1, memory_mib=1)
    prices = [Price(name="a", region="r", market="on-demand", usd_per_hour=usd) for usd in (1.0, 3.0, 2.0, 0.0)]
    made = assembled("x", date(2026, 1, 1), (), [size, size], prices)
    assert [each.on_demand for each in made.types] == [{"r": 3.0}]
    with pytest.raises(ConfigError, match="told of no type that has a size and a price"):
        assembled("x", date(2026, 1, 1), (), [size], [])


PRICES = st.dictionaries(st.sampled_from(["r1", "r-2"]), st.floats(1e-6, 1e3), min_size=1)


@given(
    rows=st.dictionaries(
        st.text(min_size=1, max_size=9), st.tuples(st.integers(1, 999), st.integers(0, 8), PRICES, PRICES), max_size=4
    )
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Any]) -> None:
    types = tuple(
        CatalogueType(
            name=name,
            capacity=Resources(cpu_cores=cpu, memory_bytes=cpu * 2**20, gpus=gpu),
            arch="arm64",
            on_demand=prices,
            spot=spot,
        )
        for name, (cpu, gpu, prices, spot) in rows.items()
    )
    catalogue = Catalogue(provider="aws", as_of=date(2026, 1, 2), sources=("a",), types=types)
    path = tmp_path_factory.getbasetemp() / "written.json"
    path.write_text(written(catalogue), encoding="utf-8")
    assert read_catalogue(path) == catalogue
