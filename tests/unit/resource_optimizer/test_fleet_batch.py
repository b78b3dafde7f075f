"""A whole queue placed at once: exact, complete, in order of priority, the same as by loops."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from fleet_examples import naive as loops
from fleet_examples import requests, workers
from hypothesis import given
from hypothesis import strategies as st

from drm.model.errors import ConfigError, DuplicateError
from drm.resource_optimizer.fleet import Fleet, FleetPlan, Request, TaskTable, Worker, allocate_resources, batch
from drm.resource_optimizer.fleet.orders import ORDERS, content_rank, scarce_then_dominant
from drm.resource_optimizer.fleet.units import Units

GIB = 2**30


def table(given: list[Request]) -> TaskTable:
    return TaskTable.of((f"t{number}", request) for number, request in enumerate(given))


def worker(name: str = "a", *, cpu: int = 1000, memory: int = GIB, gpus: int = 0, **rest: object) -> Worker:
    return Worker(worker_id=name, cpu_milli=cpu, memory_bytes=memory, gpu_devices=gpus, **rest)  # type: ignore[arg-type]


class Room:
    """What is left on workers, taken off task by task. Groups take the most that any of their tasks does."""

    def __init__(self, machines: list[Worker]) -> None:
        self.cpu = [each.cpu_milli for each in machines]
        self.memory = [each.memory_bytes for each in machines]
        self.devices = [[1000] * each.gpu_devices for each in machines]
        self.named = [Counter(dict(each.resources)) for each in machines]

    def take(self, place: int, request: Request, bits: int) -> None:
        self.cpu[place] -= request.cpu_milli
        self.memory[place] -= request.memory_bytes
        self.named[place].subtract(dict(request.resources))
        mine = [device for device in range(63) if bits >> device & 1]
        whole = request.gpu_devices or (1 if request.gpu_milli == 1000 else 0)
        assert len(mine) == (whole or (1 if request.gpu_milli else 0)), "as many devices as it asks for"
        for device in mine:
            self.devices[place][device] -= 1000 if whole else request.gpu_milli

    def fits(self, place: int, request: Request) -> bool:
        devices = self.devices[place]
        if request.is_whole_device:
            gpu = devices.count(1000) >= (request.gpu_devices or 1)
        else:
            gpu = not request.gpu_milli or max(devices, default=0) >= request.gpu_milli
        return (
            gpu
            and self.cpu[place] >= request.cpu_milli
            and self.memory[place] >= request.memory_bytes
            and all(self.named[place][name] >= amount for name, amount in request.resources)
        )

    def lowest(self) -> int:
        devices = [milli for each in self.devices for milli in each]
        named = [amount for each in self.named for amount in each.values()]
        return min([0, *self.cpu, *self.memory, *devices, *named])


def carries(machine: Worker, request: Request) -> bool:
    some = request.any_labels
    return request.all_labels <= machine.labels and (not some or bool(some & machine.labels))


def left_after(plan: FleetPlan, machines: list[Worker], asked: list[Request], *, lowest: int = 0) -> Room:
    """Return what is left when all placed tasks of that priority and above have theirs."""
    room = Room(machines)
    for number, request in enumerate(asked):
        place = int(plan.worker[number])
        if place >= 0 and request.priority >= lowest:
            assert carries(machines[place], request)
            room.take(place, request, int(plan.devices[number]) if plan.devices is not None else 0)
    return room


@given(workers(), st.lists(requests(), max_size=30), st.sampled_from([(order,) for order in ORDERS] + [ORDERS]))
def test_a_plan_is_complete_never_over_and_without_inversion(machines, asked, orders) -> None:
    asked = [Request(**{**_fields(each), "group": None}) for each in asked]
    check(allocate_resources(table(asked), Fleet.of(machines), orders=orders), machines, asked)


@given(workers(), st.lists(requests(), max_size=30))
def test_so_is_a_plan_of_very_many_classes(machines, asked) -> None:
    asked = [Request(**{**_fields(each), "group": None}) for each in asked]
    with patch.object(batch, "_SMALL", 0), patch.object(batch, "_BREADTH", 1), patch.object(batch, "_LIKELY", 2):
        plan = allocate_resources(table(asked), Fleet.of(machines))
    check(plan, machines, asked)


def check(plan: FleetPlan, machines: list[Worker], asked: list[Request]) -> None:
    made = plan.plan()
    ids = [each.task_id for each in made.allocations] + [each.task_id for each in made.refusals]
    assert sorted(ids) == sorted(f"t{number}" for number in range(len(asked)))
    assert all(refusal.reason for refusal in made.refusals)
    assert left_after(plan, machines, asked).lowest() == 0, "more is given out than there is"
    held = Counter(lock for number, each in enumerate(asked) if plan.worker[number] >= 0 for lock in each.locks)
    assert max(held.values(), default=0) <= 1, "a lock is held twice"
    for number, request in enumerate(asked):
        if plan.worker[number] < 0 and not request.locks:
            room = left_after(plan, machines, asked, lowest=request.priority)
            able = [
                place for place, each in enumerate(machines) if carries(each, request) and room.fits(place, request)
            ]
            assert not able, "it would fit if tasks of lower priority were not there"


def _fields(request: Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in Request.__dataclass_fields__}


@given(workers(), st.lists(requests(), max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_equal_tasks_and_of_classes_does_not_matter(machines, asked, chance) -> None:
    fleet = Fleet.of(machines)
    shuffled = list(asked)
    chance.shuffle(shuffled)
    outcomes = [
        Counter(zip(map(repr, each), allocate_resources(table(each), fleet).worker.tolist(), strict=True))
        for each in (asked, shuffled, asked)
    ]
    if not any(each.locks for each in asked):
        assert outcomes[0] == outcomes[1]
    assert outcomes[0] == outcomes[2]


@given(workers(gpus=False), st.lists(requests(gpus=False, special=False), min_size=1, max_size=5), st.integers(1, 9))
def test_the_outcome_is_that_of_loops(machines, classes, count) -> None:
    classes = list(dict.fromkeys(classes))
    asked = [each for each in classes for _ in range(count)]
    plan = allocate_resources(table(asked), Fleet.of(machines), orders=(scarce_then_dominant,))
    naive = loops.Naive(machines, real=np.float32)
    if not machines:
        assert plan.placed == 0
        return
    shares = {each: max(a / b for a, b in zip(_asked(each), naive.scale, strict=False)) for each in classes}
    ordered = sorted(classes, key=lambda each: (-shares[each], each.memory_bytes, each.cpu_milli))
    expected = {each: Counter(loops.place_class(naive, each, count)) for each in ordered}
    for each in classes:
        mine = Counter(place for place, request in zip(plan.worker.tolist(), asked, strict=True) if request == each)
        del mine[-1]
        assert mine == expected[each]


@given(workers(), st.lists(requests(special=False), min_size=1, max_size=5), st.integers(1, 9))
def test_so_it_is_with_gpus(machines, classes, count) -> None:
    classes = list(dict.fromkeys(classes))
    asked = [each for each in classes for _ in range(count)]
    tasks, fleet = table(asked), Fleet.of(machines)
    plan = allocate_resources(tasks, fleet, orders=(scarce_then_dominant,))
    naive = loops.Naive(machines, {each: float(count) for each in classes}, real=np.float32)
    units = Units.of(tasks, fleet)
    for number in scarce_then_dominant(units, fleet, content_rank(units.table)).tolist():
        each = tasks.requests[number]
        expected = [] if each.uses_gpu or not machines else loops.place_class(naive, each, count)
        expected += loops.place_class_on_gpus(naive, each, count - len(expected))
        mine = [place for place, request in zip(plan.worker.tolist(), asked, strict=True) if request == each]
        assert Counter(place for place in mine if place >= 0) == Counter(expected)


def _asked(request: Request) -> tuple[int, int]:
    return request.cpu_milli, request.memory_bytes


@given(st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 9 * GIB)), min_size=1, max_size=40), st.integers(0, 4))
def test_rounded_classes_reserve_what_their_tasks_ask_for(rows, count) -> None:
    machines = [worker(f"w{number}", cpu=6000, memory=16 * GIB) for number in range(count)]
    tasks = TaskTable.from_columns([row[0] for row in rows], [row[1] for row in rows], rounded=True)
    plan = allocate_resources(tasks, Fleet.of(machines))
    for place in range(count):
        mine = [row for row, at in zip(rows, plan.worker.tolist(), strict=True) if at == place]
        assert sum(row[0] for row in mine) <= 6000
        assert sum(row[1] for row in mine) <= 16 * GIB
    for number, (cpu, memory) in enumerate(rows):
        request = tasks.requests[tasks.class_of[number]]
        assert cpu <= request.cpu_milli <= max(cpu + 1, cpu * 1.13)
        assert memory <= request.memory_bytes <= max(memory + 1, memory * 1.13)


def test_a_group_goes_to_one_worker_and_takes_its_largest_task() -> None:
    asked = [Request(cpu_milli=cpu, group="g") for cpu in (300, 700, 500)] + [Request(cpu_milli=300)]
    plan = allocate_resources(table(asked), Fleet.of([worker("a"), worker("b", cpu=500)]))
    assert plan.worker.tolist()[:3] == [0, 0, 0], "0.7 of a cpu is enough for the group"
    assert plan.placed == 4


def test_the_longest_go_first_among_equals() -> None:
    tasks = TaskTable.of([(name, Request(cpu_milli=600)) for name in "abc"], expected_s=[1.0, 3.0, 2.0])
    made = allocate_resources(tasks, Fleet.of([worker()])).plan()
    assert [each.task_id for each in made.allocations] == ["b"]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(gpu_devices=3), "needs 3 GPUs on one worker; the largest has 2"),
        (Request(cpu_milli=9000), "needs 9 cpu on one worker; the largest has 1"),
        (Request(memory_bytes=3 * GIB), "needs 3 GiB of memory on one worker; the largest has 1 GiB"),
        (Request(cpu_milli=1, all_labels=frozenset({"arm"})), "needs the label arm; no worker carries it"),
        (
            Request(cpu_milli=1, any_labels=frozenset({"arm", "ppc"})),
            "needs one of the labels arm, ppc; no worker carries any",
        ),
        (Request(resources=(("licence", 1),)), "needs licence; no worker has any"),
        (
            Request(gpu_milli=500, all_labels=frozenset({"big"})),
            "needs 0.5 of one GPU; no worker with its labels has a GPU",
        ),
        (Request(gpu_memory_bytes=20), "needs 20 B of one GPU; the largest has 16 B"),
        (
            Request(cpu_milli=900, memory_bytes=8, gpu_devices=1),
            "needs 0.9 cpu, 8 B, 1 GPU together; no one worker has all of it",
        ),
    ],
)
def test_a_refusal_says_what_is_missing(request_: Request, reason: str) -> None:
    machines = [
        worker("a", labels=frozenset({"big"})),
        worker("b", cpu=500, memory=2, gpus=2, gpu_memory_bytes=16),
    ]
    plan = allocate_resources(table([request_]), Fleet.of(machines))
    assert [each.reason for each in plan.plan().refusals] == [reason]


def test_what_fits_but_finds_no_room_or_no_lock_waits() -> None:
    asked = [
        Request(cpu_milli=700),
        Request(cpu_milli=700),
        Request(cpu_milli=1, locks=("db",)),
        Request(cpu_milli=1, locks=("db",)),
    ]
    made = allocate_resources(table(asked), Fleet.of([worker()])).plan()
    assert {each.reason for each in made.refusals} == {
        "waits for room: needs 0.7 cpu; the one worker that could run it is too full now",
        "waits for the lock db, which t2 holds",
    }


def test_no_workers_and_no_tasks() -> None:
    nobody = allocate_resources(table([Request(cpu_milli=1)]), Fleet.of([]))
    assert [each.reason for each in nobody.plan().refusals] == ["needs 0.001 cpu; there is no worker"]
    nothing = allocate_resources(table([]), Fleet.of([worker()]))
    assert (nothing.plan().allocations, nothing.plan().refusals) == ((), ())


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), 1.5, True, "1", 2**60])
@pytest.mark.parametrize("name", ["cpu_milli", "memory_bytes", "gpu_devices", "gpu_milli", "gpu_memory_bytes"])
def test_an_amount_that_is_none_is_an_error(name: str, amount: object) -> None:
    with pytest.raises(ConfigError, match=name):
        Request(**{name: amount})  # type: ignore[arg-type]


def test_a_request_for_nothing_or_in_two_ways_is_an_error() -> None:
    for bad in ({}, {"gpu_devices": 1, "gpu_milli": 500}, {"gpu_milli": 1001}, {"resources": (("a", 1), ("a", 2))}):
        with pytest.raises(ConfigError):
            Request(**bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="64 gpus"):
        worker(gpus=64)


def test_columns_that_are_no_amounts_are_an_error() -> None:
    for cpu, memory in (([1.5], [1]), ([-1], [1]), ([1], [2**60])):
        with pytest.raises(ConfigError):
            TaskTable.from_columns(cpu, memory)
    with pytest.raises(ConfigError, match="expected_s"):
        TaskTable.from_columns([1], [1], expected_s=[float("nan")])


def test_an_id_twice_is_an_error() -> None:
    with pytest.raises(DuplicateError):
        TaskTable.of([("a", Request(cpu_milli=1)), ("a", Request(cpu_milli=1))])
    with pytest.raises(DuplicateError):
        Fleet.of([worker("a"), worker("a")])


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(gpu_devices=1), None),
        (Request(cpu_milli=2000, memory_bytes=4, gpu_milli=1), None),
        (
            Request(cpu_milli=1, all_labels=frozenset({"arm", "ppc", "ssd"})),
            "needs the labels arm, ppc; no worker carries them",
        ),
        (
            Request(cpu_milli=1, all_labels=frozenset({"ssd", "big"}), any_labels=frozenset({"x86", "mips"})),
            "needs the labels big, ssd, mips or x86 together; no one worker carries all of them",
        ),
        (
            Request(cpu_milli=3000, all_labels=frozenset({"big"})),
            "needs 3 cpu on one worker; the largest with its labels has 2",
        ),
        (
            Request(cpu_milli=2500, memory_bytes=9, any_labels=frozenset({"big"})),
            (
                "needs 2.5 cpu on one worker; the largest with its labels has 2 and "
                "needs 9 B of memory on one worker; the largest with its labels has 8 B"
            ),
        ),
        (Request(resources=(("licence", 4),)), "needs 4 licence on one worker; the largest has 3"),
        (
            Request(resources=(("licence", 4), ("port", 1))),
            "needs 4 licence on one worker; the largest has 3 and needs port; no worker has any",
        ),
        (Request(gpu_devices=3), "needs 3 GPUs on one worker; the largest has 2"),
        (
            Request(gpu_memory_bytes=20, all_labels=frozenset({"big"})),
            "needs 20 B of one GPU; no worker says how much its GPUs have",
        ),
        (Request(gpu_memory_bytes=20), "needs 20 B of one GPU; the largest has 16 B"),
        (Request(gpu_memory_bytes=16), None),
        (
            Request(gpu_devices=1, all_labels=frozenset({"ssd"})),
            "needs 1 GPU; no worker with its labels has a GPU",
        ),
        (
            Request(cpu_milli=2000, gpu_devices=2, resources=(("licence", 3),)),
            "needs 2 cpu, 2 GPUs, 3 licence together; no one worker has all of it",
        ),
    ],
)
def test_a_refusal_names_each_thing_that_no_worker_has(request_: Request, reason: str | None) -> None:
    machines = [
        worker("a", cpu=2000, memory=8, gpus=1, labels=frozenset({"big"})),
        worker("b", cpu=1000, memory=16, gpus=2, gpu_memory_bytes=16, labels=frozenset({"x86"})),
        worker("c", cpu=4000, memory=4, labels=frozenset({"ssd"}), resources=(("licence", 3),)),
    ]
    plan = allocate_resources(table([request_]), Fleet.of(machines))
    assert [each.reason for each in plan.plan().refusals] == ([reason] if reason else [])


def test_who_waits_for_room_is_told_how_many_could_run_it() -> None:
    asked = [Request(cpu_milli=600)] * 4 + [Request(cpu_milli=300, memory_bytes=GIB, gpu_milli=250)] * 9
    made = allocate_resources(table(asked), Fleet.of([worker("a"), worker("b", gpus=1)])).plan()
    assert sorted({each.reason for each in made.refusals}) == [
        "waits for room: needs 0.3 cpu, 1 GiB, 0.25 of one GPU; the one worker that could run it is too full now",
        "waits for room: needs 0.6 cpu; the 2 workers that could run it are too full now",
    ]


def test_gpus_given_out_are_counted_once_for_a_group() -> None:
    asked = [
        *[Request(gpu_milli=300, group="g")] * 3,
        *[Request(gpu_milli=200)] * 2,
        Request(gpu_devices=2),
        Request(cpu_milli=1),
        Request(gpu_memory_bytes=4),
    ]
    plan = allocate_resources(table(asked), Fleet.of([worker(gpus=4, gpu_memory_bytes=16)]))
    assert (plan.placed, plan.gpu_milli()) == (8, 300 + 2 * 200 + 2000 + 250)
    assert plan.devices is not None
    assert len(set(plan.devices.tolist()[:3])) == 1
    alone = allocate_resources(table([Request(cpu_milli=1)]), Fleet.of([worker()]))
    assert (alone.devices, alone.gpu_milli()) == (None, 0)


def test_locks_are_held_by_the_longest_task_of_the_first_class() -> None:
    tasks = TaskTable.of(
        [
            ("short", Request(cpu_milli=10, locks=("b", "a"))),
            ("long", Request(cpu_milli=10, locks=("a", "b"))),
            ("other", Request(cpu_milli=5, locks=("b",))),
        ],
        expected_s=[1.0, 9.0, 5.0],
    )
    made = allocate_resources(tasks, Fleet.of([worker()])).plan()
    assert [each.task_id for each in made.allocations] == ["long"]
    assert [(each.task_id, each.reason) for each in made.refusals] == [
        ("short", "waits for the lock a, which long holds"),
        ("other", "waits for the lock b, which long holds"),
    ]


def test_what_a_task_or_worker_cannot_be_is_said() -> None:
    wrong = [
        (lambda: Request(), "a task asks for nothing; give it cpu_milli, at least 1"),
        (
            lambda: Request(gpu_milli=1001),
            "gpu_milli: 1001 is more than one device; ask for whole devices by gpu_devices",
        ),
        (
            lambda: Request(gpu_milli=1, gpu_memory_bytes=1),
            "a task asks for its gpu in two ways; give whole devices, or thousandths of one, or memory of one",
        ),
        (lambda: Request(cpu_milli=1, priority=True), "priority: True is not a whole number; give an integer"),
        (lambda: Request(cpu_milli=1, priority=2**31), "priority: 2147483648 is not a whole number; give an integer"),
        (
            lambda: Request(cpu_milli=2**53),
            f"cpu_milli: {2**53} is not an amount; give a whole number from 0 to {2**53 - 1}",
        ),
        (lambda: Request(resources=(("a", 1), ("a", 2))), "a resource is named twice; name each once, with its amount"),
        (lambda: worker(gpus=64), "a: 64 gpus are more than 63 on one worker; split it into several workers"),
        (lambda: TaskTable.from_columns([-1], [1]), "cpu_milli: not all are whole numbers from 0 to"),
        (
            lambda: TaskTable.from_columns([1], [1], expected_s=[1.0, 2.0]),
            "expected_s: not one finite number of seconds",
        ),
        (lambda: TaskTable.from_columns([1], [1], expected_s=[-1.0]), "expected_s: not one finite number of seconds"),
    ]
    for bad, said in wrong:
        with pytest.raises(ConfigError) as caught:
            bad()
        assert str(caught.value).startswith(said)
    assert Request(cpu_milli=2**53 - 1, gpu_milli=1000, priority=1 - 2**31).is_whole_device
    assert not Request(gpu_milli=999).is_whole_device
    assert Request(gpu_devices=1).is_whole_device
    assert [Request(**each).uses_gpu for each in ({"cpu_milli": 1}, {"gpu_milli": 1}, {"gpu_memory_bytes": 1})] == [
        False,
        True,
        True,
    ]
    assert worker(gpus=63).gpu_devices == 63
    assert Request(resources={"b": 1, "a": 2, "c": 0}).resources == (("a", 2), ("b", 1))  # type: ignore[arg-type]
    assert Request(cpu_milli=1, locks=("b", "a", "b")).locks == ("a", "b")


def test_columns_become_classes_with_ids_by_number() -> None:
    tasks = TaskTable.from_columns(
        [1000, 500, 1000, 1000], [1, 2, 1, 1], gpu_devices=[0, 0, 0, 1], priority=[0, 0, 0, 0], expected_s=[1, 2, 3, 4]
    )
    assert len(tasks) == 4
    assert [tasks.requests[number] for number in tasks.class_of] == [
        Request(cpu_milli=1000, memory_bytes=1),
        Request(cpu_milli=500, memory_bytes=2),
        Request(cpu_milli=1000, memory_bytes=1),
        Request(cpu_milli=1000, memory_bytes=1, gpu_devices=1),
    ]
    assert (len(tasks.requests), tasks.id_of(3)) == (3, "3")
    far = TaskTable.from_columns([1, 2**50, 1], [2**52, 0, 2**52])
    assert [(each.cpu_milli, each.memory_bytes) for each in far.requests] == [(1, 2**52), (2**50, 0)]
    assert far.class_of.tolist() == [0, 1, 0]
    rounded = TaskTable.from_columns([15, 16, 17, 18, 33, 0], [1, 1, 1, 1, 1, 9], rounded=True)
    assert [rounded.requests[number].cpu_milli for number in rounded.class_of] == [15, 16, 18, 18, 36, 0]
    assert TaskTable.from_columns([1], [2]).requests == [Request(cpu_milli=1, memory_bytes=2)]
    nothing = np.zeros(0, dtype=np.int64)
    assert len(TaskTable.from_columns(nothing, nothing)) == 0
