"""Devices of a worker: no device is over-reserved, and a whole one is nobody else's."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model.gpus import WHOLE, Share, assign, devices_of, most_left, shares_side_by_side


def test_devices() -> None:
    assert devices_of(0) == []
    assert devices_of(2) == [WHOLE, WHOLE]
    assert devices_of(1.25) == [WHOLE, 250]


def test_a_share_goes_where_least_is_left_so_that_whole_devices_stay_whole() -> None:
    assert assign([1000, 500, 700], 400) == ((1, 400),)
    assert assign([1000, 300, 300], 400) == ((0, 400),)
    assert assign([400, 1000, 1000], 1400) == ((0, 400), (1, 1000))


def test_the_devices_that_it_had_before() -> None:
    assert assign([1000, 1000], 1000, prefer=(1,)) == ((1, 1000),)
    assert assign([500, 1000], 500, prefer=(1,)) == ((1, 500),)
    assert assign([1000, 0], 1000, prefer=(1,)) == ((0, 1000),)


@pytest.mark.parametrize(
    ("asked", "gpus", "count"), [(1, 2, 2), (0.5, 1, 2), (0.6, 2, 2), (0.4, 2, 4), (1.5, 2, 1), (1.5, 3, 2), (1, 0, 0)]
)
def test_how_many_fit_together(asked: float, gpus: float, count: int) -> None:
    assert shares_side_by_side(asked, gpus) == count


def can_be_placed(left: list[int], milli: int) -> bool:
    """Say by trying whether so many whole devices and a share of another are there."""
    whole, rest = divmod(milli, WHOLE)
    untouched = [index for index, free in enumerate(left) if free == WHOLE]
    if whole > len(untouched):
        return False
    others = [free for index, free in enumerate(left) if index not in untouched[:whole]]
    return not rest or any(rest <= free for free in others)


@given(st.lists(st.integers(0, 10).map(lambda n: n * 100), max_size=4), st.integers(0, 50).map(lambda n: n * 100))
def test_what_is_said_to_be_left_can_be_had_and_no_more(left: list[int], milli: int) -> None:
    assert (milli <= most_left(left)) == can_be_placed(left, milli)


@given(st.sampled_from([1, 2, 2.5, 4]), st.lists(st.integers(1, 2500), max_size=30), st.randoms(use_true_random=False))
def test_no_device_is_over_reserved_whatever_comes_and_goes(gpus: float, asked: list[int], chance: Random) -> None:
    whole = devices_of(gpus)
    left, held = list(whole), dict[int, tuple[Share, ...]]()
    for number, milli in enumerate(asked):
        if held and chance.random() < 0.5:
            for device, taken in held.pop(chance.choice(sorted(held))):
                left[device] += taken
        if milli <= most_left(left):
            shares = assign(left, milli, prefer=(chance.randrange(5),))
            assert sum(taken for _, taken in shares) == milli
            assert len({device for device, _ in shares}) == len(shares) == -(-milli // WHOLE)
            for device, taken in shares:
                left[device] -= taken
            held[number] = shares
        assert all(0 <= free <= of for free, of in zip(left, whole, strict=True))
        users = [device for shares in held.values() for device, _ in shares]
        alone = [device for shares in held.values() for device, taken in shares if taken == WHOLE]
        assert all(users.count(device) == 1 for device in alone), "a whole device is shared"
