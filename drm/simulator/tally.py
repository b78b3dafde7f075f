"""What a simulated run comes to, added up while it goes: no event is kept, so that a million tests fit in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from drm.model import events
from drm.model.cluster import WorkerType
from drm.model.events import Event
from drm.model.resources import ZERO, Resources
from drm.model.work import Task
from drm.resource_optimizer.placement import can_hold
from drm.simulator.acts import Act

__all__ = ["Result", "Tally", "cost_bound_usd", "result_of"]

NAMES = ("cpu", "memory", "gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Times in seconds, money in USD. ``makespan_s``: from the start to the last test's end. ``bound_s``: what no
    plan can beat on these workers, by the true durations. ``reserved`` and ``used``: shares of what the workers had
    while they were there, by resource (those that they have). ``extra_s``: work done more than once. ``arrivals``: when
    tests were submitted, and the seconds from then until the last of them had ended."""

    name: str
    seed: int
    tests: int
    counts: tuple[tuple[str, int], ...]
    makespan_s: float
    bound_s: float
    cost_usd: float
    cost_bound_usd: float
    work_s: float
    extra_s: float
    reserved: tuple[tuple[str, float], ...]
    used: tuple[tuple[str, float], ...]
    workers: tuple[tuple[str, int], ...]
    workers_lost: int
    attempts: int
    events: int
    arrivals: tuple[tuple[float, float], ...] = ()
    problem: str = ""
    said: tuple[str, ...] = ()


class Tally:
    """Implements ``drm.ports.EventSink``."""

    def __init__(self) -> None:
        self.events = self.attempts = self.workers_lost = 0
        self.makespan_s = self.cost_usd = self.work_s = self.last_s = 0.0
        self.counts: tuple[tuple[str, int], ...] = ()
        self.workers: Counter[str] = Counter()
        self.reserved = [0.0, 0.0, 0.0]  # amount x seconds
        self.used = [0.0, 0.0, 0.0]
        self.there = [0.0, 0.0, 0.0]
        self._running: dict[str, tuple[float, Resources]] = {}
        self._present: dict[str, tuple[float, Resources]] = {}
        self._arrival_of: dict[str, int] = {}
        self.arrivals: list[tuple[float, float]] = []

    def arrived(self, now_s: float, tasks: Iterable[Task]) -> None:
        """Tests are about to be submitted."""
        self.arrivals.append((now_s, 0.0))
        self._arrival_of.update(dict.fromkeys((task.task_id for task in tasks), len(self.arrivals) - 1))

    def emit(self, event: Event) -> None:
        self.events += 1
        self.last_s = event.elapsed_s
        kind = type(event)
        if kind is events.AttemptStarted:
            assert isinstance(event, events.AttemptStarted)
            self._running[event.executor_id] = event.elapsed_s, event.reserved
        elif kind is events.AttemptFinished:
            assert isinstance(event, events.AttemptFinished)
            self._attempt(event)
        elif isinstance(event, events.TestFinished):
            if event.attempts:
                self.makespan_s = event.elapsed_s
                self._ended(event)
        elif isinstance(event, events.WorkerReady):
            self.workers[event.worker_type] += 1
            self._present[event.worker_id] = event.elapsed_s, event.capacity
        elif isinstance(event, events.WorkerLost):
            self.workers_lost += 1
            self._gone(event.worker_id, event.elapsed_s)
        elif isinstance(event, events.InstanceReleased):
            self.cost_usd += event.cost_usd
            self._gone(event.worker_id, event.elapsed_s)
        elif isinstance(event, events.RunFinished):
            self.counts = event.counts

    def _ended(self, event: events.TestFinished) -> None:
        number = self._arrival_of.get(event.task_id)
        if number is not None:
            at_s = self.arrivals[number][0]
            self.arrivals[number] = (at_s, event.elapsed_s - at_s)

    def _attempt(self, event: events.AttemptFinished) -> None:
        self.attempts += 1
        usage = event.usage
        since_s, held = self._running.pop(event.executor_id, (event.elapsed_s, ZERO))
        _add(self.reserved, held, event.elapsed_s - since_s)
        self.work_s += usage.wall_s
        self.used[0] += usage.cpu_s
        self.used[1] += usage.peak_rss_bytes * usage.wall_s
        self.used[2] += held.gpus * usage.wall_s

    def _gone(self, worker_id: str, now_s: float) -> None:
        since_s, capacity = self._present.pop(worker_id, (now_s, ZERO))
        # What is held after the last test is torn down again is no part of the run.
        _add(self.there, capacity, now_s - since_s)

    def flush(self) -> None: ...

    def close(self) -> None:
        for worker_id in tuple(self._present):
            self._gone(worker_id, self.last_s)


def _add(sums: list[float], amounts: Resources, seconds: float) -> None:
    sums[0] += amounts.cpu_cores * seconds
    sums[1] += amounts.memory_bytes * seconds
    sums[2] += amounts.gpus * seconds


def result_of(
    tally: Tally,
    *,
    name: str,
    seed: int,
    tests: int,
    true_s: float,
    bound_s: float,
    cost_bound: float,
    problem: str,
    said: Sequence[str],
) -> Result:
    """Return the result; ``true_s``: the sum of what tests take when nothing goes wrong."""

    def shares(parts: Sequence[float]) -> tuple[tuple[str, float], ...]:
        rows = zip(NAMES, parts, tally.there, strict=True)
        return tuple((resource, part / whole) for resource, part, whole in rows if whole > 0)

    return Result(
        name=name,
        seed=seed,
        tests=tests,
        counts=tally.counts,
        makespan_s=tally.makespan_s,
        bound_s=bound_s,
        cost_usd=tally.cost_usd,
        cost_bound_usd=cost_bound,
        work_s=tally.work_s,
        extra_s=max(0.0, tally.work_s - true_s),
        reserved=shares(tally.reserved),
        used=shares(tally.used),
        workers=tuple(sorted(tally.workers.items())),
        workers_lost=tally.workers_lost,
        attempts=tally.attempts,
        events=tally.events,
        arrivals=tuple(tally.arrivals),
        problem=problem,
        said=tuple(said),
    )


def cost_bound_usd(tasks: Iterable[Task], acts: Mapping[str, Act], types: Sequence[WorkerType]) -> float:
    """Return what the work costs at least: per resource, each test's share of the worker that is cheapest for it,
    over its time; the dearest resource counts. A worker that is full of one resource is paid for once."""
    prices: dict[int, tuple[float, float, float]] = {}
    sums = [0.0, 0.0, 0.0]
    for task in tasks:
        needs = task.requirements
        price = prices.get(id(needs))
        if price is None:
            amounts = (needs.amounts.cpu_cores, float(needs.amounts.memory_bytes), needs.amounts.gpus)
            rows = []
            for each in types:
                if can_hold(each, needs):
                    wholes = (each.capacity.cpu_cores, float(each.capacity.memory_bytes), each.capacity.gpus)
                    pairs = zip(amounts, wholes, strict=True)
                    rows.append([each.usd_per_hour * mine / whole if whole else 0.0 for mine, whole in pairs])
            lowest = [min(column) for column in zip(*rows, strict=True)] or [0.0, 0.0, 0.0]
            price = prices[id(needs)] = (lowest[0], lowest[1], lowest[2])
        hours = acts[task.task_id].seconds / 3600
        sums = [known + each * hours for known, each in zip(sums, price, strict=True)]
    return max(sums)
