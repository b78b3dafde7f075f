"""What waits, in lanes: the tests of one module that ask for the same, a long test by itself, or a group; and what is
cut off a lane for an executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from drm.model.claims import Claims
from drm.model.resources import Resources
from drm.model.work import Task
from drm.resource_optimizer.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tests for one executor, in order, under one reservation of ``amounts``; it holds their ``claims`` meanwhile."""

    tasks: tuple[Task, ...]
    amounts: Resources
    claims: Claims
    next_task: str | None
    expected_s: float


@dataclass(slots=True, eq=False)
class Lane:
    """``kind``: what its first test asks for; only those of a group may ask for different things.

    ``expected_s``: predicted seconds of its tests, as predicted when they were submitted. ``is_whole``: it is one piece
    of work, that only one executor can do whatever the others do: a long test or a group. ``is_soon``: it is begun
    before all others. ``owner``: the executor that works in it, or of a group, that will when its next test can run.
    """

    scope: str
    kind: Kind
    tasks: deque[Task] = field(default_factory=deque)
    expected_s: float = 0.0
    group: str | None = None  # never split, never stolen, always in collection order
    is_whole: bool = False
    is_soon: bool = False
    owner: str | None = None

    def put(self, task: Task) -> None:
        self.tasks.append(task)
        self._count(task.expected_s)

    def pop(self) -> Task:
        task = self.tasks.popleft()
        self._count(-task.expected_s)
        return task

    def _count(self, seconds: float) -> None:
        self.expected_s = max(0.0, self.expected_s + seconds)
        if self.group is None:
            self.kind.waiting_s = max(0.0, self.kind.waiting_s + seconds)

    def split(self, parts: int = 2) -> Lane:
        """Cut off the far one of so many equal parts of the work, as a lane of its own. Of several tests one stays."""
        part = Lane(self.scope, self.kind, is_soon=self.is_soon)
        enough_s = self.expected_s / parts - 1e-9
        while self.tasks and (not part.tasks or (len(self.tasks) > 1 and part.expected_s < enough_s)):
            task = self.tasks.pop()
            part.tasks.appendleft(task)
            part.expected_s += task.expected_s
        self.expected_s = max(0.0, self.expected_s - part.expected_s)
        return part


class OwnedLanes:
    """The lanes that executors work in: one each, found by executor and by scope."""

    def __init__(self) -> None:
        self._by_owner: dict[str, Lane] = {}
        self._by_scope: dict[str, dict[str, Lane]] = {}

    def get(self, executor_id: str) -> Lane | None:
        return self._by_owner.get(executor_id)

    def put(self, executor_id: str, lane: Lane) -> None:
        """Make it the executor's lane, instead of the one that it had."""
        self.drop(executor_id)
        self._by_owner[executor_id] = lane
        self._by_scope.setdefault(lane.scope, {})[executor_id] = lane

    def drop(self, executor_id: str) -> Lane | None:
        """Forget the executor's lane; return it."""
        lane = self._by_owner.pop(executor_id, None)
        if lane is not None:
            here = self._by_scope[lane.scope]
            del here[executor_id]
            if not here:
                del self._by_scope[lane.scope]
        return lane

    def values(self) -> Iterable[Lane]:
        return self._by_owner.values()

    def of_scope(self, scope: str) -> Iterable[Lane]:
        return self._by_scope.get(scope, {}).values()
