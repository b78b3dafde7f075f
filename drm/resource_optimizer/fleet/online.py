"""One event at a time: place a task, give its amounts back, lose a worker."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from drm.model.errors import CapacityError, DuplicateError, UnknownTaskError
from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.cpu_tier import CpuTier
from drm.resource_optimizer.fleet.fragmentation import Mix
from drm.resource_optimizer.fleet.gpu_tier import Devices, GpuTier
from drm.resource_optimizer.fleet.reasons import why_never, why_not_now
from drm.resource_optimizer.fleet.requests import Request
from drm.resource_optimizer.fleet.workers import Fleet

_LEARN_FROM = 64  # tasks seen before the mix is first taken from them; then whenever they have doubled


class Placed(NamedTuple):
    """Where a task runs, and on which gpus: (device, thousandths of it)."""

    worker_id: str
    devices: Devices


class Refused(NamedTuple):
    """``reason``: a sentence. ``for_good``: it would not fit if nothing else ran, else it may be asked again later."""

    reason: str
    for_good: bool


class _Held(NamedTuple):
    number: int
    worker: int
    devices: Devices


class OnlineAllocator:
    """Reservations on a fleet, and the choice of where the next goes.

    Workers without gpus serve tasks without first. On workers with gpus fragmentation gradient descent decides.
    ``expected``: what tasks are to be expected, by weight; without it they are learnt from those that come. The
    same events give the same answers. Nothing changes where an error is raised or a task refused.
    """

    def __init__(self, fleet: Fleet, *, expected: Mapping[Request, float] | None = None) -> None:
        self._fleet = fleet
        self._expected = expected
        self._requests: list[Request] = []
        self._numbers: dict[Request, int] = {}
        self._table = ClassTable((), fleet)
        self._amounts: list[list[int]] = []
        self._seen: list[float] = []
        self._seen_in_all = 0.0
        self._learn_at = _LEARN_FROM if expected is None else math.inf
        gpu = fleet.gpu_workers
        self._cpu = CpuTier(fleet, np.setdiff1d(np.arange(len(fleet)), gpu), self._table)
        self._gpu = GpuTier(fleet, gpu, self._table)
        self._cpu_workers: list[int] = self._cpu.workers.tolist()
        self._gpu_workers: list[int] = gpu.tolist()
        self._place = {worker: place for place, worker in enumerate(self._gpu_workers)}
        self._cpu_place = {worker: place for place, worker in enumerate(self._cpu_workers)}
        self._held: dict[str, _Held] = {}
        self._locks: dict[str, str] = {}
        self._groups: dict[str, list[int]] = {}  # group -> worker, tasks
        self._refusals: dict[int, Refused] = {}
        if expected is not None:
            self.intern_all(list(expected))
            self._seen = [expected[request] for request in self._requests]
            self._learn()

    def __len__(self) -> int:
        return len(self._held)

    def intern(self, request: Request) -> int:
        """Return the number of the class of such tasks: do this when they are submitted."""
        number = self._numbers.get(request)
        return self.intern_all([request])[0] if number is None else number

    def intern_all(self, requests: Sequence[Request]) -> list[int]:
        """Return the numbers of the classes of these requests."""
        new = [request for request in dict.fromkeys(requests) if request not in self._numbers]
        if new:
            self._numbers.update({request: len(self._requests) + row for row, request in enumerate(new)})
            self._requests += new
            self._seen += [0.0] * len(new)
            self._table = self._table.extended(new, self._fleet)
            self._amounts = self._table.amounts.T.tolist()
            self._cpu.set_classes(self._table)
            self._gpu.set_classes(self._table)
        return [self._numbers[request] for request in requests]

    def allocate(self, task_id: str, number: int) -> Placed | Refused:
        """Reserve what a task of that class asks for, or say why not.

        DuplicateError if the task has a reservation already.
        """
        if task_id in self._held:
            raise DuplicateError(f"{task_id} has a reservation already", remedy="release it first")
        request = self._requests[number]
        self._count(number)
        for lock in request.locks:
            if lock in self._locks:
                return Refused(f"waits for the lock {lock}, which {self._locks[lock]} holds", False)
        group = self._groups.get(request.group) if request.group is not None else None
        worker = self._choose(number) if group is None else self._in_group(number, group[0])
        if worker < 0:
            return self._refusal(number, None if group is None else self._fleet.ids[group[0]])
        devices = self._take(number, worker)
        self._held[task_id] = _Held(number, worker, devices)
        if request.locks or request.group is not None:
            self._hold(task_id, request, worker)
        return Placed(self._fleet.ids[worker], devices)

    def release(self, task_id: str) -> None:
        """Give back what a task has reserved. UnknownTaskError if that is nothing."""
        held = self._held.pop(task_id, None)
        if held is None:
            raise UnknownTaskError(f"{task_id} has no reservation", remedy="release each task once")
        number, worker, devices = held
        place = self._cpu_place.get(worker)
        if place is not None:
            self._cpu.give_back(place, self._amounts[number])
        else:
            self._gpu.give_back(number, self._place[worker], devices)
        request = self._requests[number]
        for lock in request.locks:
            del self._locks[lock]
        if request.group is not None:
            group = self._groups[request.group]
            group[1] -= 1
            if not group[1]:
                del self._groups[request.group]

    def free(self) -> Fleet:
        """Return the fleet with what is free now."""
        free, left = self._fleet.free.copy(), self._fleet.left.copy()
        free[:, self._cpu.workers] = np.array(self._cpu.free, dtype=np.int64).reshape(-1, len(free)).T
        free[:, self._gpu.workers] = self._gpu.free
        left[self._gpu.workers] = self._gpu.left
        return dataclasses.replace(self._fleet, free=free, left=left)

    def on(self, fleet: Fleet) -> tuple[OnlineAllocator, tuple[str, ...]]:
        """Return the same reservations on a fleet that has changed, and the tasks whose workers it lacks.

        Workers are the same by id. CapacityError if one has less than is reserved on it.
        """
        moved = OnlineAllocator(fleet, expected=self._expected)
        numbers = moved.intern_all(self._requests)
        if self._expected is None:
            for number, seen in zip(numbers, self._seen, strict=True):
                moved._seen[number] = seen
            moved._seen_in_all, moved._learn_at = self._seen_in_all, self._learn_at
            moved._learn()
        places = {worker_id: worker for worker, worker_id in enumerate(fleet.ids)}
        gone = []
        for task_id, held in self._held.items():
            worker = places.get(self._fleet.ids[held.worker])
            if worker is None:
                gone.append(task_id)
            else:
                moved._restore(task_id, _Held(numbers[held.number], worker, held.devices))
        return moved, tuple(gone)

    # -- inside

    def _choose(self, number: int) -> int:
        if not self._table.uses_gpu[number]:
            place = self._cpu.best(number)
            if place >= 0:
                return self._cpu_workers[place]
        place = self._gpu.best(number)
        return self._gpu_workers[place] if place >= 0 else -1

    def _in_group(self, number: int, worker: int) -> int:
        place = self._cpu_place.get(worker)
        if place is not None:
            return worker if self._cpu.fits(number, place) else -1
        return worker if self._gpu.fits(number, self._place[worker]) else -1

    def _take(self, number: int, worker: int) -> Devices:
        place = self._cpu_place.get(worker)
        if place is not None:
            self._cpu.take(place, self._amounts[number])
            return ()
        return self._gpu.take(number, self._place[worker])

    def _hold(self, task_id: str, request: Request, worker: int) -> None:
        for lock in request.locks:
            self._locks[lock] = task_id
        if request.group is not None:
            self._groups.setdefault(request.group, [worker, 0])[1] += 1

    def _restore(self, task_id: str, held: _Held) -> None:
        number, worker, devices = held
        place = self._cpu_place.get(worker)
        if place is not None:
            fits = not devices and all(map(operator.le, self._amounts[number], self._cpu.free[place]))
        else:
            fits = self._gpu.has(number, self._place[worker], devices)
        if not fits:
            raise CapacityError(
                f"{self._fleet.ids[worker]} has less than is reserved on it", remedy="drain it first, or take it away"
            )
        if place is not None:
            self._cpu.take(place, self._amounts[number])
        else:
            self._gpu.reserve(number, self._place[worker], devices)
        self._held[task_id] = held
        self._hold(task_id, self._requests[number], worker)

    def _refusal(self, number: int, pinned: str | None) -> Refused:
        known = self._refusals.get(number)
        if known is None:
            never = why_never(self._table, number, self._fleet)
            known = Refused(never or why_not_now(self._table, number, self._fleet), never is not None)
            self._refusals[number] = known
        if pinned is None or known.for_good:
            return known
        return Refused(f"waits for room on {pinned}, where its group {self._requests[number].group} runs", False)

    def _count(self, number: int) -> None:
        if self._learn_at == math.inf:
            return
        self._seen[number] += 1
        self._seen_in_all += 1
        if self._seen_in_all >= self._learn_at:
            self._learn_at = 2 * self._seen_in_all
            self._learn()

    def _learn(self) -> None:
        self._gpu.set_mix(Mix(self._table, np.array(self._seen, dtype=np.float64)))
