"""How near plans come to the bound, and what second starts of stragglers gain: quality, the same on every machine."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.stragglers import bound_s, run
from benchmarks.suites import tight, with_error, with_stragglers
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_optimizer.schedule import make_plan

SEEDS = range(42, 47)


@pytest.mark.parametrize(("per_worker", "most"), [(100, 1.02), (20, 1.08)])
def test_tight_suite(measure: Any, per_worker: int, most: float) -> None:
    measure(lambda: ResourceOptimizer().allocate_resources(*tight(20, per_worker)), workers=20, per_worker=per_worker)
    plans = [ResourceOptimizer().allocate_resources(*tight(20, per_worker, seed=seed)) for seed in SEEDS]
    worst = max(plan.makespan_s / plan.lower_bound_s for plan in plans)
    measure.extra["makespan_over_bound"] = round(worst, 4)
    assert worst <= most


def test_tight_suite_with_durations_wrong_by_a_third(measure: Any) -> None:
    def ratio(seed: int) -> float:
        tasks, workers = tight(20, 100, seed=seed)
        plan = make_plan(tasks, workers, {}, actual_s=with_error(tasks, 0.3, seed=seed))
        return plan.makespan_s / plan.lower_bound_s

    measure(lambda: ratio(42), workers=20, per_worker=100)
    worst = max(map(ratio, SEEDS))
    measure.extra["makespan_over_bound"] = round(worst, 4)
    assert worst <= 1.03


def test_second_starts_of_stragglers(measure: Any) -> None:
    def outcome(seed: int, copy: bool) -> tuple[float, float]:
        expected, actual = with_stragglers(2_000, seed=seed)
        made = run(expected, actual, 20, copy=copy)
        return (
            made.makespan_s / bound_s(list(actual.values()), list(expected.values()), 20),
            made.copied_s / sum(actual.values()),
        )

    measure(lambda: outcome(42, True), workers=20, tests=2_000)
    rows = [outcome(seed, True) for seed in SEEDS]
    worst, extra = max(row[0] for row in rows), max(row[1] for row in rows)
    without = max(outcome(seed, False)[0] for seed in SEEDS)
    measure.extra.update(
        makespan_over_bound=round(worst, 4), extra_work=round(extra, 5), without_second_starts=round(without, 4)
    )
    assert worst <= 1.01
    assert extra <= 0.005
    assert worst <= without
