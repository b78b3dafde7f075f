"""Plans: every test once, never over capacity, near the bound."""

from __future__ import annotations

import random
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model.claims import claims_of
from drm.model.cluster import WorkerState, WorkerView
from drm.model.errors import DuplicateError
from drm.model.plan import Plan
from drm.model.resources import ZERO, Requirements, Resources, total
from drm.model.work import Forecast, Task
from drm.resource_optimizer import ResourceOptimizer, schedule


def worker(
    name: str,
    *,
    cpu: float = 1,
    memory: int = 100,
    gpus: float = 0,
    labels: tuple[str, ...] = (),
    reserved: Resources = ZERO,
    state: WorkerState = WorkerState.READY,
) -> WorkerView:
    capacity = Resources(cpu_cores=cpu, memory_bytes=memory, gpus=gpus)
    return WorkerView(
        worker_id=name,
        worker_type="t",
        state=state,
        capacity=capacity,
        allocatable=capacity,
        reserved=reserved,
        labels=frozenset(labels),
    )


def task(
    number: int,
    seconds: float,
    *,
    cpu: float = 1,
    memory: int = 0,
    gpus: float = 0,
    labels: tuple[str, ...] = (),
    lock: str | None = None,
    group: str | None = None,
) -> Task:
    return Task(
        task_id=f"m.py::t{number}",
        scope="m.py",
        position=number,
        requirements=Requirements(
            amounts=Resources(cpu_cores=cpu, memory_bytes=memory, gpus=gpus),
            labels=frozenset(labels),
            claims=claims_of(locks=[lock] if lock else []),
            group=group,
        ),
        forecast=Forecast(wall_s=seconds, memory_bytes=0),
    )


def plan(tasks: list[Task], *workers: WorkerView) -> Plan:
    return ResourceOptimizer().allocate_resources(tasks, workers)


def where(made: Plan) -> dict[str, str]:
    return {each.task_id.removeprefix("m.py::"): each.worker_id for each in made.allocations}


def test_the_longest_go_first() -> None:
    made = plan([task(number, seconds) for number, seconds in enumerate((1, 2, 3, 4))], worker("a"), worker("b"))
    assert [each.task_id[-2:] for each in made.allocations] == ["t3", "t2", "t1", "t0"]
    assert (made.makespan_s, made.lower_bound_s) == (5, 5)


def test_a_test_goes_where_it_leaves_least() -> None:
    made = plan([task(0, 1, cpu=2)], worker("large", cpu=8), worker("small", cpu=2), worker("middle", cpu=4))
    assert where(made) == {"t0": "small"}


def test_a_test_without_gpu_leaves_the_gpu_worker_to_others() -> None:
    made = plan([task(0, 1), task(1, 1, gpus=1)], worker("gpu", gpus=1), worker("cpu", memory=1000))
    assert where(made) == {"t0": "cpu", "t1": "gpu"}


@pytest.mark.parametrize(
    ("rows", "workers", "longest_first_s", "ends_s"),
    [
        ([(4, 2), (4, 2), (4, 3), (5, 1)], 2, 8, 5),
        ([(5, 1), (2, 3), (2, 2), (3, 3), (4, 1)], 1, 9, 7),  # size counts by its root
        ([(3, 3), (1, 2), (3, 3), (5, 2), (4, 3), (4, 4)], 2, 11, 10),  # as much as length
        ([(4, 2), (2, 1), (1, 3), (3, 2), (3, 2), (1, 2)], 1, 8, 7),  # twice as much
    ],
)
def test_what_is_large_goes_before_what_is_long_where_that_ends_sooner(
    rows: list[tuple[float, float]], workers: int, longest_first_s: float, ends_s: float
) -> None:
    """Seconds and cores, on workers of four cores."""
    tasks = [task(number, seconds, cpu=cores) for number, (seconds, cores) in enumerate(rows)]
    machines = [worker(f"w{number}", cpu=4) for number in range(workers)]
    assert plan(tasks, *machines).makespan_s == ends_s
    with patch.object(schedule, "_SMALL", 3):
        assert plan(tasks, *machines).makespan_s == longest_first_s, "of very many tests one order is tried"


def test_small_tests_fill_the_gaps_beside_large_ones() -> None:
    made = plan([task(0, 10, cpu=3), task(1, 9, cpu=3), task(2, 8, cpu=1), task(3, 7, cpu=1)], worker("w", cpu=4))
    starts = {each.task_id[-2:]: each.start_s for each in made.allocations}
    assert starts == {"t0": 0, "t1": 10, "t2": 0, "t3": 8}


