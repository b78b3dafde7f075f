"""List scheduling in virtual time: the longest test first, on the worker that it fills best."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace

from drm.model import gpus
from drm.model.cluster import WorkerState, WorkerView
from drm.model.errors import DuplicateError
from drm.model.plan import Allocation, Plan, Refusal
from drm.model.work import Forecast, Task
from drm.resource_optimizer.classes import group_tasks
from drm.resource_optimizer.holdings import Holdings
from drm.resource_optimizer.placement import placement_problem
from drm.resource_optimizer.units import Amounts, Pool, Unit, lower_bound_s, make_pools

_LIVE = (WorkerState.STARTING, WorkerState.READY)
_POWERS = (0.0, 0.5, 1.0, 0.25, 2.0)  # how much a test's size counts beside its length, in the order tried
_SMALL = 20_000  # tests up to which another order is tried where the first is not near the bound
_NEAR = 1.002


def make_plan(
    tasks: Sequence[Task],
    workers: Sequence[WorkerView],
    counted: Mapping[str, int],
    *,
    actual_s: Mapping[str, float] | None = None,
) -> Plan:
    """Return the plan of all tasks on the workers that are ready or starting.

    Whenever a worker has room, the longest waiting unit that fits is started on the
    worker that is left with least (best fit). Never worse than 2 - 1/m times the best
    for m equal one-test workers (Graham 1969), 4/3 - 1/(3m) because the longest go
    first. Where that is not near the bound, orders in which large tests go before long ones are tried too,
    and the shortest plan is kept.
    ``actual_s``: how long tests really took, by id: the plan is then what the run came to, begun in the order that the
    forecasts gave, and the bound is that of what they took. DuplicateError if a task id comes twice.
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
    bound_s = lower_bound_s(placeable, live, counted)
    timeline = _best_timeline(placeable, live, counted, bound_s, several=len(tasks) <= _SMALL)
    if actual_s is not None:
        timeline = _Timeline(placeable, live, counted, timeline.power, actual_s)
        timeline.run()
        bound_s = lower_bound_s(make_pools(group_tasks(_as_they_were(tasks, actual_s)), live), live, counted)
    return Plan(
        allocations=tuple(timeline.allocations),
        refusals=tuple(refusals),
        makespan_s=timeline.now_s,
        lower_bound_s=bound_s,
    )


def lower_bound(
    tasks: Sequence[Task], workers: Sequence[WorkerView], counted: Mapping[str, int] | None = None
) -> float:
    """Return seconds that no plan of these tasks on these workers can beat; see ``units.lower_bound_s``.

    Tasks that fit no worker are left out.
    """
    live = [worker for worker in workers if worker.state in _LIVE]
    return lower_bound_s(make_pools(group_tasks(tasks), live), live, counted or {})


def _best_timeline(
    pools: Sequence[Pool], workers: Sequence[WorkerView], counted: Mapping[str, int], bound_s: float, *, several: bool
) -> _Timeline:
    best: _Timeline | None = None
    for power in _POWERS if several else _POWERS[:1]:
        timeline = _Timeline(pools, workers, counted, power)
        timeline.run()
        if best is None or timeline.now_s < best.now_s:
            best = timeline
        if best.now_s <= _NEAR * bound_s:
            break
    assert best is not None
    return best


def _as_they_were(tasks: Sequence[Task], actual_s: Mapping[str, float]) -> list[Task]:
    return [
        replace(task, forecast=Forecast(wall_s=actual_s.get(task.task_id, task.expected_s), memory_bytes=0))
        for task in tasks
    ]


