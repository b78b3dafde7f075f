"""Where to ask next, and for how long not to ask again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cloud_provider_manager.failover import (
    Blocks,
    ErrorClass,
    candidates,
    classify,
    exhausted,
    region_of,
    ways_by_name,
)
from drm.model.cluster import WorkerType
from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    LostError,
    QuotaError,
    ThrottledError,
    UnauthorisedError,
    UnknownFateError,
)
from drm.model.resources import Resources

NONE = CapacityError("none here")


def offer(zone: str, name: str = "small", market: str = "spot", provider: str = "aws") -> WorkerType:
    return WorkerType(name=name, capacity=Resources(cpu_cores=1), zone=zone, market=market, provider=provider)


ALL = tuple(
    offer(zone, name, market, provider)
    for name in ("small", "large")
    for market in ("spot", "on-demand")
    for provider, zone in (
        ("aws", "eu-west-1a"),
        ("aws", "eu-west-1b"),
        ("aws", "us-east-1a"),
        ("gcp", "europe-west1-b"),
    )
)


def open_at(blocks: Blocks, now_s: float) -> list[tuple[str, str, str]]:
    found = candidates(ALL, blocks, now_s=now_s)
    return [(c.worker_type.zone, c.worker_type.name, c.worker_type.market) for c in found if not c.why_not]


def test_the_order_is_zone_type_market_region_provider() -> None:
    assert open_at(Blocks(), 0.0) == [
        (zone, name, market)
        for zones in (("eu-west-1a", "eu-west-1b"), ("us-east-1a",), ("europe-west1-b",))
        for market in ("spot", "on-demand")
        for name in ("small", "large")
        for zone in zones
    ]


def sized(name: str, cores: float, price: float, market: str = "spot", *labels: str) -> WorkerType:
    capacity = Resources(cpu_cores=cores)
    return WorkerType(
        name=name, capacity=capacity, usd_per_hour=price, market=market, zone="eu-west-1a", labels=frozenset(labels)
    )


def test_what_is_as_large_and_no_dearer_than_the_dearest_way_stands_in() -> None:
    spot, on_demand = sized("small", 2, 0.4), sized("small", 2, 1.0, "on-demand")
    other, dear = sized("other", 2, 0.7), sized("other", 2, 1.1, "on-demand")
    less, fast = sized("less", 1, 0.1), sized("fast", 4, 0.9, "spot", "fast")
    ways = ways_by_name((spot, on_demand, other, dear, less, fast))
    assert ways["small"] == (spot, on_demand, other, fast)
    assert ways["other"] == (other, dear, spot, on_demand, fast)
    assert ways["less"] == (less,)  # all others are dearer
    assert ways["fast"] == (fast,)  # no other has its label
    tried = [each.worker_type for each in candidates(ways["small"], Blocks(), now_s=0.0)]
    assert tried == [spot, other, fast, on_demand]  # another type, before the dearer market


def test_a_block_holds_three_minutes_and_twice_as_long_each_time_again(clock: Any) -> None:
    blocks, held = Blocks(), []
    for _ in range(6):
        blocks = blocks.after(NONE, ALL[0], now_s=clock.now())
        found = blocks.blocking(ALL[0], now_s=clock.now())
        assert found is not None
        held.append(found[1] - clock.now())
        clock.move_to(found[1])
        assert blocks.blocking(ALL[0], now_s=clock.now()) is None
    assert held == [180.0, 360.0, 720.0, 1440.0, 1440.0, 1440.0]


def test_what_was_long_ago_is_forgotten(clock: Any) -> None:
    blocks = Blocks().after(NONE, ALL[0], now_s=clock.now())
    clock.advance(180.0 + 180.0)
    blocks = blocks.after(NONE, ALL[0], now_s=clock.now())
    assert blocks.blocking(ALL[0], now_s=clock.now())[1] == clock.now() + 180.0  # type: ignore[index]


def test_capacity_blocks_one_zone_type_and_market() -> None:
    blocked = Blocks().after(NONE, ALL[0], now_s=0.0)
    assert set(open_at(Blocks(), 0.0)) - set(open_at(blocked, 1.0)) == {("eu-west-1a", "small", "spot")}


def test_a_quota_blocks_a_type_and_market_in_the_region() -> None:
    blocked = Blocks().after(QuotaError("too many"), ALL[0], now_s=0.0)
    gone = set(open_at(Blocks(), 0.0)) - set(open_at(blocked, 1.0))
    assert gone == {("eu-west-1a", "small", "spot"), ("eu-west-1b", "small", "spot")}


@pytest.mark.parametrize("error", [ThrottledError("slower"), LostError("no route")])
def test_a_provider_that_is_busy_or_away_is_left_alone(error: DrmError) -> None:
    blocked = Blocks().after(error, ALL[0], now_s=0.0)
    assert {zone for zone, _, _ in open_at(blocked, 1.0)} == {"europe-west1-b"}


@pytest.mark.parametrize("error", [UnknownFateError("?"), ConfigError("no"), UnauthorisedError("no"), DrmError("?")])
def test_what_nobody_can_go_round_of_blocks_nothing(error: DrmError) -> None:
    assert Blocks().after(error, ALL[0], now_s=0.0) == Blocks()


def test_a_success_ends_what_it_proves_wrong() -> None:
    blocks = Blocks().after(QuotaError("x"), ALL[0], now_s=0.0).after(NONE, ALL[1], now_s=0.0)
    left = blocks.after_success(ALL[0])
    assert left.blocking(ALL[0], now_s=1.0) is None
    assert left.blocking(ALL[1], now_s=1.0) is not None


def test_classes() -> None:
    said = {classify(error("x")) for error in (CapacityError, QuotaError, ThrottledError)}
    assert said == {ErrorClass.CAPACITY, ErrorClass.QUOTA, ErrorClass.THROTTLED}
    assert classify(UnknownFateError("x")) is classify(DrmError("x")) is ErrorClass.UNKNOWN


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-east-1a", "us-east-1"),
        ("ap-northeast-3c", "ap-northeast-3"),
        ("us-central1-a", "us-central1"),
        ("europe-west12-b", "europe-west12"),
        ("us-east-1", "us-east-1"),
        ("", ""),
    ],
)
def test_the_region_of_a_zone(zone: str, region: str) -> None:
    assert region_of(zone) == region


def test_the_end_of_all_ways_says_why_and_until_when() -> None:
    blocks = Blocks()
    for each in ALL:
        blocks = blocks.after(NONE, each, now_s=0.0)
    tried = candidates(ALL, blocks, now_s=100.0)
    said = str(exhausted(tried, now_s=100.0))
    assert said.startswith(
        "none of 16 ways to get a worker is open (aws eu-west-1a small spot is left alone for 80 s more"
    )
    assert "and 13 more" in said
    assert "the next opens in 80 s" in said
    assert "none is offered" in str(exhausted((), now_s=0.0))


REFUSALS = st.lists(
    st.tuples(
        st.sampled_from(ALL),
        st.sampled_from([NONE, QuotaError("q"), ThrottledError("t"), ConfigError("c")]),
        st.floats(0, 5000),
    ),
    max_size=30,
)


@given(REFUSALS)
def test_no_refused_place_is_open_before_three_minutes_and_all_are_open_in_the_end(
    refusals: list[tuple[WorkerType, DrmError, float]],
) -> None:
    blocks, now_s = Blocks(), 0.0
    for each, error, passes_s in refusals:
        now_s += passes_s
        blocks = blocks.after(error, each, now_s=now_s)
        if not isinstance(error, ConfigError):
            assert blocks.blocking(each, now_s=now_s + 179.9) is not None
    assert all(not each.why_not for each in candidates(ALL, blocks, now_s=now_s + 1440.0))
    assert {each.worker_type for each in candidates(ALL, blocks, now_s=now_s)} == set(ALL)
