"""Vectors of amounts: exact sums, comparisons, and phrases for people."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model.errors import ConfigError, DrmError
from drm.model.resources import ZERO, Requirements, Resources, total

AMOUNTS = st.builds(Resources, cpu_cores=st.floats(0, 1000), memory_bytes=st.integers(0, 2**50), gpus=st.floats(0, 100))


@given(st.lists(AMOUNTS, max_size=20), AMOUNTS)
def test_taking_away_what_was_added_restores_exactly(amounts: list[Resources], start: Resources) -> None:
    value = start
    for amount in amounts:
        value = value + amount
    for amount in amounts:
        value = value - amount
    assert value == start


@given(AMOUNTS, AMOUNTS)
def test_fits_and_lacking_agree(asked: Resources, free: Resources) -> None:
    assert asked.fits_in(free) == (asked.lacking(free) == [])
    assert asked.fits_in(asked + free)
    assert free.fits_in(asked.at_least(free))


def test_the_sum_of_many_tenths_is_exact() -> None:
    assert total([Resources(cpu_cores=0.1)] * 30) == Resources(cpu_cores=3)
    assert total([]) == ZERO


@pytest.mark.parametrize("name", ["cpu_cores", "memory_bytes", "gpus"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_amounts_are_finite(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Resources(**{name: value})  # type: ignore[arg-type]


def test_phrases() -> None:
    asked = Resources(cpu_cores=4, memory_bytes=2**30, gpus=1)
    assert asked.describe() == "4 cpu, 1 GiB, 1 gpu"
    assert asked.lacking(Resources(cpu_cores=2)) == ["4 cpu of 2", "1 GiB memory of 0 B", "1 gpu of 0"]


def test_where_an_amount_came_from() -> None:
    requirements = Requirements(sources=(("memory", "marker"),))
    assert (requirements.source_of("memory"), requirements.source_of("cpu")) == ("marker", "default")


def test_an_error_is_one_line_with_its_remedy() -> None:
    assert str(DrmError("it broke", remedy="mend it")) == "it broke; mend it"
    assert str(DrmError("it broke")) == "it broke"
