"""Whether intervals hold as often as they say."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from drm.model.samples import Sample
from drm.model.work import Outcome, Usage
from drm.resource_performance_predictor import assess
from drm.resource_performance_predictor.calibration import Calibration, Deviation


def sample(task_id: str, wall_s: float, at: float) -> Sample:
    return Sample(task_id=task_id, usage=Usage(wall_s=wall_s), outcome=Outcome.PASSED, at=at)


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


def test_what_is_short_begins_as_less_sure_and_each_class_learns_for_itself() -> None:
    calibration = Calibration(jitter=0.003)
    assert calibration.interval(None, 0.001)[1] > 2 * calibration.interval(None, 1.0)[1]
    for number in range(400):
        calibration.observe(0.05 * (-1) ** number, Deviation(), 100.0)
    calibration.turn()
    assert calibration.deviation(None, 100.0) < 0.1
    assert calibration.deviation(None, 0.001) == Calibration(jitter=0.003).deviation(None, 0.001)


def test_four_scores_do_not_tell_what_nine_in_ten_are() -> None:
    calibration = Calibration()
    for _ in range(4):
        calibration.observe(0.01, Deviation())
    calibration.turn()
    assert calibration.interval(None)[1] > 1.3
    assert calibration.interval(None)[0] < 0.75


def test_a_second_run_learns_within_itself_how_far_off_predictions_are() -> None:
    """One attempt of each test is known, and the second run's seconds are anything from a fifth to five times those."""
    chance = random.Random(5)
    before, run = {}, []
    at = 1e9
    for number in range(1500):
        name, expected = f"m.py::t{number}", 0.001 * 1.004**number
        took = expected * math.exp(chance.uniform(-1.5, 1.5))
        before[name] = [sample(name, expected, 1e8)]
        at += took
        run.append(sample(name, took, at))
    covered = assess(before, run).covered
    assert covered is not None
    assert 0.87 <= covered <= 0.93
    shuffled = [replace(row, at=1e9) for row in run]  # all at once: none has ended when the others begin
    at_once = assess(before, shuffled).covered
    assert at_once is not None
    assert at_once < 0.8


def test_what_is_off_beyond_all_measure_counts_as_the_widest_there_is() -> None:
    for off, level, widest in ((100.0, 1.0, 24.99), (-100.0, 0.0001, -24.99)):
        calibration = Calibration()
        for _ in range(5):
            calibration.observe(off, Deviation())
        calibration.turn()
        assert calibration.score(level) == pytest.approx(widest)
