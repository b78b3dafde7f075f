"""Whether intervals hold as often as they say."""

from __future__ import annotations

import math
import random

import pytest

from drm.resource_performance_predictor.calibration import Calibration, Deviation


def held(spreads: list[float], batches: int, shift_from: int | None = None) -> float:
    """Return how often intervals held over the second half of batches, of tests with these spreads of the logarithm."""
    chance = random.Random(11)
    calibration, own = Calibration(), [Deviation() for _ in spreads]
    inside = total = 0
    for batch in range(batches):
        wider = 3.0 if shift_from is not None and batch >= shift_from else 1.0
        offs = [chance.gauss(0, spread * wider) for spread in spreads]
        if batch >= batches // 2:
            for off, deviation in zip(offs, own, strict=True):
                low, high = calibration.interval(deviation)
                inside += low <= math.exp(off) <= high
                total += 1
        for off, deviation in zip(offs, own, strict=True):
            calibration.observe(off, deviation)
        calibration.turn()
    return inside / total


@pytest.mark.parametrize("spreads", [[0.1] * 200, [0.01] * 100 + [0.5] * 100])
def test_nine_in_ten_lie_inside_whatever_the_tests_are_like(spreads: list[float]) -> None:
    assert 0.88 <= held(spreads, 40) <= 0.92


def test_it_follows_when_everything_becomes_less_sure() -> None:
    assert 0.86 <= held([0.1] * 200, 80, shift_from=42) <= 0.93


def test_a_steady_test_gets_a_narrower_interval_than_a_wild_one() -> None:
    calibration, steady, wild = Calibration(), Deviation(), Deviation()
    for number in range(50):
        calibration.observe(0.01 * (-1) ** number, steady)
        calibration.observe(0.8 * (-1) ** number, wild)
        calibration.turn()
    assert calibration.interval(steady)[1] < calibration.interval(wild)[1]
    assert calibration.factor(wild, 0.5) <= calibration.factor(wild, 0.9) <= calibration.factor(wild, 0.99)
