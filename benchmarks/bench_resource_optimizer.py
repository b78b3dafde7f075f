"""How long plans and recommendations take, and how good the plans are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.bounds import least_cost
from benchmarks.workloads import TYPES, suite, workers
from drm.model.cluster import ClusterSnapshot
from drm.model.resources import Resources
from drm.model.work import Forecast, Outcome, Task, Usage
from drm.resource_optimizer import ResourceOptimizer

WORST_RATIO = 1.001  # makespan over lower bound: what these suites gave when last measured, rounded up


@pytest.mark.parametrize("count", [100, 1_000, 10_000])
def test_allocate_resources(measure: Any, count: int) -> None:
    tasks, machines = suite(count), workers(10)
    plan = measure(lambda: ResourceOptimizer().allocate_resources(tasks, machines), tasks=count, workers=10)
    ratio = plan.makespan_s / plan.lower_bound_s
    measure.extra["makespan_over_bound"] = round(ratio, 5)
    measure.extra["allocated"] = len(plan.allocations)
    assert len(plan.allocations) == count, "every test of this suite fits a worker"
    assert ratio <= WORST_RATIO, "the plan is worse than it was: quality does not depend on the machine"


def test_get_scaling_recommendations(measure: Any) -> None:
    tasks, snapshot = suite(20_000), ClusterSnapshot(now_s=0.0, workers=tuple(workers(10)))
    rows = measure(
        lambda: ResourceOptimizer().get_scaling_recommendations(tasks, snapshot, TYPES), tasks=20_000, types=len(TYPES)
    )
    assert sum(view.waiting for _, view in rows) == 20_000


def test_recommend_worker_types(measure: Any) -> None:
    tasks = suite(10_000)
    rows = measure(lambda: ResourceOptimizer().recommend_worker_types(tasks, TYPES, maximum=50), tasks=10_000)
    measure.extra["usd_per_hour"] = round(sum(row.usd_per_hour for row in rows), 3)
    assert sum(row.count for row in rows) == 50


def test_cost_of_recommended_workers(measure: Any) -> None:
    tasks = [task for task in suite(10_000) if not task.requirements.claims]
    rows = measure(lambda: ResourceOptimizer().recommend_worker_types(tasks, TYPES, maximum=10**6), tasks=len(tasks))
    ratio = sum(row.usd_per_hour for row in rows) / least_cost(tasks, TYPES)
    measure.extra["cost_over_lp_bound"] = round(ratio, 4)
    assert sum(row.tasks for row in rows) == len(tasks)
    assert ratio <= 1.03


class OneForecast:
    """A forecaster that costs nothing, so that only the optimizer is measured."""

    def predict_resource_requirements(self, tasks: Sequence[Task]) -> list[Forecast]:
        return [Forecast(wall_s=1.0, memory_bytes=300 * 2**20)] * len(tasks)

    def record_task_execution(self, task_id: str, usage: Usage, outcome: Outcome | None) -> None:
        raise AssertionError("nothing is recorded here")


def test_predict_task_requirements(measure: Any) -> None:
    tasks, optimizer = suite(20_000), ResourceOptimizer(OneForecast())
    largest = Resources(cpu_cores=8, memory_bytes=2**37)
    predicted = measure(lambda: optimizer.predict_task_requirements(tasks, largest=largest), tasks=20_000)
    assert len(predicted) == 20_000
