"""Forecasts on tasks, and which worker types the waiting tests call for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from drm.model.claims import claims_of
from drm.model.cluster import ClusterSnapshot, WorkerState, WorkerType, WorkerView
from drm.model.errors import ConfigError
from drm.model.resources import Requirements, Resources
from drm.model.work import Forecast, Outcome, Task, Usage
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_optimizer.classes import group_tasks, round_up_memory

MIB, GIB = 2**20, 2**30
SMALL = WorkerType(name="small", capacity=Resources(cpu_cores=2, memory_bytes=4 * GIB), usd_per_hour=0.1)
LARGE = WorkerType(name="large", capacity=Resources(cpu_cores=4, memory_bytes=32 * GIB), usd_per_hour=0.4)
GPU = WorkerType(
    name="gpu",
    capacity=Resources(cpu_cores=4, memory_bytes=16 * GIB, gpus=1),
    labels=frozenset({"cuda"}),
    usd_per_hour=2.0,
)
TYPES = (GPU, LARGE, SMALL)


class FixedForecaster:
    """Forecasts the same for every test, and remembers what it is told."""

    def __init__(self, memory_bytes: int = 100 * MIB) -> None:
        self.memory_bytes = memory_bytes
        self.told: list[tuple[str, Usage, Outcome | None]] = []

    def predict_resource_requirements(self, tasks: Sequence[Task]) -> list[Forecast]:
        return [Forecast(wall_s=1.5, memory_bytes=self.memory_bytes, method="history", samples=3) for _ in tasks]

    def record_task_execution(self, task_id: str, usage: Usage, outcome: Outcome | None) -> None:
        self.told.append((task_id, usage, outcome))


def task(number: int, requirements: Requirements | None = None, seconds: float = 1.0) -> Task:
    return Task(
        task_id=f"m.py::t{number}",
        scope="m.py",
        position=number,
        requirements=requirements or Requirements(),
        forecast=Forecast(wall_s=seconds, memory_bytes=0),
    )


def needs(**amounts: float) -> Requirements:
    return Requirements(amounts=Resources(**amounts))  # type: ignore[arg-type]


def test_tasks_get_their_forecast_and_room_for_it() -> None:
    (predicted,) = ResourceOptimizer(FixedForecaster(100 * MIB)).predict_task_requirements([task(0)])
    assert predicted.expected_s == 1.5
    memory = predicted.requirements.amounts.memory_bytes
    assert 100 * MIB <= memory <= 112.5 * MIB
    assert predicted.requirements.source_of("memory") == "history"
    assert predicted.requirements.amounts.cpu_cores == 1


def test_a_marker_is_believed_before_the_forecast() -> None:
    marked = Requirements(amounts=Resources(memory_bytes=MIB), sources=(("memory", "marker"),))
    (predicted,) = ResourceOptimizer(FixedForecaster()).predict_task_requirements([task(0, marked)])
    assert predicted.requirements is marked


def test_requirements_never_go_down() -> None:
    generous = needs(memory_bytes=GIB)
    (predicted,) = ResourceOptimizer(FixedForecaster()).predict_task_requirements([task(0, generous)])
    assert predicted.requirements is generous


def test_a_forecast_alone_makes_no_test_unplaceable() -> None:
    optimizer = ResourceOptimizer(FixedForecaster(10 * GIB))
    (predicted,) = optimizer.predict_task_requirements([task(0)], largest=SMALL.capacity)
    assert predicted.requirements.amounts.memory_bytes == 4 * GIB


def test_equal_requirements_stay_one_object() -> None:
    shared = Requirements()
    predicted = ResourceOptimizer(FixedForecaster()).predict_task_requirements([task(n, shared) for n in range(5)])
    assert len({id(each.requirements) for each in predicted}) == 1


def test_without_a_forecaster_tasks_stay_as_they_are() -> None:
    optimizer = ResourceOptimizer()
    tasks = [task(0)]
    assert optimizer.predict_task_requirements(tasks) == tasks
    optimizer.record_task_result("m.py::t0", Usage(), Outcome.PASSED)


def test_results_reach_the_forecaster() -> None:
    forecaster = FixedForecaster()
    ResourceOptimizer(forecaster).record_task_result("m.py::t0", Usage(wall_s=2), None)
    assert forecaster.told == [("m.py::t0", Usage(wall_s=2), None)]


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 100 * MIB, 3 * GIB + 5, 2**45 - 1])
def test_the_memory_grid_rounds_up_by_an_eighth_at_most(size: int) -> None:
    rounded = round_up_memory(size)
    assert size <= rounded <= max(size * 1.125 + MIB, MIB)
    assert round_up_memory(rounded) == rounded


def test_classes_are_by_value() -> None:
    tasks = [task(0, needs(cpu_cores=1)), task(1, needs(cpu_cores=2)), task(2, needs(cpu_cores=1))]
    assert [[each.position for each in group.tasks] for group in group_tasks(tasks)] == [[0, 2], [1]]


def test_each_test_counts_on_the_cheapest_type_that_fits_it() -> None:
    tasks = [task(n) for n in range(6)] + [task(6, needs(memory_bytes=8 * GIB), 9.0), task(7, needs(gpus=1))]
    workers = tuple(
        WorkerView(
            worker_id=f"w{n}",
            worker_type="small",
            state=WorkerState.READY,
            capacity=SMALL.capacity,
            allocatable=SMALL.capacity,
            reservations=n,
        )
        for n in range(3)
    )
    rows = ResourceOptimizer().get_scaling_recommendations(tasks, ClusterSnapshot(now_s=0, workers=workers), TYPES)
    views = {worker_type.name: view for worker_type, view in rows}
    assert [worker_type for worker_type, _ in rows] == list(TYPES)
    assert {name: view.waiting for name, view in views.items()} == {"gpu": 1, "large": 1, "small": 6}
    assert (views["small"].waiting_s, views["small"].longest_s, views["large"].longest_s) == (6.0, 1.0, 9.0)
    assert (views["small"].running, views["small"].per_worker) == (3, 2.0)


@pytest.mark.parametrize(("awaited_s", "longest_s"), [(None, 900.0), ({"w0": 30.0}, 30.0), ({}, 0.0)])
def test_the_end_is_measured_against_what_is_waited_for(awaited_s: dict[str, float] | None, longest_s: float) -> None:
    worker = WorkerView(
        worker_id="w0",
        worker_type="small",
        state=WorkerState.READY,
        capacity=SMALL.capacity,
        allocatable=SMALL.capacity,
        reservations=2,
    )
    snapshot = ClusterSnapshot(now_s=0, workers=(worker,))
    left_s = {"w0": (900.0, 30.0)}
    ((_, view),) = ResourceOptimizer().get_scaling_recommendations([task(0)], snapshot, [SMALL], left_s, awaited_s)
    assert (view.running_s, view.longest_running_s) == (930.0, longest_s), "it takes its worker all the same"


def test_tests_that_share_a_lock_or_a_group_count_once_as_runnable() -> None:
    tasks = [task(n, Requirements(claims=claims_of(locks=["db"]))) for n in range(4)]
    tasks += [task(4 + n, Requirements(group="g", claims=claims_of(locks=["x"]))) for n in range(3)] + [task(9)]
    ((_, view),) = ResourceOptimizer().get_scaling_recommendations(tasks, ClusterSnapshot(now_s=0), [SMALL])
    assert (view.waiting, view.runnable) == (8, 3)


def test_a_test_that_fits_no_type_is_in_no_row() -> None:
    rows = ResourceOptimizer().get_scaling_recommendations([task(0, needs(gpus=9))], ClusterSnapshot(now_s=0), TYPES)
    assert [view.waiting for _, view in rows] == [0, 0, 0]


def test_recommendations_are_cheapest_and_within_the_maximum() -> None:
    tasks = [task(n) for n in range(20)] + [task(20, needs(memory_bytes=8 * GIB)), task(21, needs(gpus=1))]
    optimizer = ResourceOptimizer()
    everything = optimizer.recommend_worker_types(tasks, TYPES, maximum=100)
    assert {each.worker_type: each.count for each in everything} == {"gpu": 1, "small": 8}, (
        "the worker that one test needs for its gpu has room for the large test and four small ones"
    )
    assert next(each for each in everything if each.worker_type == "small").usd_per_hour == pytest.approx(0.8)
    assert sum(each.tasks for each in everything) == len(tasks)
    few = optimizer.recommend_worker_types(tasks, TYPES, maximum=5)
    assert {each.worker_type: each.count for each in few} == {"gpu": 1, "small": 4}
    assert all(each.reason for each in few)
    assert "8 would run them all at once" in few[-1].reason
    assert [each.worker_type for each in optimizer.recommend_worker_types(tasks, TYPES, maximum=1)] == ["small"]
    assert optimizer.recommend_worker_types(tasks, TYPES, maximum=0) == ()
    assert optimizer.recommend_worker_types([], TYPES, maximum=9) == ()


def test_the_price_counts_per_test_not_per_worker() -> None:
    wide = WorkerType(name="wide", capacity=Resources(cpu_cores=8, memory_bytes=4 * GIB), usd_per_hour=0.3)
    (only,) = ResourceOptimizer().recommend_worker_types([task(n) for n in range(8)], [SMALL, wide], maximum=3)
    assert (only.worker_type, only.count) == ("wide", 1), "four small ones cost more"
    (only,) = ResourceOptimizer().recommend_worker_types([task(0)], [SMALL, wide], maximum=3)
    assert (only.worker_type, only.count) == ("small", 1), "one test does not fill the wide one"


def test_tests_of_one_lock_or_group_need_one_worker() -> None:
    tasks = [task(n, Requirements(claims=claims_of(locks=["db"]))) for n in range(4)]
    tasks += [task(4 + n, Requirements(group="g")) for n in range(3)]
    (only,) = ResourceOptimizer().recommend_worker_types(tasks, [SMALL], maximum=9)
    assert (only.count, only.tasks) == (1, 7), "two at a time is all that there can be"


def test_of_equally_cheap_types_the_smallest_is_taken() -> None:
    free_types = [
        WorkerType(name="gpu", capacity=Resources(cpu_cores=2, memory_bytes=GIB, gpus=1)),
        WorkerType(name="large", capacity=Resources(cpu_cores=4, memory_bytes=2 * GIB)),
        WorkerType(name="small", capacity=Resources(cpu_cores=2, memory_bytes=GIB)),
    ]
    (only,) = ResourceOptimizer().recommend_worker_types([task(0)], free_types, maximum=3)
    assert only.worker_type == "small"


def test_a_negative_maximum_is_refused() -> None:
    with pytest.raises(ConfigError, match="maximum"):
        ResourceOptimizer().recommend_worker_types([task(0)], TYPES, maximum=-1)
