"""List scheduling in virtual time: the longest test first, on the worker that it fills best."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from drm.model.cluster import WorkerState, WorkerView
from drm.model.errors import DuplicateError
from drm.model.plan import Allocation, Plan, Refusal
from drm.model.work import Task
from drm.resource_optimizer.classes import group_tasks
from drm.resource_optimizer.holdings import Holdings
from drm.resource_optimizer.placement import placement_problem
from drm.resource_optimizer.units import Amounts, Pool, Unit, lower_bound_s, make_pools

_LIVE = (WorkerState.STARTING, WorkerState.READY)


def make_plan(tasks: Sequence[Task], workers: Sequence[WorkerView], counted: Mapping[str, int]) -> Plan:
    """Return the plan of all tasks on the workers that are ready or starting.

    Whenever a worker has room, the longest waiting unit that fits is started on the
    worker that is left with least (best fit). Never worse than 2 - 1/m times the best
    for m equal one-test workers (Graham 1969), 4/3 - 1/(3m) because the longest go
    first. DuplicateError if a task id comes twice.
    """
    if len({task.task_id for task in tasks}) != len(tasks):
        raise DuplicateError("a task id comes twice", remedy="make ids unique before planning")
    live = [worker for worker in workers if worker.state in _LIVE]
    pools = make_pools(group_tasks(tasks), live)
    placeable = [pool for pool in pools if pool.eligible]
    refusals = [
        Refusal(task_id=task.task_id, reason=reason)
        for pool in pools
        if not pool.eligible
        for reason in [placement_problem(pool.requirements, live) or "fits no worker"]
        for unit in pool.units
        for task in unit.tasks
    ]
    timeline = _Timeline(placeable, live, counted)
    allocations = timeline.run()
    return Plan(
        allocations=tuple(allocations),
        refusals=tuple(refusals),
        makespan_s=timeline.now_s,
        lower_bound_s=lower_bound_s(placeable, live, counted),
    )


class _Timeline:
    """The virtual run. ``waiting``: heap of pools by their longest unit; ``ends``: heap of running units."""

    def __init__(self, pools: Sequence[Pool], workers: Sequence[WorkerView], counted: Mapping[str, int]) -> None:
        self.now_s = 0.0
        self._pools = pools
        self._workers = workers
        self._free: list[Amounts] = [_integers(worker) for worker in workers]
        self._held = [_reserved(worker) for worker in workers]
        self._ends: list[tuple[float, int, int, Pool]] = []  # time, number of the start, worker
        self._started = 0
        self._holdings = Holdings(counted)
        self._waiting = [self._entry(index, 0) for index in range(len(pools))]
        heapq.heapify(self._waiting)
        self._scale = _largest(workers)
        self._least = tuple(min((pool.amounts[axis] for pool in pools), default=0) for axis in range(3))
        self._allocations: list[Allocation] = []

    def run(self) -> list[Allocation]:
        """Run until everything is placed; return the allocations in order of start."""
        self._fill(set(range(len(self._workers))))
        while self._waiting or self._ends:
            self._fill(self._next_end() if self._ends else self._take_held())
        return self._allocations

    def _entry(self, index: int, position: int) -> tuple[float, int, int, int]:
        unit = self._pools[index].units[position]
        return -unit.duration_s, unit.rank, index, position

    def _fill(self, candidates: set[int]) -> None:
        """Start what fits on the candidates, the longest first; what does not keeps waiting."""
        aside = []
        waiting = self._waiting
        candidates = {index for index in candidates if self._has_room(index)}
        while waiting and candidates:
            entry = heapq.heappop(waiting)
            pool = self._pools[entry[2]]
            worker = self._best_fit(pool, candidates) if self._holdings.admits(pool.claims) else None
            if worker is None:
                aside.append(entry)
                continue
            self._start(pool, pool.units[entry[3]], worker)
            if entry[3] + 1 < len(pool.units):
                heapq.heappush(waiting, self._entry(entry[2], entry[3] + 1))
            if not self._has_room(worker):
                candidates.discard(worker)
        for entry in aside:
            heapq.heappush(waiting, entry)

    def _has_room(self, index: int) -> bool:
        """Whether the least that any pool asks for is there."""
        return all(free >= least for free, least in zip(self._free[index], self._least, strict=True))

    def _best_fit(self, pool: Pool, candidates: set[int]) -> int | None:
        """Return the worker left with least, each amount as a share of the largest worker's.

        Best-fit decreasing for vectors: Panigrahy et al. 2011, "Heuristics for Vector Bin Packing".
        A worker with gpus counts as roomy, so that tests without gpu prefer one without.
        """
        cpu, memory, gpu = pool.amounts
        cpu_scale, memory_scale, gpu_scale = self._scale
        best: tuple[float, int] | None = None
        for index in candidates:
            if index not in pool.eligible:
                continue
            cpu_free, memory_free, gpu_free = self._free[index]
            if cpu <= cpu_free and memory <= memory_free and gpu <= gpu_free:
                left = (
                    (cpu_free - cpu) / cpu_scale + (memory_free - memory) / memory_scale + (gpu_free - gpu) / gpu_scale
                )
                if best is None or (left, index) < best:
                    best = (left, index)
        return None if best is None else best[1]

    def _start(self, pool: Pool, unit: Unit, worker: int) -> None:
        start_s = self.now_s
        for task in unit.tasks:
            self._allocations.append(
                Allocation(task_id=task.task_id, worker_id=self._workers[worker].worker_id, start_s=start_s)
            )
            start_s += task.expected_s
        self._free[worker] = _moved(self._free[worker], pool.amounts, -1)
        self._started += 1
        self._holdings.take(self._started, pool.claims)
        heapq.heappush(self._ends, (self.now_s + unit.duration_s, self._started, worker, pool))

    def _next_end(self) -> set[int]:
        """Go on to the next time at which something ends; return the workers that this frees."""
        self.now_s = self._ends[0][0]
        candidates: set[int] = set()
        while self._ends and self._ends[0][0] == self.now_s:
            _, number, worker, pool = heapq.heappop(self._ends)
            self._free[worker] = _moved(self._free[worker], pool.amounts, 1)
            candidates.add(worker)
            if self._holdings.release(number) or not self._ends:  # others elsewhere may have waited for it
                candidates.update(range(len(self._workers)))
        return candidates

    def _take_held(self) -> set[int]:
        """Count what was reserved before the plan as given back: nothing else can go on without it."""
        self._free = [_moved(free, held, 1) for free, held in zip(self._free, self._held, strict=True)]
        self._held = [(0, 0, 0)] * len(self._held)
        return set(range(len(self._workers)))


def _moved(free: Amounts, amounts: Amounts, sign: int) -> Amounts:
    return free[0] + sign * amounts[0], free[1] + sign * amounts[1], free[2] + sign * amounts[2]


def _integers(worker: WorkerView) -> Amounts:
    free = worker.free
    return round(free.cpu_cores * 1000), free.memory_bytes, round(free.gpus * 1000)


def _reserved(worker: WorkerView) -> Amounts:
    reserved = worker.reserved
    return round(reserved.cpu_cores * 1000), reserved.memory_bytes, round(reserved.gpus * 1000)


def _largest(workers: Sequence[WorkerView]) -> tuple[float, float, float]:
    rooms = [worker.allocatable for worker in workers]
    return (
        max((whole.cpu_cores * 1000 for whole in rooms), default=0) or 1.0,
        float(max((whole.memory_bytes for whole in rooms), default=0) or 1),
        max((whole.gpus * 1000 for whole in rooms), default=0) or 1.0,
    )
