"""What the planner places: single tests, and groups of tests that run one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drm.model.claims import Claims, there_is
from drm.model.cluster import WorkerView
from drm.model.resources import ZERO, Requirements
from drm.model.work import Task
from drm.resource_optimizer.classes import TaskClass
from drm.resource_optimizer.placement import can_hold

Amounts = tuple[int, int, int]


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
    """Return seconds that no plan can beat.

    The largest of: the longest unit; per resource, work x amount over what all
    workers have; per claim, work x amount over what there is in the run, which for a lock is
    the work that must run one after another. (Graham 1969,
    "Bounds on multiprocessing timing anomalies"; Garey and Graham 1975 for several resources.)
    """
    bound = 0.0
    areas = [0.0, 0.0, 0.0]
    claimed: dict[str, float] = {}
    for pool in pools:
        work_s = sum(unit.duration_s for unit in pool.units)
        bound = max(bound, pool.units[0].duration_s)
        areas = [area + work_s * amount for area, amount in zip(areas, pool.amounts, strict=True)]
        for name, amount in pool.claims:
            claimed[name] = claimed.get(name, 0.0) + work_s * amount / there_is(name, counted)
    wholes = (
        sum(worker.allocatable.cpu_cores for worker in workers) * 1000,
        sum(worker.allocatable.memory_bytes for worker in workers),
        sum(worker.allocatable.gpus for worker in workers) * 1000,
    )
    shares = [area / whole for area, whole in zip(areas, wholes, strict=True) if whole > 0]
    return max([bound, *shares, *claimed.values()])
