"""The queue of tests that wait, and the choice of what an executor runs next.

The online half of the optimizer: list scheduling, longest first (Graham, "Bounds on
Multiprocessing Timing Anomalies", SIAM J. Appl. Math. 17, 1969), over *lanes*. A lane
holds the waiting tests of one module that ask for the same resources, so that what
an executor is given shares fixtures and fits one reservation. An executor stays in its
lane; one without a lane takes the longest that nobody works in; when there is none,
it takes over the far half of the longest. Taking costs time in the number of classes of
requirements, not of tests.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from drm.model.resources import Requirements, Resources
from drm.model.work import Task

BATCH_S = 0.05  # short tests travel together, about this much work at a time
LONG_S = 0.5  # a test expected to take longer is queued by itself, whatever its module
_LEAST_STOLEN_S = 0.01  # less is not worth setting its fixtures up twice
_MEMORY_STEP = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tests for one executor, in order, under one reservation of ``amounts``."""

    tasks: tuple[Task, ...]
    amounts: Resources
    lock: str | None
    next_task: str | None
    expected_s: float


@dataclass(slots=True, eq=False)
class _Lane:
    """``requirements``: what its first test asks for; only those of a group may ask for different things."""

    scope: str
    requirements: Requirements
    tasks: deque[Task]
    expected_s: float = 0.0
    group: str | None = None  # never split, never stolen, always in collection order


@dataclass(slots=True)
class _Class:
    """Lanes of equal requirements: those nobody works in, longest first."""

    requirements: Requirements
    fresh: list[_Lane] = field(default_factory=list)


