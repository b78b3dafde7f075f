"""All tasks at once: class by class, many workers a pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drm.resource_optimizer.fleet.fleet_plan import FleetPlan
from drm.resource_optimizer.fleet.fragmentation import Mix
from drm.resource_optimizer.fleet.orders import ORDERS, Order, content_rank
from drm.resource_optimizer.fleet.pools import CpuPool, GpuPool, Share
from drm.resource_optimizer.fleet.requests import MOST
from drm.resource_optimizer.fleet.tasks import TaskTable
from drm.resource_optimizer.fleet.units import Units
from drm.resource_optimizer.fleet.workers import Fleet, Ints

_SMALL = 2**20  # classes times workers up to which several orders are tried
_LIKELY = 32  # classes that the fragments of gpus are judged by where only one order is tried
_BREADTH = 64  # places for a class that are judged so, there


def allocate_resources(tasks: TaskTable, fleet: Fleet, *, orders: tuple[Order, ...] = ORDERS) -> FleetPlan:
    """Return where the tasks go that fit beside each other now, and why the rest does not.

    Classes go by priority, then by each of ``orders`` where that takes little, else by the first; the plan is kept
    that gives out most of the resource that is scarcest, then places most tasks, priority by priority. Longer tasks
    go first in their class. Never more is given out than there is free, in any amount and on any gpu. Costs time by
    classes and workers, hardly by tasks. The same input gives the same plan, in whatever order equal tasks come.
    """
    units = Units.of(tasks, fleet)
    small = len(units.counts) * max(1, len(fleet)) <= _SMALL
    work = _Work(tasks, fleet, units, small=small)
    tried = [work.run(order) for order in (orders if small else orders[:1])]
    best = max(tried, key=lambda each: each.value)  # the first of equals
    return work.plan(best)


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: tuple[float, ...]
    shares: dict[int, list[Share]]
    locked: dict[int, str]


class _Work:
    def __init__(self, tasks: TaskTable, fleet: Fleet, units: Units, *, small: bool) -> None:
        self._tasks, self._fleet, self._units = tasks, fleet, units
        self._rank = content_rank(units.table)
        self._ordered, self._starts = _by_class(tasks, units)
        self._mix = Mix(units.table, units.counts.astype(np.float64), most=len(units.counts) if small else _LIKELY)
        self._breadth = None if small else _BREADTH
        self._sums = self._exact_sums()
        self._levels = sorted({request.priority for request in units.table.requests}, reverse=True)

    def run(self, order: Order) -> _Outcome:
        """Place all classes in one order."""
        table, counts = self._units.table, self._units.counts
        gpu = self._fleet.gpu_workers
        without = np.setdiff1d(np.arange(len(self._fleet)), gpu, assume_unique=True)
        cpu_pool = CpuPool(self._fleet, without)
        gpu_pool = GpuPool(self._fleet, gpu, self._mix, breadth=self._breadth)
        holders: dict[str, str] = {}
        locked: dict[int, str] = {}
        done: dict[int, list[Share]] = {}
        turns = order(self._units, self._fleet, self._rank)
        slices = -(-counts // np.maximum(1, np.bincount(turns, minlength=len(counts))))
        todo = np.where(table.lacks, 0, counts)
        for number in turns.tolist():
            locks = table.requests[number].locks
            held = next((lock for lock in locks if lock in holders), None)
            if held is not None and todo[number]:
                locked.setdefault(number, f"waits for the lock {held}, which {holders[held]} holds")
                todo[number] = 0
            wanted = min(int(slices[number]), int(todo[number]), 1 if locks else MOST)
            if not wanted:
                continue
            before = int(counts[number] - todo[number])
            shares = []
            if not table.uses_gpu[number]:
                shares += cpu_pool.place(table, number, wanted, self._exact(number, before))
            placed = _tasks(shares)
            if placed < wanted and len(gpu):
                shares += gpu_pool.place(table, number, wanted - placed, self._exact(number, before + placed))
            todo[number] -= _tasks(shares)
            if shares:
                done.setdefault(number, []).extend(shares)
                holders.update(dict.fromkeys(locks, self._first_of(number)))
            if locks and shares and todo[number]:
                locked[number] = f"waits for the lock {locks[0]}, which {holders[locks[0]]} holds"
                todo[number] = 0
            elif _tasks(shares) < wanted:
                todo[number] = 0  # it will not fit later either
        return _Outcome(self._value(done), done, locked)

    def plan(self, outcome: _Outcome) -> FleetPlan:
        """Return the outcome task by task."""
        count, first_group = len(self._tasks), len(self._tasks.requests)
        worker = np.full(count, -1, dtype=np.int32)
        devices = np.zeros(count, dtype=np.int64) if self._units.table.uses_gpu.any() else None
        for number, shares in outcome.shares.items():
            start, end = int(self._starts[number]), int(self._starts[number + 1])
            members = self._ordered[start:end]
            where = np.concatenate([np.repeat(share.workers, share.counts) for share in shares])
            worker[members if number >= first_group else members[: len(where)]] = where
            if devices is not None and shares[0].devices is not None:
                bits = np.concatenate([np.repeat(_bits(share), share.counts) for share in shares])
                devices[members if number >= first_group else members[: len(where)]] = bits
        return FleetPlan(self._tasks, self._fleet, self._units, worker, devices, outcome.locked)

    def _first_of(self, number: int) -> str:
        return self._tasks.id_of(int(self._ordered[self._starts[number]]))

    def _exact_sums(self) -> Ints | None:
        if self._tasks.exact is None:
            return None
        sums = np.zeros((2, len(self._tasks) + 1), dtype=np.int64)
        np.cumsum(self._tasks.exact[:, self._ordered], axis=1, out=sums[:, 1:])
        return sums

    def _exact(self, number: int, placed: int) -> _Exact:
        sums = self._sums if number < len(self._tasks.requests) else None  # a group takes more than one of its tasks
        return _Exact(self._units.table.amounts[:, number, None], sums, int(self._starts[number]) + placed)

    def _value(self, done: dict[int, list[Share]]) -> tuple[float, ...]:
        """Return per priority how much is given out of the scarcest resource, and how many tasks have a place."""
        table, counts = self._units.table, self._units.counts
        asked = np.vstack([table.amounts, table.gpu_milli()]).astype(np.float64)
        there = np.append(self._fleet.free.sum(axis=1), self._fleet.left.sum()).astype(np.float64)
        scarcest = int(np.argmax((asked * counts).sum(axis=1) / np.maximum(there, 1.0)))
        given = np.zeros(len(counts))
        for number, shares in done.items():
            given[number] = _tasks(shares)
        priority = np.array([request.priority for request in table.requests])
        value: list[float] = []
        for level in self._levels:
            here = np.where(priority == level, given, 0.0)
            value += [float((asked[scarcest] * here).sum()), float(here.sum())]
        return tuple(value)


@dataclass(frozen=True, slots=True)
class _Exact:
    """What the tasks of a class take, see ``pools.Exact``: each the same, or by sums over all tasks in order."""

    amounts: Ints
    sums: Ints | None
    start: int

    def __call__(self, start: int, counts: Ints) -> Ints:
        taken = self.amounts * counts
        if self.sums is not None:
            ends = self.start + start + np.cumsum(counts)
            taken[:2] = self.sums[:, ends] - self.sums[:, ends - counts]
        return taken


def _tasks(shares: list[Share]) -> int:
    return sum(int(share.counts.sum()) for share in shares)


def _bits(share: Share) -> Ints:
    assert share.devices is not None
    return share.devices


def _by_class(tasks: TaskTable, units: Units) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the tasks by class, the longest first, and where each class starts (U + 1,)."""
    unit = units.unit_of
    small = unit.astype(np.uint16) if len(units.counts) <= 2**16 else unit  # numpy sorts 16 bits in linear time
    if tasks.expected_s is None:
        ordered = np.argsort(small, kind="stable")
    else:
        longest = np.argsort(-tasks.expected_s, kind="stable")
        ordered = longest[np.argsort(small[longest], kind="stable")]
    starts = np.zeros(len(units.counts) + 1, dtype=np.int64)
    np.cumsum(np.bincount(unit, minlength=len(units.counts)), out=starts[1:])
    return ordered, starts
