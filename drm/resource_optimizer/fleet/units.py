"""What is placed as one: single tasks, by class, and groups, which all go to one worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.requests import Request
from drm.resource_optimizer.fleet.tasks import TaskTable
from drm.resource_optimizer.fleet.workers import Fleet


@dataclass(frozen=True, slots=True)
class Units:
    """U classes of units: those of the tasks, then one per group.

    ``unit_of``: (N,) of each task. ``counts``: (U,) how many are placed: of a group one, of a class that is in a group
    none. A group runs one task after another: it takes the most that any of its tasks asks for, and all locks.
    """

    table: ClassTable
    unit_of: NDArray[np.int32]
    counts: NDArray[np.int64]
    groups: int

    @classmethod
    def of(cls, tasks: TaskTable, fleet: Fleet) -> Units:
        """Return what there is to place."""
        counts = np.bincount(tasks.class_of, minlength=len(tasks.requests))
        members: dict[str, list[int]] = {}
        for number, request in enumerate(tasks.requests):
            if request.group is not None and counts[number]:
                members.setdefault(request.group, []).append(number)
        table = ClassTable(
            [*tasks.requests, *(_joined([tasks.requests[n] for n in each]) for each in members.values())], fleet
        )
        if not members:
            return cls(table, tasks.class_of, counts, 0)
        to_unit = np.arange(len(tasks.requests), dtype=np.int32)
        for unit, each in enumerate(members.values(), start=len(tasks.requests)):
            to_unit[each] = unit
            table.allowed[unit] &= table.allowed[each].all(axis=0)
            counts[each] = 0
        return cls(
            table, to_unit[tasks.class_of], np.append(counts, np.ones(len(members), dtype=np.int64)), len(members)
        )


def _joined(requests: Sequence[Request]) -> Request:
    first = requests[0]
    devices = max(request.gpu_devices for request in requests)
    milli = max(request.gpu_milli for request in requests)
    memory = max(request.gpu_memory_bytes for request in requests)
    if milli and memory:  # two measures of one device: it gets all of it
        devices = max(devices, 1)
    named: dict[str, int] = {}
    for name, amount in (row for request in requests for row in request.resources):
        named[name] = max(amount, named.get(name, 0))
    return replace(
        first,
        cpu_milli=max(request.cpu_milli for request in requests),
        memory_bytes=max(request.memory_bytes for request in requests),
        gpu_devices=devices,
        gpu_milli=0 if devices else milli,
        gpu_memory_bytes=0 if devices else memory,
        resources=tuple(named.items()),
        all_labels=frozenset[str]().union(*(request.all_labels for request in requests)),
        any_labels=first.any_labels if len({request.any_labels for request in requests}) == 1 else frozenset(),
        locks=tuple({lock for request in requests for lock in request.locks}),
        priority=max(request.priority for request in requests),
    )