class WorkQueue:
    """Tests that wait. ``expected`` gives the predicted seconds of a (task id, scope).

    ``largest`` are the greatest amounts any worker has: predicted memory is never asked beyond them.
    """

    def __init__(self, expected: Callable[[str, str], float], *, largest: Resources) -> None:
        self._expected = expected
        self._largest = largest
        self._classes: dict[tuple[object, ...], _Class] = {}
        self._order: list[_Class] = []
        self._owned: dict[str, _Lane] = {}
        self._groups: dict[str, _Lane] = {}
        self._waiting = 0
        self._locks_held: set[str] = set()
        self._rounded_cache: dict[Requirements, Requirements] = {}

    def __len__(self) -> int:
        return self._waiting

    def __iter__(self) -> Iterator[Task]:
        for group in self._order:
            for lane in group.fresh:
                yield from lane.tasks
        for lane in self._owned.values():
            yield from lane.tasks

    def expected_s(self) -> float:
        """Return the predicted seconds of all that waits, as predicted when it was queued."""
        return sum(lane.expected_s for group in self._order for lane in group.fresh) + sum(
            lane.expected_s for lane in self._owned.values()
        )

    def add(self, tasks: Iterable[Task]) -> None:
        """Queue tests; those of one scope and equal requirements in collection order."""
        lanes: dict[tuple[object, ...], _Lane] = {}
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            self._waiting += 1
            requirements = task.requirements
            if requirements.group is not None:
                groups.setdefault(requirements.group, []).append(task)
                continue
            key = (task.scope, self._class_key(requirements), task.task_id if task.expected_s >= LONG_S else "")
            lane = lanes.get(key)
            if lane is None:
                lane = lanes[key] = _Lane(task.scope, self._rounded(requirements), deque())
            lane.tasks.append(task)
            lane.expected_s += self._seconds(task)
        for group, members in groups.items():
            self._add_to_group(group, members)
        for lane in sorted(lanes.values(), key=lambda lane: -lane.expected_s):
            self._offer(lane)

    def _add_to_group(self, group: str, members: list[Task]) -> None:
        """Queue tests of a group among those of it that wait, wherever they do."""
        lane = self._groups.get(group)
        if lane is None:
            lane = self._groups[group] = _Lane(f"group {group}", members[0].requirements, deque(), group=group)
        elif lane not in self._owned.values():
            self._classes[self._class_key(lane.requirements)].fresh.remove(lane)
        lane.tasks = deque(sorted((*lane.tasks, *members), key=lambda task: task.position))
        lane.expected_s += sum(map(self._seconds, members))
        lane.requirements = self._rounded(lane.tasks[0].requirements)
        if lane not in self._owned.values():
            self._offer(lane)

    def take(self, executor_id: str, free: Resources, labels: frozenset[str], *, share: int) -> Batch | None:
        """Return what the executor runs next within ``free`` resources, or None.

        ``share``: executors that compete for what waits; near the end batches shrink so that all have work.
        """
        lane = self._owned.get(executor_id)
        if lane is not None and not (lane.tasks and self._fits(lane.requirements, free, labels)):
            self.leave(executor_id)
            lane = None
        if lane is None:
            lane = self._fresh_lane(free, labels) or self._stolen_lane(free, labels)
            if lane is None:
                return None
            self._owned[executor_id] = lane
        return self._cut(lane, share)

    def more(self, executor_id: str, *, share: int) -> Batch | None:
        """Return a further batch for the executor, one that its present reservation covers, or None.

        From its own lane, or when that is empty from the longest lane that asks for the same. A group is
        given batch by batch: what comes back of one must run before the next.
        """
        lane = self._owned.get(executor_id)
        if lane is None or lane.requirements.lock is not None or lane.group is not None:
            return None
        if not lane.tasks:
            alike = self._classes[self._class_key(lane.requirements)].fresh
            lane = next((other for other in alike if other.group is None), None)
            if lane is None:
                return None
            alike.remove(lane)
            self._owned[executor_id] = lane
        return self._cut(lane, share)

    def can_serve(self, free: Resources, labels: frozenset[str]) -> bool:
        """Tell whether something that waits could run within ``free``."""
        return any(
            self._fits(lane.requirements, free, labels)
            for lane in (*(group.fresh[0] for group in self._order if group.fresh), *self._owned.values())
            if lane.tasks and not (lane.group is not None and lane in self._owned.values())
        )

    def leave(self, executor_id: str) -> None:
        """The executor gives up its lane (it ended, or something else fits better): others may have it."""
        lane = self._owned.pop(executor_id, None)
        if lane is None:
            return
        if lane.tasks:
            self._offer(lane)
        elif lane.group is not None:
            del self._groups[lane.group]

    def release_lock(self, lock: str | None) -> None:
        """The holder of the lock has ended its batch."""
        if lock is not None:
            self._locks_held.discard(lock)

    def clear(self) -> list[Task]:
        """Empty the queue and return what waited."""
        waiting = list(self)
        self._classes.clear()
        self._order.clear()
        self._owned.clear()
        self._groups.clear()
        self._waiting = 0
        return waiting

    # -- inside

    def _seconds(self, task: Task) -> float:
        return self._expected(task.task_id, task.scope)

    def _rounded(self, requirements: Requirements) -> Requirements:
        """Round predicted memory up to a power of two times 64 MiB, so that similar tests share a lane."""
        rounded = self._rounded_cache.get(requirements)
        if rounded is None:
            rounded = self._rounded_cache[requirements] = self._round(requirements)
        return rounded

    def _round(self, requirements: Requirements) -> Requirements:
        amounts = requirements.amounts
        if requirements.states_memory or amounts.memory_bytes <= 0:
            return requirements
        memory = _MEMORY_STEP
        while memory < amounts.memory_bytes:
            memory *= 2
        memory = max(min(memory, self._largest.memory_bytes), amounts.memory_bytes)
        rounded = Resources(cpu_cores=amounts.cpu_cores, memory_bytes=memory, gpus=amounts.gpus)
        return replace(requirements, amounts=rounded)

    def _class_key(self, requirements: Requirements) -> tuple[object, ...]:
        amounts = self._rounded(requirements).amounts
        return (amounts, requirements.labels, requirements.lock)

    def _is_alike(self, one: Requirements, other: Requirements) -> bool:
        return self._class_key(one) == self._class_key(other)

    def _offer(self, lane: _Lane) -> None:
        key = self._class_key(lane.requirements)
        group = self._classes.get(key)
        if group is None:
            group = self._classes[key] = _Class(lane.requirements)
            insort(self._order, group, key=self._scarcity)
        insort(group.fresh, lane, key=lambda entry: -entry.expected_s)

    def _scarcity(self, group: _Class) -> tuple[float, ...]:
        """Order classes: what few workers can run first, then what takes the largest share of a worker."""
        requirements = group.requirements
        return (
            -requirements.amounts.gpus,
            -len(requirements.labels),
            -requirements.amounts.dominant_share(self._largest),
            0.0 if requirements.lock is not None else 1.0,  # a lock is a chain: the sooner begun the better
        )

    def _fits(self, requirements: Requirements, free: Resources, labels: frozenset[str]) -> bool:
        return (
            (requirements.lock is None or requirements.lock not in self._locks_held)
            and requirements.labels <= labels
            and requirements.amounts.fits_in(free)
        )

    def _fresh_lane(self, free: Resources, labels: frozenset[str]) -> _Lane | None:
        for group in self._order:
            if group.fresh and self._fits(group.requirements, free, labels):
                return group.fresh.pop(0)
        return None

    def _stolen_lane(self, free: Resources, labels: frozenset[str]) -> _Lane | None:
        """Cut the far half off the longest lane somebody else works in."""
        best: _Lane | None = None
        for lane in self._owned.values():
            if not lane.tasks or lane.group is not None or not self._fits(lane.requirements, free, labels):
                continue
            if lane.expected_s < _LEAST_STOLEN_S:
                continue
            if best is None or lane.expected_s > best.expected_s:
                best = lane
        if best is None:
            return None
        stolen = _Lane(best.scope, best.requirements, deque())
        for _ in range((len(best.tasks) + 1) // 2):
            task = best.tasks.pop()
            stolen.tasks.appendleft(task)
            seconds = self._seconds(task)
            stolen.expected_s += seconds
            best.expected_s = max(0.0, best.expected_s - seconds)
        return stolen

    def _cut(self, lane: _Lane, share: int) -> Batch:
        """Take a batch from the head of the lane: at least one test, at most BATCH_S or a fair part of the rest."""
        most = max(1, self._waiting // (2 * max(1, share)))
        tasks: list[Task] = []
        expected = 0.0
        requirements = lane.requirements
        while lane.tasks and len(tasks) < most:
            seconds = self._seconds(lane.tasks[0])
            if tasks and expected + seconds > BATCH_S:
                break
            if lane.group is not None and not self._is_alike(lane.tasks[0].requirements, requirements):
                break
            expected += seconds
            tasks.append(lane.tasks.popleft())
        self._waiting -= len(tasks)
        lane.expected_s = max(0.0, lane.expected_s - expected)
        if lane.group is not None and lane.tasks:
            lane.requirements = self._rounded(lane.tasks[0].requirements)
        lock = requirements.lock
        if lock is not None:
            self._locks_held.add(lock)
        return Batch(
            tasks=tuple(tasks),
            amounts=requirements.amounts,
            lock=lock,
            next_task=self._likely_next(lane),
            expected_s=expected,
        )

    def _likely_next(self, lane: _Lane) -> str | None:
        """Return the test that the executor will probably run after this batch.

        The next of its lane; when that is empty one of the same module that waits elsewhere.
        """
        if lane.tasks:
            return lane.tasks[0].task_id
        same = (other for other in self._owned.values() if other.scope == lane.scope and other.tasks)
        return next((other.tasks[-1].task_id for other in same), None)
