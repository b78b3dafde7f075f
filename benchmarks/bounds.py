"""Bounds by linear programming (HiGHS), for benchmarks only: no plan can be better."""

from __future__ import annotations

from collections.abc import Sequence

import highspy
import numpy as np

from drm.model.cluster import WorkerType
from drm.model.work import Task
from drm.resource_optimizer.fleet import Fleet, TaskTable


def _solver() -> highspy.Highs:
    solver = highspy.Highs()
    solver.silent()
    return solver


def most_that_fits(table: TaskTable, fleet: Fleet) -> float:
    """Return the most thousandths of cpu that tasks could be given: equal workers taken as one, tasks as divisible."""
    counts = np.bincount(table.class_of, minlength=len(table.requests))
    rooms = np.vstack([fleet.capacity[:2], fleet.devices.sum(axis=1)])
    sizes, of = np.unique(rooms, axis=1, return_inverse=True)
    there = sizes * np.bincount(of.ravel())
    solver = _solver()
    rows: list[list[tuple[float, object]]] = [[] for _ in range(3 * sizes.shape[1])]
    total = []
    for request, count in zip(table.requests, counts.tolist(), strict=True):
        asked = (request.cpu_milli, request.memory_bytes, request.gpu_devices * 1000 + request.gpu_milli)
        parts = []
        for size in range(sizes.shape[1]):
            if all(amount <= most for amount, most in zip(asked, sizes[:, size], strict=True)):
                part = solver.addVariable(lb=0.0, ub=float(count))
                parts.append(part)
                total.append(float(request.cpu_milli) / 1000 * part)
                for axis, amount in enumerate(asked):
                    if amount:
                        rows[3 * size + axis].append((amount / max(1.0, float(there[axis, size])), part))
        if parts:
            solver.addConstr(sum(parts) <= float(count))
    for row in rows:
        if row:
            solver.addConstr(sum(share * part for share, part in row) <= 1.0)
    solver.maximize(sum(total))
    return float(solver.getObjectiveValue()) * 1000


def least_cost(tasks: Sequence[Task], types: Sequence[WorkerType]) -> float:
    """Return USD per hour that workers for all tasks at once cost at least: workers and tasks taken as divisible."""
    counted: dict[object, int] = {}
    for task in tasks:
        counted[task.requirements] = counted.get(task.requirements, 0) + 1
    solver = _solver()
    bought = [solver.addVariable(lb=0.0) for _ in types]
    used: list[list[list[object]]] = [[[], [], []] for _ in types]
    for requirements, count in counted.items():
        amounts = requirements.amounts  # type: ignore[attr-defined]
        asked = (amounts.cpu_cores, amounts.memory_bytes / 2**30, amounts.gpus)
        parts = []
        for index, worker_type in enumerate(types):
            if requirements.labels <= worker_type.labels and amounts.fits_in(worker_type.capacity):  # type: ignore[attr-defined]
                part = solver.addVariable(lb=0.0)
                parts.append(part)
                for axis, amount in enumerate(asked):
                    if amount:
                        used[index][axis].append(amount * part)
        if parts:
            solver.addConstr(sum(parts) == count)
    for index, worker_type in enumerate(types):
        whole = worker_type.capacity
        for axis, there in enumerate((whole.cpu_cores, whole.memory_bytes / 2**30, whole.gpus)):
            if used[index][axis]:
                solver.addConstr(sum(used[index][axis]) <= there * bought[index])
    solver.minimize(sum(t.usd_per_hour * count for t, count in zip(types, bought, strict=True)))
    return float(solver.getObjectiveValue())
