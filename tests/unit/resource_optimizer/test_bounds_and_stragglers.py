"""What no plan can beat, and which tests are started a second time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drm.model.cluster import WorkerType, WorkerView
from drm.model.resources import Requirements, Resources
from drm.model.work import Forecast, Task
from drm.resource_optimizer import ResourceOptimizer, Running, lower_bound, next_look_s, stragglers
from drm.resource_optimizer.schedule import make_plan


def task(number: int, seconds: float, *, cpu: float = 1, gpus: float = 0) -> Task:
    return Task(
        task_id=f"t{number}",
        scope="m",
        position=number,
        requirements=Requirements(amounts=Resources(cpu_cores=cpu, gpus=gpus)),
        forecast=Forecast(wall_s=seconds, memory_bytes=0),
    )


def worker(number: int, cpu: float, gpus: float = 0) -> WorkerView:
    kind = WorkerType(name="w", capacity=Resources(cpu_cores=cpu, memory_bytes=1, gpus=gpus))
    return WorkerView.planned(f"w{number}", kind)


def test_two_large_tests_do_not_fit_one_worker() -> None:
    tasks = [task(number, 1.0, cpu=5) for number in range(4)]
    assert lower_bound(tasks, [worker(0, 8), worker(1, 8)]) == 2.0, "by area it would be 20 / 16"


def test_gpu_tests_share_the_workers_with_gpus_only() -> None:
    tasks = [task(number, 1.0, cpu=4, gpus=0.1) for number in range(4)]
    assert lower_bound(tasks, [worker(0, 4, gpus=1), worker(1, 100)]) == 4.0


tasks_of = st.lists(
    st.tuples(st.floats(0.1, 10), st.sampled_from([0.5, 1, 1.5, 2, 3, 4]), st.sampled_from([0, 0, 0.5, 1])), max_size=12
).map(lambda rows: [task(number, s, cpu=cpu, gpus=gpus) for number, (s, cpu, gpus) in enumerate(rows)])
workers_of = st.lists(st.tuples(st.sampled_from([2, 4, 6]), st.sampled_from([0, 1])), max_size=5)


@given(tasks_of, workers_of, st.tuples(st.sampled_from([4, 6, 9]), st.sampled_from([0, 1, 2])))
def test_no_plan_beats_the_bound_and_a_worker_more_never_raises_it(tasks, sizes, more) -> None:
    workers = [worker(number, cpu, gpus) for number, (cpu, gpus) in enumerate([*sizes, (4, 1)])]
    bound = lower_bound(tasks, workers)
    made = ResourceOptimizer().allocate_resources(tasks, workers)
    assert made.makespan_s >= bound * (1 - 1e-9)
    assert made.lower_bound_s == bound
    assert lower_bound(tasks, [*workers, worker(99, *more)]) <= bound * (1 + 1e-9)


def test_a_plan_as_it_came_out() -> None:
    tasks = [task(0, 3.0), task(1, 2.0), task(2, 1.0)]
    made = make_plan(tasks, [worker(0, 1)], {}, actual_s={"t0": 1.0, "t1": 5.0})
    assert [(each.task_id, each.start_s) for each in made.allocations] == [("t0", 0.0), ("t1", 1.0), ("t2", 6.0)]
    assert (made.makespan_s, made.lower_bound_s) == (7.0, 7.0)


def running(name: str, started_s: float, expected_s: float = 1.0, **rest: object) -> Running:
    given = {"repeatable": True, **rest}
    return Running(task_id=name, started_s=started_s, expected_s=expected_s, **given)  # type: ignore[arg-type]


def test_stragglers_are_started_again_when_nothing_waits() -> None:
    rows = [running("a", 7.0), running("b", 5.0), running("c", 9.5), running("d", 0.0, expected_s=0.0)]
    assert stragglers(rows, 10.0, waiting=0) == ["b", "a"]
    assert stragglers(rows, 10.0, waiting=1) == []
    assert next_look_s(rows, 10.0) == 11.5


def test_only_what_may_be_repeated_and_only_once() -> None:
    rows = [running("a", 0.0, repeatable=False), running("b", 0.0, copies=1)]
    assert stragglers(rows, 10.0, waiting=0) == []
    assert stragglers(rows, 10.0, waiting=0, repeat_any=True) == ["a"]
    assert next_look_s(rows, 0.0) is None
    assert next_look_s(rows, 0.0, repeat_any=True) == 2.0
