"""The outcome of a batch: a worker for each task, or why it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.model.plan import Allocation, Plan, Refusal
from drm.resource_optimizer.fleet.reasons import why_never, why_not_now
from drm.resource_optimizer.fleet.tasks import TaskTable
from drm.resource_optimizer.fleet.units import Units
from drm.resource_optimizer.fleet.workers import Fleet, Ints


@dataclass(frozen=True, slots=True, eq=False)
class FleetPlan:
    """Each of N tasks exactly once. ``worker``: (N,) its number in ``fleet``, -1 where it is refused.

    ``devices``: (N,) the gpus that it has of its worker, as bits (bit 0 the first); None where nobody asks for one.
    """

    tasks: TaskTable
    fleet: Fleet
    units: Units
    worker: NDArray[np.int32]
    devices: Ints | None
    locked: Mapping[int, str] = field(default_factory=dict)

    @property
    def placed(self) -> int:
        """Return how many tasks have a worker."""
        return int((self.worker >= 0).sum())

    def gpu_milli(self) -> int:
        """Return the thousandths of gpus that are given out; of a group once."""
        given = self.worker >= 0
        unit = self.units.unit_of[given]
        once = len(self.tasks.requests)
        single = unit < once
        grouped, where = np.unique(unit[~single], return_index=True)
        numbers = np.concatenate([unit[single], grouped])
        workers = np.concatenate([self.worker[given][single], self.worker[given][~single][where]])
        table = self.units.table
        return int((table.whole[numbers] * WHOLE + table.share[numbers, self.fleet.kind[workers]]).sum())

    def reason(self, task: int) -> str:
        """Return why a task is refused."""
        return self._reason_of_unit(int(self.units.unit_of[task]))

    def _reason_of_unit(self, unit: int) -> str:
        table = self.units.table
        return self.locked.get(unit) or why_never(table, unit, self.fleet) or why_not_now(table, unit, self.fleet)

    def plan(self) -> Plan:
        """Return the same as allocations and refusals, in the order of the tasks."""
        reason = cache(self._reason_of_unit)
        allocations, refusals = [], []
        rows = zip(self.worker.tolist(), self.units.unit_of.tolist(), strict=True)
        for task, (worker, unit) in enumerate(rows):
            task_id = self.tasks.id_of(task)
            if worker >= 0:
                allocations.append(Allocation(task_id=task_id, worker_id=self.fleet.ids[worker]))
            else:
                refusals.append(Refusal(task_id=task_id, reason=reason(unit)))
        return Plan(allocations=tuple(allocations), refusals=tuple(refusals))
