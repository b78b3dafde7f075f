"""Which worker types the waiting tests call for: the cheapest that fits, class by class."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

from drm.model.claims import there_is
from drm.model.cluster import ClusterSnapshot, QueueView, WorkerType
from drm.model.plan import TypeRecommendation
from drm.model.resources import ZERO
from drm.model.work import Task
from drm.resource_optimizer.buying import Bought, Wanted, buy
from drm.resource_optimizer.classes import TaskClass, group_tasks
from drm.resource_optimizer.placement import can_hold, placement_problem, side_by_side

_UNKNOWN_S = 0.1  # counted for a waiting test that nothing is forecast for


@dataclass(slots=True)
class _Demand:
    """The waiting tests meant for one type. ``shares``: workers it takes to run all of them at once."""

    waiting: int = 0
    waiting_s: float = 0.0
    longest_s: float = 0.0
    shares: float = 0.0
    free_runners: int = 0
    workers: int = 0  # bought for them; 0: by ``shares``
    narrow: dict[str, list[int]] = field(default_factory=dict)  # group or claim -> tests, most at once

    def add(self, each: TaskClass, fits: int, counted: Mapping[str, int]) -> None:
        durations = [task.expected_s or _UNKNOWN_S for task in each.tasks]
        self.waiting += len(durations)
        self.waiting_s += sum(durations)
        self.longest_s = max(self.longest_s, max(durations))
        self.shares += len(durations) / fits
        group, claims = each.requirements.group, each.requirements.claims
        if group is not None:
            self._narrow(f"group {group}", len(durations), 1)
        elif claims:
            name, most = min(((name, there_is(name, counted) // amount) for name, amount in claims), key=itemgetter(1))
            self._narrow(name, len(durations), most)
        else:
            self.free_runners += len(durations)

    def _narrow(self, name: str, tests: int, most: int) -> None:
        row = self.narrow.setdefault(name, [0, most])
        row[0] += tests
        row[1] = min(row[1], most)

    @property
    def runnable(self) -> int:
        return self.free_runners + sum(map(min, self.narrow.values()))

    @property
    def per_worker(self) -> float:
        if self.workers:
            return self.waiting / self.workers
        return self.waiting / self.shares if self.shares else 0.0


def cheapest_type(each: TaskClass, types: Sequence[WorkerType]) -> int | None:
    """Return the index of the type on which one such test costs least; None if it fits none.

    Price over the number that run side by side; of equal ones the smallest type
    (gpus, then memory, then cpu), so that scarce workers stay free.
    """
    return _cheapest(each, types, _by_price_per_core(types))


def _by_price_per_core(types: Sequence[WorkerType]) -> list[tuple[float, int]]:
    """Return (USD an hour for a core, index) of each type, cheapest first."""
    rows = ((_per(each.usd_per_hour, each.capacity.cpu_cores), index) for index, each in enumerate(types))
    return sorted(rows)


def _per(price: float, amount: float) -> float:
    return price / amount if amount > 0 else 0.0


def _cheapest(each: TaskClass, types: Sequence[WorkerType], by_price: Sequence[tuple[float, int]]) -> int | None:
    """Look at types in the order of what a core of them costs: a test costs no less than its cores do, so that the rest
    need not be looked at once they cost more than the best so far."""
    amounts = each.requirements.amounts
    best: tuple[float, float, int, float, int, int] | None = None
    for per_core, index in by_price:
        if best is not None and per_core * amounts.cpu_cores > best[0] * (1 + 1e-9):
            break
        worker_type, capacity = types[index], types[index].capacity
        if can_hold(worker_type, each.requirements):
            row = (
                worker_type.usd_per_hour / side_by_side(amounts, capacity),
                capacity.gpus,
                capacity.memory_bytes,
                capacity.cpu_cores,
                len(worker_type.labels),
                index,
            )
            best = row if best is None or row < best else best
    return best[-1] if best is not None else None


def _demands(tasks: Sequence[Task], types: Sequence[WorkerType], counted: Mapping[str, int]) -> list[_Demand]:
    demands = [_Demand() for _ in types]
    by_price = _by_price_per_core(types)
    for each in group_tasks(tasks):
        index = _cheapest(each, types, by_price)
        if index is not None:
            demands[index].add(each, side_by_side(each.requirements.amounts, types[index].capacity), counted)
    return demands


def queue_views(
    tasks: Sequence[Task],
    snapshot: ClusterSnapshot,
    types: Sequence[WorkerType],
    counted: Mapping[str, int],
    left_s: Mapping[str, Sequence[float]],
    awaited_s: Mapping[str, float],
) -> tuple[tuple[WorkerType, QueueView], ...]:
    """Return one row per type, in the order given: the waiting tests that should go on it."""
    running = defaultdict[str, int](int)
    lefts, awaited = defaultdict[str, float](float), defaultdict[str, float](float)
    for worker in snapshot.workers:
        name = worker.worker_type
        running[name] += worker.reservations
        lefts[name] += sum(left_s.get(worker.worker_id, ()))
        awaited[name] = max(awaited[name], awaited_s.get(worker.worker_id, 0.0))
    demands = _demands(tasks, types, counted)
    return tuple(
        (
            worker_type,
            QueueView(
                waiting=demand.waiting,
                runnable=demand.runnable,
                running=running[worker_type.name],
                waiting_s=demand.waiting_s,
                longest_s=demand.longest_s,
                per_worker=demand.per_worker,
                running_s=lefts[worker_type.name],
                longest_running_s=awaited[worker_type.name],
            ),
        )
        for worker_type, demand in zip(types, demands, strict=True)
    )


def recommend(
    tasks: Sequence[Task], types: Sequence[WorkerType], counted: Mapping[str, int], *, maximum: int
) -> tuple[TypeRecommendation, ...]:
    """Return how many workers of each type would run everything at once, ``maximum`` in all.

    Types with a price are bought by ``buying.buy``. Under the maximum every type that some test needs comes first
    with one worker (the one with most tests first); the rest goes where most is missing.
    """
    classes = group_tasks(tasks)
    priced = [index for index, each in enumerate(types) if each.usd_per_hour > 0]
    demands = [_Demand() for _ in types]
    packed = []
    for each in classes:
        index = cheapest_type(each, types)
        if index is None:
            continue
        if index in priced and each.requirements.amounts != ZERO:
            packed.append(each)
        else:
            demands[index].add(each, side_by_side(each.requirements.amounts, types[index].capacity), counted)
    wanted = [min(math.ceil(demand.shares), demand.runnable) for demand in demands]
    bought = buy(_wanted(packed, counted), [types[index] for index in priced])
    for index, row in zip(priced, bought, strict=True):
        wanted[index] += row.workers
        demands[index].workers = wanted[index]
    for parts in _parts(packed, bought):
        for place, part in parts:
            index = priced[place]
            demands[index].add(part, side_by_side(part.requirements.amounts, types[index].capacity), counted)
    given = _share_out(wanted, [demand.waiting for demand in demands], maximum)
    return tuple(
        TypeRecommendation(
            worker_type=worker_type.name,
            count=count,
            tasks=demand.waiting,
            usd_per_hour=worker_type.usd_per_hour * count,
            reason=_reason(worker_type, demand, want, count),
        )
        for worker_type, demand, want, count in zip(types, demands, wanted, given, strict=True)
        if count
    )


def rejected(
    tasks: Sequence[Task], types: Sequence[WorkerType], taken: Sequence[TypeRecommendation]
) -> tuple[TypeRecommendation, ...]:
    """Return a row with no worker for every type that is not among those taken, with the reason.

    What a type is worth is its price per test-second: USD for a second of one test, when as many run beside it as fit.
    """
    names = {row.worker_type for row in taken}
    classes = group_tasks(tasks)
    by_price = _by_price_per_core(types)
    best = {id(each): _cheapest(each, types, by_price) for each in classes}
    return tuple(
        TypeRecommendation(
            worker_type=worker_type.name,
            count=0,
            tasks=0,
            usd_per_hour=0.0,
            reason=_why_not(index, worker_type, types, classes, best),
        )
        for index, worker_type in enumerate(types)
        if worker_type.name not in names
    )


def _why_not(
    index: int,
    worker_type: WorkerType,
    types: Sequence[WorkerType],
    classes: Sequence[TaskClass],
    best: Mapping[int, int | None],
) -> str:
    fitting = [each for each in classes if can_hold(worker_type, each.requirements)]
    if not classes:
        return "there is nothing to run"
    if not fitting:
        most = max(classes, key=lambda each: len(each.tasks))
        problem = placement_problem(most.requirements, [worker_type])
        return f"none of the tests fits it: one {problem}".replace("the largest worker", "it")
    each = max(fitting, key=lambda each: len(each.tasks))
    other = best[id(each)]
    if other is None or other == index:
        return f"it is the cheapest for {len(each.tasks)} tests, for which the maximum of workers leaves no room"
    mine, theirs = (usd_per_test_second(kind, each) for kind in (worker_type, types[other]))
    if mine == theirs:
        return f"{types[other].name} costs the same per test-second ({mine:.3g} USD), and is smaller or comes first"
    return f"a test-second costs {mine:.3g} USD, and {theirs:.3g} USD on {types[other].name}"


def usd_per_test_second(worker_type: WorkerType, each: TaskClass) -> float:
    """Return what a second of one such test costs, when as many run beside it as fit."""
    return worker_type.usd_per_hour / 3600 / side_by_side(each.requirements.amounts, worker_type.capacity)


def _wanted(classes: Sequence[TaskClass], counted: Mapping[str, int]) -> list[Wanted]:
    """Return how many tests of each class can run at once: one of a group, of claims what there is."""
    left: dict[str, int] = {}
    wanted = []
    for each in classes:
        count = len(each.tasks) if each.requirements.group is None else 1
        for name, amount in each.requirements.claims:
            count = min(count, left.setdefault(name, there_is(name, counted)) // amount)
        for name, amount in each.requirements.claims:
            left[name] -= count * amount
        wanted.append(Wanted(each.requirements, count))
    return wanted


def _parts(classes: Sequence[TaskClass], bought: Sequence[Bought]) -> list[list[tuple[int, TaskClass]]]:
    """Return which tests of each class go to which type; those that run after others, to the type of these."""
    parts = []
    for row, each in enumerate(classes):
        counts = [(place, row_of.tests[row]) for place, row_of in enumerate(bought) if row in row_of.tests]
        tasks, mine = list(each.tasks), []
        for place, count in reversed(counts):
            share = tasks if place == counts[0][0] else tasks[:count]
            tasks = tasks[len(share) :]
            mine.append((place, replace(each, tasks=tuple(share))))
        parts.append(mine)
    return parts


def _share_out(wanted: Sequence[int], waiting: Sequence[int], maximum: int) -> list[int]:
    """Return at most ``wanted`` per row and ``maximum`` in all: one each, then in proportion to what is wanted."""
    given = [0] * len(wanted)
    left = max(0, maximum)
    for row in sorted(range(len(wanted)), key=lambda row: (-waiting[row], row)):
        if wanted[row] and left:
            given[row] = 1
            left -= 1
    missing = [want - count for want, count in zip(wanted, given, strict=True)]
    if sum(missing) <= left:
        return list(wanted)
    exact = [left * each / sum(missing) for each in missing]
    given = [count + int(part) for count, part in zip(given, exact, strict=True)]
    left -= sum(int(part) for part in exact)
    for row in sorted(range(len(exact)), key=lambda row: (int(exact[row]) - exact[row], row))[:left]:
        given[row] += 1
    return given


def _reason(worker_type: WorkerType, demand: _Demand, wanted: int, given: int) -> str:
    limit = f", {wanted} would run them all at once" if given < wanted else ""
    return (
        f"{worker_type.name} is the cheapest type for {demand.waiting} waiting tests "
        f"({demand.waiting_s:.1f} s of work, {demand.per_worker:.3g} side by side on one worker){limit}"
    )