def test_labels_lead_to_the_worker_that_carries_them() -> None:
    made = plan([task(0, 1, labels=("db",))], worker("plain"), worker("db", cpu=8, labels=("db", "x")))
    assert where(made) == {"t0": "db"}


def test_tests_with_one_lock_run_one_after_another_and_count_in_the_bound() -> None:
    made = plan([task(number, 2, lock="db") for number in range(4)], worker("a", cpu=4), worker("b", cpu=4))
    assert sorted(each.start_s for each in made.allocations) == [0, 2, 4, 6]
    assert made.makespan_s == made.lower_bound_s == 8


def test_a_lock_given_back_on_one_worker_starts_a_test_on_another() -> None:
    tasks = [task(0, 2, labels=("a",), lock="db"), task(1, 1, labels=("b",), lock="db"), task(2, 10, labels=("a",))]
    made = plan(tasks, worker("a", cpu=2, labels=("a",)), worker("b", labels=("b",)))
    assert {each.task_id[-2:]: each.start_s for each in made.allocations} == {"t0": 0, "t1": 2, "t2": 0}


def test_a_group_runs_on_one_worker_in_file_order() -> None:
    tasks = [task(0, 1, group="g", cpu=1), task(1, 5), task(2, 2, group="g", cpu=2), task(3, 5)]
    made = plan(tasks, worker("small"), worker("large", cpu=2))
    placed = {each.task_id[-2:]: each for each in made.allocations}
    assert placed["t0"].worker_id == placed["t2"].worker_id == "large"
    assert placed["t2"].start_s == placed["t0"].start_s + 1


def test_what_fits_nowhere_is_refused_with_a_sentence() -> None:
    made = plan([task(0, 1), task(1, 1, gpus=3)], worker("w", gpus=2))
    assert where(made) == {"t0": "w"}
    assert [(refusal.task_id, refusal.reason) for refusal in made.refusals] == [
        ("m.py::t1", "needs 3 gpu; the largest worker has 2")
    ]


def test_without_workers_everything_is_refused() -> None:
    made = plan([task(0, 1)], worker("gone", state=WorkerState.GONE), worker("leaving", state=WorkerState.DRAINING))
    assert (made.allocations, len(made.refusals), made.makespan_s, made.lower_bound_s) == ((), 1, 0, 0)
    assert "no worker" in made.refusals[0].reason


def test_no_tasks_no_plan() -> None:
    assert plan([], worker("w")) == Plan()


def test_what_is_reserved_already_is_waited_for() -> None:
    busy = worker("w", cpu=2, reserved=Resources(cpu_cores=2))
    assert where(plan([task(0, 1), task(1, 3)], busy)) == {"t0": "w", "t1": "w"}


def test_a_task_that_comes_twice_is_an_error() -> None:
    with pytest.raises(DuplicateError):
        plan([task(0, 1), task(0, 1)], worker("w"))


TASKS = st.lists(
    st.builds(
        dict,
        seconds=st.floats(0, 100) | st.just(1.0),
        cpu=st.sampled_from([0, 0.25, 1, 2, 5]),
        memory=st.sampled_from([0, 10, 60, 500]),
        gpus=st.sampled_from([0, 0, 0, 0.4, 0.6, 1]),
        labels=st.sampled_from([(), (), ("db",), ("nowhere",)]),
        lock=st.sampled_from([None, None, None, "a", "b"]),
        group=st.sampled_from([None, None, None, None, "g", "h"]),
    ),
    max_size=30,
)
WORKERS = st.lists(
    st.builds(
        dict,
        cpu=st.sampled_from([1, 2, 4]),
        memory=st.sampled_from([50, 100]),
        gpus=st.sampled_from([0, 0, 1, 2]),
        labels=st.sampled_from([(), ("db",)]),
        state=st.sampled_from([WorkerState.READY, WorkerState.READY, WorkerState.STARTING, WorkerState.GONE]),
    ),
    max_size=5,
)


@given(TASKS, WORKERS, st.randoms(use_true_random=False))
def test_every_plan_is_complete_feasible_and_deterministic(
    rows: list[dict[str, object]], machines: list[dict[str, object]], rng: random.Random
) -> None:
    tasks = [task(number, **row) for number, row in enumerate(rows)]  # type: ignore[arg-type]
    workers = [worker(f"w{number}", **row) for number, row in enumerate(machines)]  # type: ignore[arg-type]
    made = plan(tasks, *workers)
    placed = [each.task_id for each in made.allocations] + [each.task_id for each in made.refusals]
    assert sorted(placed) == sorted(each.task_id for each in tasks)
    assert all(refusal.reason for refusal in made.refusals)
    assert made.makespan_s >= made.lower_bound_s * (1 - 1e-9)
    _check_never_over(made, tasks, workers)
    shuffled = list(tasks)
    rng.shuffle(shuffled)
    again = plan(shuffled, *workers)
    assert set(again.allocations) == set(made.allocations)


