"""One event at a time: exact to the last integer, the same as by loops, and errors change nothing."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from fleet_examples import naive as loops
from fleet_examples import requests, workers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from drm.model.errors import CapacityError, DuplicateError, UnknownTaskError
from drm.resource_optimizer.fleet import Fleet, OnlineAllocator, Placed, Refused, Request, Worker, gpu_column, gpu_tier
from drm.resource_optimizer.fleet.gpu_state import GpuState, _highest


def worker(name: str = "a", *, cpu: int = 1000, gpus: int = 0, **rest: object) -> Worker:
    return Worker(worker_id=name, cpu_milli=cpu, memory_bytes=8, gpu_devices=gpus, **rest)  # type: ignore[arg-type]


class Events(RuleBasedStateMachine):
    """Tasks come and go, workers join, shrink and leave; what is free is what there is less what is held."""

    @initialize(machines=workers())
    def start(self, machines: list[Worker]) -> None:
        self.workers = machines
        self.allocator = OnlineAllocator(Fleet.of(machines))
        self.held: dict[str, tuple[Request, Placed]] = {}
        self.tasks = 0

    @rule(request=requests())
    def allocate(self, request: Request) -> None:
        self.tasks += 1
        task = f"t{self.tasks}"
        answer = self.allocator.allocate(task, self.allocator.intern(request))
        if isinstance(answer, Placed):
            self.held[task] = (request, answer)
        else:
            assert answer.reason

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.held:
            task = data.draw(st.sampled_from(sorted(self.held)))
            self.allocator.release(task)
            del self.held[task]

    @rule()
    def errors_change_nothing(self) -> None:
        with pytest.raises(UnknownTaskError):
            self.allocator.release("never seen")
        if self.held:
            with pytest.raises(DuplicateError):
                self.allocator.allocate(min(self.held), 0)

    @rule(machines=workers())
    def other_workers(self, machines: list[Worker]) -> None:
        try:
            moved, gone = self.allocator.on(Fleet.of(machines))
        except CapacityError:
            return
        there = {each.worker_id for each in machines}
        assert sorted(gone) == sorted(task for task, (_, where) in self.held.items() if where.worker_id not in there)
        self.allocator, self.workers = moved, machines
        for task in gone:
            del self.held[task]

    @invariant()
    def free_is_exact(self) -> None:
        free = self.allocator.free()
        assert (free.free >= 0).all()
        assert (free.left >= 0).all()
        assert len(self.allocator) == len(self.held)
        for place, each in enumerate(self.workers):
            mine = [row for row in self.held.values() if row[1].worker_id == each.worker_id]
            assert free.free[0, place] == each.cpu_milli - sum(request.cpu_milli for request, _ in mine)
            assert free.free[1, place] == each.memory_bytes - sum(request.memory_bytes for request, _ in mine)
            for row, name in enumerate(free.names, start=2):
                taken = sum(dict(request.resources).get(name, 0) for request, _ in mine)
                assert free.free[row, place] == dict(each.resources).get(name, 0) - taken
            used = Counter[int]()
            for _, where in mine:
                used.update(dict(where.devices))
            assert free.left[place].tolist()[: each.gpu_devices] == [1000 - used[d] for d in range(each.gpu_devices)]

    @invariant()
    def locks_and_groups_hold(self) -> None:
        locks = Counter(lock for request, _ in self.held.values() for lock in request.locks)
        assert max(locks.values(), default=0) <= 1
        groups: dict[str, set[str]] = {}
        for request, where in self.held.values():
            if request.group is not None:
                groups.setdefault(request.group, set()).add(where.worker_id)
        assert all(len(where) == 1 for where in groups.values())


TestEvents = Events.TestCase
TestEvents.settings = settings(stateful_step_count=30)


@given(workers(), st.lists(requests(), max_size=25))
def test_releasing_all_gives_back_everything(machines, asked) -> None:
    allocator = OnlineAllocator(Fleet.of(machines))
    answers = [allocator.allocate(str(n), allocator.intern(each)) for n, each in enumerate(asked)]
    for number, answer in enumerate(answers):
        if isinstance(answer, Placed):
            allocator.release(str(number))
    assert (allocator.free().free == Fleet.of(machines).capacity).all()
    assert (allocator.free().left == Fleet.of(machines).devices).all()


def plain(request: Request) -> bool:
    return not request.locks and request.group is None


@given(workers(), st.lists(requests().filter(plain), min_size=1, max_size=25))
def test_the_places_are_those_of_loops(machines, asked) -> None:
    expected = {request: float(count) for request, count in Counter(asked).items()}
    allocator = OnlineAllocator(Fleet.of(machines), expected=expected)
    naive = loops.Naive(machines, expected, real=np.float32)
    for number, request in enumerate(asked):
        answer, found = allocator.allocate(str(number), allocator.intern(request)), naive.place(request)
        if found is None:
            assert isinstance(answer, Refused)
        else:
            assert answer == (machines[found[0]].worker_id, tuple(found[1]))


@given(workers(), st.lists(requests().filter(plain), min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_scores_kept_are_those_made_anew(machines, asked, chance) -> None:
    allocator = OnlineAllocator(Fleet.of(machines), expected=dict.fromkeys(asked, 1.0))
    tier, held = allocator._gpu, []
    for number, request in enumerate(asked):
        if isinstance(allocator.allocate(str(number), allocator.intern(request)), Placed):
            held.append(str(number))
        if held and chance.random() < 0.4:
            allocator.release(held.pop(chance.randrange(len(held))))
        anew = GpuState(allocator.free(), tier.workers, tier._state.mix)
        for each, row in tier._slot.items():
            found = anew.places(allocator._table, each, np.arange(len(tier.workers)))
            score = np.full(len(tier.workers), -np.inf)
            score[found.rows] = found.score
            assert (tier._score[row] == score).all(), "to the last bit, or ties are broken by the way it was computed"


@given(workers(), st.lists(requests().filter(plain), min_size=1, max_size=25))
def test_more_classes_than_are_kept_up_to_date_change_nothing(machines, asked) -> None:
    def answers() -> list[Placed | Refused]:
        allocator = OnlineAllocator(Fleet.of(machines), expected=dict.fromkeys(asked, 1.0))
        return [allocator.allocate(str(number), allocator.intern(each)) for number, each in enumerate(asked)]

    usual = answers()
    with patch.object(gpu_tier, "_MOST", 2), patch.object(gpu_tier, "_AT_ONCE", 1):
        assert answers() == usual
    with patch.object(gpu_column, "_REMEMBERED", 0):
        assert answers() == usual


def test_a_share_goes_where_least_becomes_useless() -> None:
    half, most = Request(cpu_milli=1, gpu_milli=500), Request(cpu_milli=1, gpu_milli=700)
    allocator = OnlineAllocator(Fleet.of([worker(gpus=2)]), expected={half: 1.0, most: 1.0})
    placed = [allocator.allocate(str(n), allocator.intern(each)) for n, each in enumerate((half, half, most))]
    assert [each.devices for each in placed] == [((0, 500),), ((0, 500),), ((1, 700),)]  # type: ignore[union-attr]


def test_refusals_for_good_and_for_now() -> None:
    allocator = OnlineAllocator(Fleet.of([worker("a", gpus=2), worker("b")]))

    def ask(task: str, **request: object) -> Placed | Refused:
        return allocator.allocate(task, allocator.intern(Request(**request)))  # type: ignore[arg-type]

    assert ask("1", gpu_devices=3) == ("needs 3 GPUs on one worker; the largest has 2", True)
    assert ask("2", cpu_milli=800, group="g", locks=("db",)) == ("b", ())
    assert ask("3", cpu_milli=1, locks=("db",)) == ("waits for the lock db, which 2 holds", False)
    assert ask("4", cpu_milli=800, group="g") == ("waits for room on b, where its group g runs", False)
    assert ask("5", gpu_devices=2) == ("a", ((0, 1000), (1, 1000)))
    assert ask("6", gpu_milli=1) == (
        "waits for room: needs 0.001 of one GPU; the one worker that could run it is too full now",
        False,
    )
    allocator.release("2")
    assert ask("3", cpu_milli=1, locks=("db",)) == ("b", ())


def test_a_worker_cannot_shrink_below_what_is_reserved() -> None:
    allocator = OnlineAllocator(Fleet.of([worker(gpus=1)]))
    request = Request(cpu_milli=800, gpu_milli=200)
    assert isinstance(allocator.allocate("t", allocator.intern(request)), Placed)
    for smaller in (worker(cpu=700, gpus=1), worker(gpus=0)):
        with pytest.raises(CapacityError, match="a has less than is reserved"):
            allocator.on(Fleet.of([smaller]))
    assert len(allocator) == 1
    moved, gone = allocator.on(Fleet.of([worker("b")]))
    assert (len(moved), gone) == (0, ("t",))


def test_a_share_by_memory_is_of_that_worker_s_devices() -> None:
    fleet = Fleet.of([worker("a", gpus=1, gpu_memory_bytes=10), worker("b", gpus=1, gpu_memory_bytes=40)])
    request = Request(gpu_memory_bytes=16)
    allocator = OnlineAllocator(fleet)
    assert allocator.allocate("1", allocator.intern(request)) == ("b", ((0, 400),))
    assert allocator.allocate("2", allocator.intern(request)) == ("b", ((0, 400),))
    assert isinstance(allocator.allocate("3", allocator.intern(request)), Refused)


def test_errors_say_what_to_do() -> None:
    allocator = OnlineAllocator(Fleet.of([worker(gpus=1)]))
    number = allocator.intern(Request(cpu_milli=800, gpu_milli=200))
    assert number == allocator.intern(Request(cpu_milli=800, gpu_milli=200)) == 0
    assert allocator.intern_all([Request(cpu_milli=1), Request(cpu_milli=800, gpu_milli=200)]) == [1, 0]
    allocator.allocate("t", number)
    said = []
    for call in (
        lambda: allocator.allocate("t", number),
        lambda: allocator.release("u"),
        lambda: allocator.on(Fleet.of([worker(cpu=799, gpus=1)])),
    ):
        with pytest.raises((CapacityError, DuplicateError, UnknownTaskError)) as caught:
            call()
        said.append(str(caught.value))
    assert said == [
        "t has a reservation already; release it first",
        "u has no reservation; release each task once",
        "a has less than is reserved on it; drain it first, or take it away",
    ]


def test_a_group_stays_where_it_is_as_long_as_one_of_it_runs() -> None:
    allocator = OnlineAllocator(Fleet.of([worker("a"), worker("b", cpu=4000, gpus=1)]))

    def ask(task: str, **request: object) -> object:
        return allocator.allocate(task, allocator.intern(Request(group="g", **request)))[0]  # type: ignore[arg-type]

    assert ask("1", cpu_milli=600) == "a", "no gpu is taken up for it"
    assert ask("2", cpu_milli=400) == "a"
    assert ask("3", cpu_milli=400) == "waits for room on a, where its group g runs"
    allocator.release("1")
    assert ask("3", cpu_milli=400) == "a"
    allocator.release("2")
    allocator.release("3")
    assert ask("4", cpu_milli=2000) == "b"
    assert ask("5", gpu_milli=600) == "b"
    assert ask("6", gpu_milli=600) == "waits for room on b, where its group g runs"
    assert ask("7", gpu_devices=2) == "needs 2 GPUs on one worker; the largest has 1"


def test_reservations_are_taken_along_to_a_fleet_that_has_changed() -> None:
    allocator = OnlineAllocator(Fleet.of([worker("a"), worker("b", gpus=2), worker("c", gpus=1)]))

    def ask(of: OnlineAllocator, task: str, **request: object) -> Placed | Refused:
        return of.allocate(task, of.intern(Request(**request)))  # type: ignore[arg-type]

    assert ask(allocator, "1", cpu_milli=700, locks=("db",)) == ("a", ())
    assert ask(allocator, "2", gpu_devices=2, group="g") == ("b", ((0, 1000), (1, 1000)))
    assert ask(allocator, "3", cpu_milli=100, gpu_milli=400) == ("c", ((0, 400),))
    fleet = Fleet.of([worker("c", gpus=1), worker("d", gpus=3), worker("b", gpus=2, cpu=3000)])
    moved, gone = allocator.on(fleet)
    assert (len(moved), gone) == (2, ("1",))
    assert moved.free().left.tolist() == [[600, 0, 0], [1000, 1000, 1000], [0, 0, 0]]
    assert moved.free().free[0].tolist() == [900, 1000, 3000]
    assert ask(moved, "4", cpu_milli=1, locks=("db",))[0] in ("b", "c", "d"), "the lock went with its worker"
    assert ask(moved, "5", gpu_milli=100, group="g") == ("waits for room on b, where its group g runs", False)
    moved.release("2")
    assert ask(moved, "5", gpu_devices=2, group="g")[0] in ("b", "d")
    assert len(allocator) == 3, "the old one is as it was"


@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.integers(1, 300))
def test_the_highest_are_found_in_order_of_place(values: list[int], count: int) -> None:
    count = min(count, len(values))
    best = sorted(range(len(values)), key=lambda place: (-values[place], place))[:count]
    assert _highest(np.array(values, dtype=np.float64), count).tolist() == sorted(best)
