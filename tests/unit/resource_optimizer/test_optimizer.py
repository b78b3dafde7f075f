"""Forecasts on tasks, and which worker types the waiting tests call for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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


def test_each_sentence_about_a_type_that_was_not_taken() -> None:
    same = WorkerType(name="same", capacity=Resources(cpu_cores=4, memory_bytes=8 * GIB), usd_per_hour=0.2)
    types = (GPU, LARGE, SMALL, same)
    optimizer = ResourceOptimizer()

    def why(tasks: list[Task], maximum: int = 100) -> dict[str, str]:
        taken = optimizer.recommend_worker_types(tasks, types, maximum=maximum)
        rows = optimizer.rejected_worker_types(tasks, types, taken)
        assert all((row.count, row.tasks, row.usd_per_hour) == (0, 0, 0.0) for row in rows)
        return {row.worker_type: row.reason for row in rows}

    assert why([task(n) for n in range(2)]) == {
        "gpu": "a test-second costs 0.000139 USD, and 1.39e-05 USD on small",
        "large": "a test-second costs 2.78e-05 USD, and 1.39e-05 USD on small",
        "same": "small costs the same per test-second (1.39e-05 USD), and is smaller or comes first",
    }
    large = [task(n, needs(cpu_cores=3, memory_bytes=9 * GIB)) for n in range(3)]
    assert why([*large, task(9)], maximum=1) == {
        "gpu": "a test-second costs 0.000556 USD, and 0.000111 USD on large",
        "small": "it is the cheapest for 1 tests, for which the maximum of workers leaves no room",
        "same": "small costs the same per test-second (1.39e-05 USD), and is smaller or comes first",
    }
    assert (
        why(large)["small"]
        == "none of the tests fits it: one needs 3 cpu; it has 2 and needs 9 GiB of memory; it has 4 GiB"
    )
    assert set(why([]).values()) == {"there is nothing to run"}


def test_a_maximum_is_shared_out_in_proportion() -> None:
    types = [replace(SMALL, usd_per_hour=0.0), replace(GPU, usd_per_hour=0.0)]
    tasks = [task(n) for n in range(20)] + [task(50 + n, needs(gpus=1)) for n in range(5)]

    def counts(maximum: int) -> list[tuple[str, int]]:
        rows = ResourceOptimizer().recommend_worker_types(tasks, types, maximum=maximum)
        return [(row.worker_type, row.count) for row in rows]

    assert counts(15) == [("small", 10), ("gpu", 5)]
    assert counts(14) == [("small", 9), ("gpu", 5)]
    assert counts(8) == [("small", 5), ("gpu", 3)], "one each, then six for nine and four that are missing"
    assert counts(2) == [("small", 1), ("gpu", 1)]
    assert counts(1) == [("small", 1)], "the one with most tests"


def test_what_can_run_at_once_is_bought_for() -> None:
    def bought(*tasks: Task, counted: dict[str, int] | None = None) -> dict[str, int]:
        rows = ResourceOptimizer(counted=counted).recommend_worker_types(tasks, (SMALL, LARGE), maximum=99)
        return {row.worker_type: row.count for row in rows}

    licences = [task(n, Requirements(claims=claims_of(counted={"licence": 2}))) for n in range(9)]
    assert bought(*licences, counted={"licence": 8}) == {"small": 2}, "four at a time, two on each"
    assert bought(*licences, counted={"licence": 5}) == {"small": 1}
    both = [task(20 + n, Requirements(claims=claims_of(counted={"licence": 1}))) for n in range(9)]
    assert bought(*licences, *both, counted={"licence": 12}) == {"small": 3}, "twelve licences are six tests"
    assert bought(*(task(n, needs(memory_bytes=3 * GIB)) for n in range(4))) == {"small": 4}
    assert bought(*(task(n, needs(memory_bytes=9 * GIB)) for n in range(7))) == {"large": 3}
    assert bought(task(0, needs(cpu_cores=0)), task(1, needs(cpu_cores=0))) == {"small": 1}, "nothing is asked for"


def test_tests_of_unknown_duration_count_a_tenth_of_a_second() -> None:
    tasks = [task(n, seconds=0.0) for n in range(6)]
    ((_, view),) = ResourceOptimizer().get_scaling_recommendations(tasks, ClusterSnapshot(now_s=0), [SMALL])
    assert (view.waiting_s, view.longest_s, view.runnable) == (pytest.approx(0.6), 0.1, 6)
    (row,) = ResourceOptimizer().recommend_worker_types(tasks, [SMALL], maximum=1)
    assert row.reason == (
        "small is the cheapest type for 6 waiting tests (0.6 s of work, 2 side by side on one worker), "
        "3 would run them all at once"
    )


def test_a_forecast_that_was_too_large_is_taken_back() -> None:
    def predicted(of: Task, memory_bytes: int) -> Task:
        (made,) = ResourceOptimizer(FixedForecaster(memory_bytes)).predict_task_requirements([of])
        return made

    first = predicted(task(0), 500 * MIB)
    assert first.requirements.amounts.memory_bytes == 512 * MIB
    again = predicted(first, 100 * MIB)
    assert again.requirements.amounts.memory_bytes == 104 * MIB
    assert again.requirements.sources == (("memory", "history"),)
    assert predicted(again, 104 * MIB).requirements is again.requirements
    assert predicted(task(0, needs(memory_bytes=GIB)), 100 * MIB).requirements.amounts.memory_bytes == GIB


@pytest.mark.parametrize(
    ("size", "rounded"),
    [(0, 0), (1, MIB), (8 * MIB, 8 * MIB), (15 * MIB + 1, 16 * MIB), (17 * MIB, 18 * MIB), (33 * MIB, 36 * MIB)],
)
def test_the_memory_grid_by_hand(size: int, rounded: int) -> None:
    assert round_up_memory(size) == rounded