def _check_never_over(made: Plan, tasks: list[Task], workers: list[WorkerView]) -> None:
    by_id = {each.task_id: each for each in tasks}
    views = {each.worker_id: each for each in workers}
    spans = [(each, by_id[each.task_id]) for each in made.allocations]
    for allocation, this in spans:
        view = views[allocation.worker_id]
        assert view.state in (WorkerState.READY, WorkerState.STARTING)
        assert this.requirements.labels <= view.labels
        now_s = allocation.start_s
        running = [(other, each) for other, each in spans if other.start_s <= now_s < other.start_s + each.expected_s]
        here = [each.requirements.amounts for other, each in running if other.worker_id == view.worker_id]
        assert total(here).fits_in(view.allocatable)
        gpus = sorted((round(each.gpus * 1000) for each in here if each.gpus), reverse=True)
        assert _packs(gpus, [1000] * int(view.allocatable.gpus)), "no share is on two devices"
        locks = [name for _, each in running for name, _ in each.requirements.claims]
        assert len(locks) == len(set(locks))


def _packs(asked: list[int], left: list[int]) -> bool:
    """Tell whether each of these, 1000 at most, finds a device that has it left."""
    if not asked:
        return True
    first, *others = asked
    rests = [[*left[:number], milli - first, *left[number + 1 :]] for number, milli in enumerate(left)]
    return any(_packs(others, rest) for rest in rests if min(rest) >= 0)


def test_three_shares_of_more_than_half_take_turns_on_two_gpus() -> None:
    made = plan([task(number, 1.0, gpus=0.6) for number in range(3)], worker("w", cpu=8, gpus=2))
    assert sorted(each.start_s for each in made.allocations) == [0, 0, 1]
    assert made.lower_bound_s == 1.5, "two at a time, however much is left of both devices"


@given(st.lists(st.sampled_from([0.3, 0.4, 0.6, 0.7, 1]), max_size=8), st.integers(1, 3))
def test_no_share_is_on_two_gpus(shares: list[float], count: int) -> None:
    tasks = [task(number, 1.0 + number, gpus=share) for number, share in enumerate(shares)]
    machine = worker("w", cpu=8, gpus=count)
    made = plan(tasks, machine)
    assert made.makespan_s >= made.lower_bound_s * (1 - 1e-9)
    _check_never_over(made, tasks, [machine])


def test_gpus_that_are_reserved_are_waited_for() -> None:
    held = Resources(gpus=1.2)
    made = plan([task(0, 1.0, gpus=0.8), task(1, 1.0, gpus=1)], worker("w", cpu=8, gpus=2, reserved=held))
    assert {each.task_id[-2:]: each.start_s for each in made.allocations} == {"t0": 0, "t1": 1}


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=60), st.integers(1, 6))
def test_graham_1969_on_equal_workers(durations: list[float], machines: int) -> None:
    made = plan(
        [task(number, seconds) for number, seconds in enumerate(durations)],
        *(worker(f"w{number}") for number in range(machines)),
    )
    assert made.makespan_s <= made.lower_bound_s * (2 - 1 / machines) + 1e-9


@given(TASKS, WORKERS)
def test_one_more_worker_never_raises_the_bound(
    rows: list[dict[str, object]], machines: list[dict[str, object]]
) -> None:
    tasks = [task(number, **row) for number, row in enumerate(rows)]  # type: ignore[arg-type]
    workers = [worker(f"w{number}", **row) for number, row in enumerate(machines)]  # type: ignore[arg-type]
    before = plan(tasks, *workers)
    after = plan(tasks, *workers, worker("new", cpu=1, memory=10))
    if len(after.refusals) == len(before.refusals):
        assert after.lower_bound_s <= before.lower_bound_s + 1e-9


def test_quality_on_a_heavy_tailed_suite() -> None:
    rng = random.Random(7)
    tasks = [task(number, rng.lognormvariate(0, 1.5), cpu=rng.choice([1, 1, 2])) for number in range(2000)]
    made = plan(tasks, *(worker(f"w{number}", cpu=4) for number in range(8)))
    assert made.makespan_s <= 1.01 * made.lower_bound_s