class _Timeline:
    """The virtual run. ``waiting``: heap of pools by their longest unit; ``ends``: heap of running units."""

    def __init__(
        self,
        pools: Sequence[Pool],
        workers: Sequence[WorkerView],
        counted: Mapping[str, int],
        power: float,
        actual_s: Mapping[str, float] | None = None,
    ) -> None:
        self.now_s = 0.0
        self.power = power
        self._actual_s = actual_s
        self._pools = pools
        self._workers = workers
        self._free: list[Amounts] = [_integers(worker) for worker in workers]
        self._held = [_reserved(worker) for worker in workers]
        self._devices = [_devices_left(worker) for worker in workers]
        self._on: dict[int, tuple[gpus.Share, ...]] = {}
        self._ends: list[tuple[float, int, int, Pool]] = []  # time, number of the start, worker
        self._started = 0
        self._holdings = Holdings(counted)
        self._scale = _largest(workers)
        self._weights = [self._share(pool) ** power if power else 1.0 for pool in pools]
        self._waiting = [self._entry(index, 0) for index in range(len(pools))]
        heapq.heapify(self._waiting)
        self._least = tuple(min((pool.amounts[axis] for pool in pools), default=0) for axis in range(3))
        self.allocations: list[Allocation] = []

    def run(self) -> None:
        """Run until everything is placed; ``allocations`` are in order of start."""
        self._fill(set(range(len(self._workers))))
        while self._waiting or self._ends:
            self._fill(self._next_end() if self._ends else self._take_held())

    def _share(self, pool: Pool) -> float:
        """Return the largest share of a worker that a unit takes; a small one where it asks for nothing."""
        return max(amount / most for amount, most in zip(pool.amounts, self._scale, strict=True)) or 1e-3

    def _entry(self, index: int, position: int) -> tuple[float, int, int, int]:
        unit = self._pools[index].units[position]
        return -unit.duration_s * self._weights[index], unit.rank, index, position

    def _fill(self, candidates: set[int]) -> None:
        """Start what fits on the candidates, the longest first; what does not keeps waiting."""
        aside = []
        waiting = self._waiting
        candidates = {index for index in candidates if self._has_room(index)}
        while waiting and candidates:
            entry = heapq.heappop(waiting)
            pool = self._pools[entry[2]]
            if len(candidates) == 1 and not self._fits(pool, *candidates):
                aside.append(entry)
                continue
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
        free, least = self._free[index], self._least
        return free[0] >= least[0] and free[1] >= least[1] and free[2] >= least[2]

    def _fits(self, pool: Pool, index: int) -> bool:
        asked, free = pool.amounts, self._free[index]
        return asked[0] <= free[0] and asked[1] <= free[1] and asked[2] <= free[2] and index in pool.eligible

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
            self.allocations.append(
                Allocation(task_id=task.task_id, worker_id=self._workers[worker].worker_id, start_s=start_s)
            )
            start_s += self._took_s(task)
        self._started += 1
        self._move(worker, pool.amounts, -1)
        self._holdings.take(self._started, pool.claims)
        heapq.heappush(
            self._ends, (start_s if self._actual_s else self.now_s + unit.duration_s, self._started, worker, pool)
        )

    def _move(self, worker: int, amounts: Amounts, sign: int, number: int | None = None) -> None:
        """Take the amounts of the unit that starts, or give those of unit ``number`` back; of gpus device by device."""
        cpu, memory, gpu = self._free[worker]
        if amounts[2]:
            devices = self._devices[worker]
            if number is None:
                taken = self._on[self._started] = gpus.assign(devices, amounts[2])
            else:
                taken = self._on.pop(number)
            for device, milli in taken:
                devices[device] += sign * milli
            gpu = gpus.most_left(devices)
        self._free[worker] = cpu + sign * amounts[0], memory + sign * amounts[1], gpu

    def _took_s(self, task: Task) -> float:
        return task.expected_s if self._actual_s is None else self._actual_s.get(task.task_id, task.expected_s)

    def _next_end(self) -> set[int]:
        """Go on to the next time at which something ends; return the workers that this frees."""
        self.now_s = self._ends[0][0]
        candidates: set[int] = set()
        while self._ends and self._ends[0][0] == self.now_s:
            _, number, worker, pool = heapq.heappop(self._ends)
            self._move(worker, pool.amounts, 1, number)
            candidates.add(worker)
            if self._holdings.release(number) or not self._ends:  # others elsewhere may have waited for it
                candidates.update(range(len(self._workers)))
        return candidates

    def _take_held(self) -> set[int]:
        """Count what was reserved before the plan as given back: nothing else can go on without it."""
        self._devices = [gpus.devices_of(worker.allocatable.gpus) for worker in self._workers]
        self._free = [
            (free[0] + held[0], free[1] + held[1], gpus.most_left(devices))
            for free, held, devices in zip(self._free, self._held, self._devices, strict=True)
        ]
        self._held = [(0, 0, 0)] * len(self._held)
        return set(range(len(self._workers)))


def _integers(worker: WorkerView) -> Amounts:
    free = worker.free
    return round(free.cpu_cores * 1000), free.memory_bytes, gpus.most_left(_devices_left(worker))


def _reserved(worker: WorkerView) -> Amounts:
    reserved = worker.reserved
    return round(reserved.cpu_cores * 1000), reserved.memory_bytes, round(reserved.gpus * 1000)


def _devices_left(worker: WorkerView) -> list[int]:
    """Return what is left of each gpu; what is reserved is taken to be on as few of them as can be."""
    devices, rest = gpus.devices_of(worker.allocatable.gpus), _reserved(worker)[2]
    for device, milli in enumerate(devices):
        taken = min(milli, rest)
        devices[device] -= taken
        rest -= taken
    return devices


def _largest(workers: Sequence[WorkerView]) -> tuple[float, float, float]:
    rooms = [worker.allocatable for worker in workers]
    return (
        max((whole.cpu_cores * 1000 for whole in rooms), default=0) or 1.0,
        float(max((whole.memory_bytes for whole in rooms), default=0) or 1),
        max((whole.gpus * 1000 for whole in rooms), default=0) or 1.0,
    )
