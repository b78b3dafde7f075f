"""What the planner places: single tests, and groups of tests that run one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drm.model.claims import Claims, there_is
from drm.model.cluster import WorkerView
from drm.model.gpus import WHOLE, shares_side_by_side
from drm.model.resources import ZERO, Requirements, Resources
from drm.model.work import Task
from drm.resource_optimizer.classes import TaskClass
from drm.resource_optimizer.placement import can_hold

Amounts = tuple[int, int, int]
_GPU = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Tests placed as one: a single one, or a whole group in file order. ``rank`` breaks ties."""

    tasks: tuple[Task, ...]
    duration_s: float
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Units that ask for the same, longest first; ``eligible`` are the workers that could hold one."""

    requirements: Requirements
    claims: Claims
    units: tuple[Unit, ...]
    eligible: frozenset[int]
    amounts: Amounts


def make_pools(classes: Sequence[TaskClass], workers: Sequence[WorkerView]) -> list[Pool]:
    """Return one pool per class and one per group."""
    grouped: dict[str, list[TaskClass]] = {}
    pools = []
    for each in classes:
        group = each.requirements.group
        if group is not None:
            grouped.setdefault(group, []).append(each)
        else:
            units = [Unit(tasks=(task,), duration_s=task.expected_s, rank=task.position) for task in each.tasks]
            pools.append(_pool(each.requirements, units, workers))
    return pools + [_group_pool(parts, workers) for parts in grouped.values()]


def _group_pool(parts: Sequence[TaskClass], workers: Sequence[WorkerView]) -> Pool:
    """One executor runs the group: it needs the largest amounts and all labels and claims of its tests."""
    amounts, labels, claims = ZERO, frozenset[str](), dict[str, int]()
    for part in parts:
        amounts = amounts.at_least(part.requirements.amounts)
        labels |= part.requirements.labels
        claims.update({name: max(amount, claims.get(name, 0)) for name, amount in part.requirements.claims})
    tasks = sorted((task for part in parts for task in part.tasks), key=lambda task: task.position)
    unit = Unit(tasks=tuple(tasks), duration_s=sum(task.expected_s for task in tasks), rank=tasks[0].position)
    needs = Requirements(
        amounts=amounts, labels=labels, claims=tuple(sorted(claims.items())), group=parts[0].requirements.group
    )
    return _pool(needs, [unit], workers)


def _pool(requirements: Requirements, units: list[Unit], workers: Sequence[WorkerView]) -> Pool:
    amounts = requirements.amounts
    return Pool(
        requirements=requirements,
        claims=requirements.claims,
        units=tuple(sorted(units, key=lambda unit: (-unit.duration_s, unit.rank, unit.tasks[0].task_id))),
        eligible=frozenset(index for index, worker in enumerate(workers) if can_hold(worker, requirements)),
        amounts=(round(amounts.cpu_cores * 1000), amounts.memory_bytes, round(amounts.gpus * 1000)),
    )


def lower_bound_s(pools: Sequence[Pool], workers: Sequence[WorkerView], counted: Mapping[str, int]) -> float:
    """Return seconds that no plan can beat. Units that fit no worker are left out.

    The largest of: the longest unit; per resource, work x amount over what all workers have; the same of units
    that want a gpu, or labels, over the workers that they can run on; per resource, the work of all units of some
    size or more over how many of that size the workers have room for; per claim, work x amount over what there is in
    the run, which for a lock is the work that must run one after another. (Graham 1969, "Bounds on multiprocessing
    timing anomalies";
    Garey and Graham 1975 for several resources; large units as in bin packing, Martello and Toth 1990.)
    """
    pools = [pool for pool in pools if pool.eligible]
    rooms = [_amounts(worker.allocatable) for worker in workers]
    bound = max((pool.units[0].duration_s for pool in pools), default=0.0)
    claimed: dict[str, float] = {}
    for pool in pools:
        for name, amount in pool.claims:
            claimed[name] = claimed.get(name, 0.0) + _work_s(pool) * amount / there_is(name, counted)
    areas = [_area_s(part, rooms) for part in _parts(pools)]
    return max([bound, *claimed.values(), *areas, *(_large_s(pools, rooms, axis) for axis in range(3))])


def _parts(pools: Sequence[Pool]) -> list[list[Pool]]:
    """Return all units, and those that can run only on the same workers or on fewer: they share less."""
    by_width: dict[frozenset[int], list[Pool]] = {}
    for pool in pools:
        by_width.setdefault(pool.eligible, []).append(pool)
    within = ([pool for part, each in by_width.items() if part <= width for pool in each] for width in by_width)
    return [*within, list(pools)]


def _area_s(pools: Sequence[Pool], rooms: Sequence[Amounts]) -> float:
    """Return the seconds for which some resource of the workers these units can run on is used up at least."""
    eligible = frozenset[int]().union(*(pool.eligible for pool in pools))
    longest = 0.0
    for axis in range(3):
        whole = sum(rooms[index][axis] for index in eligible)
        if whole:
            longest = max(longest, sum(_work_s(pool) * pool.amounts[axis] for pool in pools) / whole)
    return longest


def _large_s(pools: Sequence[Pool], rooms: Sequence[Amounts], axis: int) -> float:
    """Return the seconds that units of some size or more take at least, as a worker has room for so many of them."""
    sizes = Counter(room[axis] for room in rooms)
    longest = work_s = 0.0
    for pool in sorted((pool for pool in pools if pool.amounts[axis]), key=lambda pool: -pool.amounts[axis]):
        work_s += _work_s(pool)
        places = sum(_places(size, pool.amounts[axis], axis) * count for size, count in sizes.items())
        longest = max(longest, work_s / places)
    return longest


def _places(size: int, amount: int, axis: int) -> int:
    """Return how many units of that size a worker has room for; of gpus, no share is on two devices."""
    return shares_side_by_side(amount / WHOLE, size / WHOLE) if axis == _GPU else size // amount


def _work_s(pool: Pool) -> float:
    return sum(unit.duration_s for unit in pool.units)


def _amounts(room: Resources) -> Amounts:
    return round(room.cpu_cores * 1000), room.memory_bytes, round(room.gpus * 1000)
