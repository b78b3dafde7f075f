"""The same tests and workers give the same plan from version to version: plans are written down.

Who changes a rule sees in ``tests/golden/plans*.txt`` what that does to whom (``UPDATE_GOLDEN=1`` writes them). What a
plan must be whatever it is made of (complete, never over, near its bound) is tested elsewhere.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from unittest.mock import patch

import numpy as np

from drm.model.claims import Claims, claims_of
from drm.model.cluster import ClusterSnapshot, WorkerState, WorkerType, WorkerView
from drm.model.resources import ZERO, Requirements, Resources
from drm.model.work import Forecast, Task
from drm.resource_optimizer import ResourceOptimizer, lower_bound
from drm.resource_optimizer.fleet import (
    Fleet,
    OnlineAllocator,
    Placed,
    Request,
    TaskTable,
    Worker,
    allocate_resources,
    batch,
)
from drm.resource_optimizer.fleet.orders import ORDERS
from drm.resource_optimizer.kinds import QueueSettings, Room
from drm.resource_optimizer.queue import Batch, WorkQueue
from drm.resource_optimizer.schedule import make_plan

Golden = Callable[[str, str], None]
MIB, GIB = 2**20, 2**30
COUNTED = {"licence": 2}
CLAIMS: tuple[Claims, ...] = (
    *[()] * 7,
    claims_of(locks=["db"]),
    claims_of(shared_locks=["db"]),
    claims_of(counted={"licence": 1}),
)


def made_up(chance: Random, count: int, *, turns: bool = False) -> list[Task]:
    """Tests of a few modules: most of them short, some long, a few that ask for much or for something special."""
    tasks = []
    for number in range(count):
        scope = f"m{number * 6 // count}.py"
        needs = Requirements(
            amounts=Resources(
                cpu_cores=chance.choice([1, 1, 1, 0.5, 2, 3]),
                memory_bytes=chance.choice([0, 100 * MIB, GIB, 3 * GIB]),
                gpus=chance.choice([0] * 9 + [0.4, 0.6, 1]),
            ),
            labels=frozenset(chance.choice([()] * 9 + [("ssd",)])),
            claims=chance.choice(CLAIMS),
            group=chance.choice([None] * 12 + ["g", "h"]),
        )
        if turns and number % 7 == 0:
            needs = replace(needs, turn=1 + number % 2, group=None)
        if number % 29 == 28:
            needs = Requirements(claims=claims_of(serial=True))
        seconds = chance.choice([0.004, 0.02, 0.03, 0.05, 0.3, 2.5]) * (0.5 + chance.random())
        forecast = Forecast(wall_s=seconds, memory_bytes=0)
        tasks.append(
            Task(task_id=f"{scope}::t{number}", scope=scope, position=number, requirements=needs, forecast=forecast)
        )
    return tasks


def view(name: str, cpu: float, gib: int, gpus: float = 0, *labels: str, reserved: Resources = ZERO) -> WorkerView:
    whole = Resources(cpu_cores=cpu, memory_bytes=gib * GIB, gpus=gpus)
    starts = name == "starts"
    return WorkerView(
        worker_id=name,
        worker_type="t",
        state=WorkerState.STARTING if starts else WorkerState.READY,
        capacity=whole,
        allocatable=whole,
        reserved=reserved,
        labels=frozenset(labels),
    )


WORKERS = (
    view("small", 2, 4),
    view("large", 8, 6, 0, "ssd"),
    view("gpus", 4, 8, 2),
    view("starts", 4, 8),
    view("busy", 4, 8, 1, "ssd", reserved=Resources(cpu_cores=3, memory_bytes=GIB, gpus=0.5)),
)


def number_of(task_id: str) -> str:
    return task_id.partition("::")[2]


def test_plans(golden: Golden) -> None:
    lines = []
    for seed, count, workers in ((1, 40, WORKERS), (2, 40, WORKERS[1:3]), (3, 60, WORKERS[2:]), (4, 12, WORKERS[4:])):
        tasks = made_up(Random(seed), count)
        took = {each.task_id: each.expected_s * (0.5 + Random(each.position).random()) for each in tasks[::2]}
        for actual_s in (None, took):
            made = make_plan(tasks, workers, COUNTED, actual_s=actual_s)
            lines.append(f"# {seed}: {made.makespan_s:.4g} s, {made.lower_bound_s:.4g} s at least")
            starts = [f"{number_of(each.task_id)} {each.worker_id} {each.start_s:.4g}" for each in made.allocations]
            lines += ["; ".join(starts[row : row + 8]) for row in range(0, len(starts), 8)]
            lines += [f"{each.task_id}: {each.reason}" for each in made.refusals]
        kinds = [[each for each in tasks if chosen(each)] for chosen in BOUNDS]
        lines.append("bounds " + " ".join(f"{lower_bound(each, workers, COUNTED):.4g}" for each in kinds))
    golden("plans.txt", "\n".join(lines) + "\n")


BOUNDS: tuple[Callable[[Task], object], ...] = (
    lambda task: task.requirements.amounts.gpus,
    lambda task: task.requirements.labels,
    lambda task: task.requirements.claims,
    lambda task: task.requirements.group,
    lambda task: task.requirements.amounts.cpu_cores > 1,
    lambda task: task.requirements.amounts.memory_bytes > GIB,
)


def kind(name: str, cpu: float, gib: int, usd: float, gpus: float = 0, *labels: str) -> WorkerType:
    capacity = Resources(cpu_cores=cpu, memory_bytes=gib * GIB, gpus=gpus)
    return WorkerType(name=name, capacity=capacity, usd_per_hour=usd, labels=frozenset(labels))


TYPES = (
    kind("cpu", 8, 8, 0.3),
    kind("memory", 4, 32, 0.4),
    kind("tiny", 1, 1, 0.05),
    kind("gpu", 8, 16, 2.0, 2),
    kind("ssd", 4, 8, 0.35, 0, "ssd"),
    kind("mine", 2, 4, 0.0),
)


def test_what_to_buy(golden: Golden) -> None:
    lines = []
    optimizer = ResourceOptimizer(counted=COUNTED)
    for seed, types in ((5, TYPES[:5]), (6, TYPES), (7, TYPES[::-1]), (8, TYPES[:2]), (9, TYPES[5:])):
        tasks = made_up(Random(seed), 90)
        for maximum in (100, 12, 3, 0):
            taken = optimizer.recommend_worker_types(tasks, types, maximum=maximum)
            lines.append(f"# {seed}, {maximum} at most")
            lines += [
                f"{each.worker_type} {each.count} {each.tasks} {each.usd_per_hour:.4g}: {each.reason}"
                for each in (*taken, *optimizer.rejected_worker_types(tasks, types, taken))
            ]
        workers = tuple(replace(each, worker_type=types[0].name, reservations=3) for each in WORKERS[:3])
        left_s = {"small": (1.0, 5.0), "large": (2.0,), "nobody": (9.0,)}
        rows = optimizer.get_scaling_recommendations(tasks, ClusterSnapshot(now_s=0, workers=workers), types, left_s)
        lines += [
            f"{each.name}: {found.waiting} {found.runnable} {found.running} "
            f"{found.waiting_s:.4g} {found.longest_s:.4g} "
            f"{found.per_worker:.4g} {found.running_s:.4g} {found.longest_running_s:.4g}"
            for each, found in rows
        ]
    taken = optimizer.recommend_worker_types([], TYPES, maximum=3)
    lines += [each.reason for each in optimizer.rejected_worker_types([], TYPES, taken)]
    golden("plans_bought.txt", "\n".join(lines) + "\n")


# -- the queue


def said(batch: Batch | None) -> str:
    if batch is None:
        return "nothing"
    amounts = batch.amounts
    asks = (
        f"{amounts.cpu_cores:g} {amounts.memory_bytes // MIB} {amounts.gpus:g} {' '.join(n for n, _ in batch.claims)}"
    )
    names = ",".join(number_of(each.task_id) for each in batch.tasks)
    return f"{names} ({asks.strip()}) {batch.expected_s:.3g} s, then {number_of(batch.next_task or '::-')}"


class Run:
    """Executors that take what comes, in virtual time; some die, some tests are tried again or ask for more."""

    def __init__(self, seed: int, executors: int, *, file_order: bool) -> None:
        self.chance = Random(seed)
        tasks = made_up(self.chance, 110, turns=seed % 2 == 1)
        expected = {each.task_id: each.expected_s for each in tasks}
        self.whole = Resources(cpu_cores=8, memory_bytes=8 * GIB, gpus=1)
        settings = QueueSettings(
            largest=self.whole, executors=executors, workers=2, counted=COUNTED, file_order=file_order
        )
        self.queue = WorkQueue(lambda task_id, _: expected[task_id], settings)
        self.queue.add(tasks)
        self.free = {"a": self.whole, "b": self.whole}
        self.idle = [f"{'ab'[number % 2]}{number}" for number in range(executors)]
        self.busy: list[tuple[float, str, list[Batch]]] = []
        self.lines = [f"# {seed}: {len(self.queue)} tests, {self.queue.expected_s():.4g} s"]
        self.now_s = 0.0

    def room(self, executor: str) -> Room:
        return Room(
            free=self.free[executor[0]],
            whole=self.whole,
            labels=frozenset({"ssd"}) if executor[0] == "a" else frozenset(),
        )

    def give(self, executor: str) -> bool:
        queue = self.queue
        able = queue.startable(self.room(executor), most=5)
        batch = queue.take(executor, self.room(executor), share=4)
        line = f"{self.now_s:.3f} {executor} {able}{' past' * queue.is_past(executor, self.room(executor))}"
        if batch is None:
            return False
        batches = [batch]
        while len(batches) < 3 and (more := queue.more(executor, share=4)) is not None:
            batches.append(more)
        self.lines.append(f"{line} {' + '.join(map(said, batches))}{' (group)' * queue.has_group(executor)}")
        self.free[executor[0]] -= batch.amounts
        took_s = sum(each.expected_s for each in batches) * (0.8 + 0.4 * self.chance.random())
        heapq.heappush(self.busy, (self.now_s + took_s, executor, batches))
        return True

    def end(self) -> None:
        self.now_s, executor, batches = heapq.heappop(self.busy)
        self.free[executor[0]] = _sum(self.free[executor[0]], batches[0].amounts)
        what = self.chance.random()
        if what < 0.06:
            self.queue.leave(executor)
            self.queue.add(batches[-1].tasks, soon=what < 0.03)
            self.lines.append(f"{self.now_s:.3f} {executor} died")
        freed = self.queue.release(executor)
        if what > 0.97:
            scope = batches[0].tasks[0].scope
            self.queue.revise(_more_memory, scope)
            self.lines.append(f"{self.now_s:.3f} {scope} needs more ({freed}, {self.queue.least_cores():g})")
        self.idle.append(executor)

    def through(self) -> list[str]:
        for _ in range(2000):
            self.idle = [each for each in sorted(self.idle) if not self.give(each)]
            if not self.busy:
                break
            self.end()
        left = sorted(number_of(each.task_id) for each in self.queue)
        return [*self.lines, f"left: {left} {self.queue.expected_s():.3g} s"]


def _sum(one: Resources, other: Resources) -> Resources:
    return Resources(
        cpu_cores=one.cpu_cores + other.cpu_cores,
        memory_bytes=one.memory_bytes + other.memory_bytes,
        gpus=one.gpus + other.gpus,
    )


def _more_memory(tasks: Sequence[Task]) -> list[Task]:
    return [
        replace(each, requirements=replace(each.requirements, amounts=_sum(each.requirements.amounts, _MORE)))
        for each in tasks
    ]


_MORE = Resources(memory_bytes=300 * MIB)


def test_what_executors_are_given(golden: Golden) -> None:
    lines: list[str] = []
    for seed, executors, file_order in ((21, 4, False), (22, 9, False), (23, 2, False), (24, 5, True)):
        lines += Run(seed, executors, file_order=file_order).through()
    golden("plans_taken.txt", "\n".join(lines) + "\n")


# -- fleets


def fleet_of(chance: Random, count: int) -> Fleet:
    machines = [
        Worker(
            worker_id=f"w{number}",
            cpu_milli=chance.choice([2000, 4000, 8000, 16000]),
            memory_bytes=chance.choice([4, 8, 32]) * GIB,
            gpu_devices=chance.choice([0, 0, 1, 2, 4]),
            gpu_memory_bytes=chance.choice([0, 16 * GIB, 24 * GIB]),
            resources=(("licence", 2),) if number % 3 == 0 else (),
            labels=frozenset(chance.choice([(), ("ssd",), ("ssd", "x86")])),
        )
        for number in range(count)
    ]
    return Fleet.of(machines)


def request_of(chance: Random) -> Request:
    gpu = chance.choice([{}] * 4 + [{"gpu_devices": 1}, {"gpu_devices": 2}, {"gpu_milli": 300}, {"gpu_milli": 600}])
    gpu = chance.choice([gpu] * 7 + [{"gpu_memory_bytes": 9 * GIB}])
    return Request(
        cpu_milli=chance.choice([500, 1000, 2000, 3000]),
        memory_bytes=chance.choice([0, 512 * MIB, 2 * GIB, 6 * GIB]),
        resources=chance.choice([()] * 8 + [(("licence", 1),)]),
        all_labels=frozenset(chance.choice([()] * 5 + [("ssd",)])),
        any_labels=frozenset(chance.choice([()] * 8 + [("x86", "arm")])),
        locks=chance.choice([()] * 12 + [("db",)]),
        group=chance.choice([None] * 14 + ["g"]),
        priority=chance.choice([0, 0, 0, 1]),
        **gpu,
    )


def test_fleets(golden: Golden) -> None:
    lines = []
    for seed, workers, tasks in ((31, 12, 60), (32, 25, 90), (33, 3, 40)):
        chance = Random(seed)
        fleet = fleet_of(chance, workers)
        asked = [request_of(chance) for _ in range(tasks)]
        table = TaskTable.of(((f"t{number}", each) for number, each in enumerate(asked)), expected_s=range(tasks))
        for name, orders in (*((order.__name__, (order,)) for order in ORDERS), ("all", ORDERS)):
            made = allocate_resources(table, fleet, orders=orders)
            devices = made.devices.tolist() if made.devices is not None else []
            lines.append(f"# {seed} {name}: {made.placed} placed, {made.gpu_milli()} of gpus")
            lines.append(" ".join(map(str, made.worker.tolist())))
            lines.append(" ".join(map(str, devices)))
        lines += sorted({each.reason for each in made.plan().refusals})
        # As it is done where there are very many classes and workers.
        with patch.object(batch, "_SMALL", 0), patch.object(batch, "_BREADTH", 4), patch.object(batch, "_LIKELY", 3):
            lines.append(" ".join(map(str, allocate_resources(table, fleet).worker.tolist())))
    golden("plans_fleet.txt", "\n".join(lines) + "\n")


def test_fleets_of_rounded_amounts(golden: Golden) -> None:
    chance = Random(34)
    fleet = fleet_of(chance, 40)
    cpu = [chance.randrange(100, 3000) for _ in range(300)]
    memory = [chance.randrange(1, 2 * GIB) for _ in range(300)]
    gpus = [chance.choice([0] * 6 + [1]) for _ in range(300)]
    lines = []
    for rounded in (False, True):
        table = TaskTable.from_columns(cpu, memory, gpu_devices=gpus, rounded=rounded, expected_s=np.arange(300.0))
        made = allocate_resources(table, fleet)
        lines.append(f"{len(table.requests)} classes, {made.placed} placed, {made.gpu_milli()} of gpus")
        lines.append(" ".join(map(str, made.worker.tolist())))
    golden("plans_rounded.txt", "\n".join(lines) + "\n")


def test_fleets_one_task_at_a_time(golden: Golden) -> None:
    lines = []
    for seed in (35, 36):
        chance = Random(seed)
        fleet = fleet_of(chance, 9)
        kinds = [request_of(chance) for _ in range(14)]
        expected = {each: 1.0 + number for number, each in enumerate(kinds)} if seed == 36 else None
        allocator = OnlineAllocator(fleet, expected=expected)
        held: list[str] = []
        for number in range(520):
            if held and chance.random() < 0.45:
                allocator.release(held.pop(chance.randrange(len(held))))
                continue
            found = allocator.allocate(f"t{number}", allocator.intern(chance.choice(kinds)))
            if isinstance(found, Placed):
                held.append(f"t{number}")
                lines.append(
                    f"{number} {found.worker_id} {' '.join(f'{d}:{milli}' for d, milli in found.devices)}".strip()
                )
            else:
                lines.append(f"{number} {found.reason} {found.for_good}")
        lines.append(f"# {seed}: {len(allocator)} are held")
    golden("plans_online.txt", "\n".join(lines) + "\n")
