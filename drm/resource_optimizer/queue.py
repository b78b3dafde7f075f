"""The queue of tests that wait, and the choice of what an executor runs next.

The online half of the optimizer: list scheduling over *lanes*, in the order that ``order`` says. What an executor is
given shares fixtures and fits one reservation. An executor stays in its lane; one without a lane takes the
first that nobody works in; when there is none, it takes over the far half of the longest. The lane of a group stays
its executor's, also while its next test cannot run. Taking costs time in the number of kinds of requirements, not
of tests.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from drm.model.work import Task
from drm.resource_optimizer.admission import able_kinds, side_by_side_in
from drm.resource_optimizer.holdings import Holdings
from drm.resource_optimizer.kinds import Kind, Kinds, QueueSettings, Room
from drm.resource_optimizer.lanes import Batch, Lane, OwnedLanes
from drm.resource_optimizer.order import Order
from drm.resource_optimizer.turns import Turns

BATCH_S = 0.05  # short tests travel together, about this much work at a time
_LEAST_STOLEN_S = 0.01  # less is not worth setting its fixtures up twice


class WorkQueue:
    """Tests that wait, and what those that were given out hold of the run.

    ``expected`` gives the predicted seconds of a (task id, scope), as of now.
    """

    def __init__(self, expected: Callable[[str, str], float], settings: QueueSettings) -> None:
        self._expected = expected
        self._order = Order(settings.executors, file_order=settings.file_order)
        self._kinds = Kinds(settings)
        self._owned = OwnedLanes()
        self._groups: dict[str, Lane] = {}
        self._kept: dict[str, list[Lane]] = {}
        self._holdings = Holdings(settings.counted)
        self._turns = Turns()
        self._waiting = 0
        self._waiting_s = 0.0

    def __len__(self) -> int:
        return self._waiting

    def __iter__(self) -> Iterator[Task]:
        for lane in chain(*(kind.fresh for kind in self._kinds), self._owned.values(), *self._kept.values()):
            yield from lane.tasks

    def expected_s(self) -> float:
        """Return the predicted seconds of all that waits, as predicted when it was submitted."""
        return self._waiting_s

    # -- putting in

    def add(self, tasks: Iterable[Task], *, soon: bool = False) -> None:
        """Queue tests; equal ones of a scope in collection order. ``soon``: before all others, but for groups."""
        self._count(len(tasks := list(tasks)), sum(task.expected_s for task in tasks))
        long_s = self._order.long_s(self._waiting_s)
        lanes: dict[tuple[str, Kind, str], Lane] = {}
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            if task.requirements.group is not None:
                groups.setdefault(task.requirements.group, []).append(task)
                continue
            kind = self._kinds.of(task.requirements)
            is_long = task.expected_s > long_s
            key = (task.scope, kind, task.task_id if is_long else "")
            lane = lanes.get(key)
            if lane is None:
                lane = lanes[key] = Lane(task.scope, kind, is_whole=is_long, is_soon=soon)
            lane.put(task)
        for group, members in groups.items():
            self._add_to_group(group, members)
        for lane in lanes.values():
            for parts in range(self._order.parts(lane, long_s), 1, -1):
                if len(lane.tasks) > 1:
                    self._offer(lane.split(parts))
            self._offer(lane)

    def _add_to_group(self, group: str, members: list[Task]) -> None:
        """Queue tests of a group among those of it that wait, wherever they do."""
        lane = self._groups.get(group)
        if lane is None:
            kind = self._kinds.of(members[0].requirements)
            lane = self._groups[group] = Lane(f"group {group}", kind, group=group, is_whole=True)
        elif lane.owner is None:
            lane.kind.fresh.remove(lane)
        for task in members:
            lane.put(task)
        lane.tasks = deque(sorted(lane.tasks, key=lambda task: task.position))
        lane.kind = self._kinds.of(lane.tasks[0].requirements)
        if lane.owner is None:
            self._offer(lane)

    def _offer(self, lane: Lane) -> None:
        """Let whoever wants it work in the lane."""
        lane.owner = None
        insort(lane.kind.fresh, lane, key=self._order.of_lane)

    # -- giving out

    def take(self, executor_id: str, room: Room, *, share: int) -> Batch | None:
        """Return what the executor runs next in the room there is, or None.

        It holds the claims of the batch until ``release``. ``share``: executors that compete for what waits; near
        the end batches shrink so that all have work.
        """
        able = able_kinds(self._kinds, self._holdings, room, BATCH_S)
        opened = self._turns.open_to(executor_id, able)
        fresh = min((kind for kind in opened if kind.fresh), key=self._order.of_kind, default=None)
        lane = self._next_own(executor_id, able, fresh, room)
        if lane is None:
            lane = fresh.fresh.pop(0) if fresh is not None else self._stolen_lane(opened)
            if lane is None:
                return None
            self._own(executor_id, lane)
        batch = self._cut(lane, share)
        self._holdings.take(executor_id, batch.claims, batch.expected_s)
        return batch

    def _next_own(self, executor_id: str, able: list[Kind], fresh: Kind | None, room: Room) -> Lane | None:
        """Return the executor's lane to go on in: a group that can go on, else the one it is in unless that is over."""
        kept = self._kept.get(executor_id, [])
        for lane in [lane for lane in kept if not lane.kind.could_fit(room)]:
            kept.remove(lane)
            self._offer(lane)
        ready = next((lane for lane in kept if lane.kind in able), None)
        own = self._owned.get(executor_id)
        if ready is None and own is not None and self._goes_on(own, able, fresh):
            return own
        if own is not None and own.group is not None and own.tasks and own.kind.could_fit(room):
            self._owned.drop(executor_id)
            self._kept.setdefault(executor_id, []).append(own)
        else:
            self._leave_lane(executor_id)
        if ready is not None:
            kept.remove(ready)
            self._own(executor_id, ready)
        return ready

    def _own(self, executor_id: str, lane: Lane) -> None:
        lane.owner = executor_id
        self._owned.put(executor_id, lane)

    def more(self, executor_id: str, *, share: int) -> Batch | None:
        """Return a further batch for the executor, one that its present reservation covers, or None.

        From its own lane, or when that is empty from the first lane that asks for the same. A group, and what
        others may wait to hold, is given batch by batch: what comes back of one must run before the next. Nothing where
        the executor should look again for something else that it could run.
        """
        lane = self._owned.get(executor_id)
        if lane is None or lane.kind.requirements.claims or lane.group is not None:
            return None
        if self._kept.get(executor_id) or any(
            kind.fresh
            and (kind is not lane.kind or kind.fresh[0].is_soon)
            and self._holdings.admits(kind.requirements.claims)
            and self._order.is_urgent(kind.fresh[0], lane, self._waiting_s)
            for kind in self._kinds
        ):
            return None
        if not lane.tasks:
            fresh = lane.kind.fresh
            lane = next((other for other in fresh if other.group is None), None)
            if lane is None:
                return None
            fresh.remove(lane)
            self._own(executor_id, lane)
        return self._cut(lane, share)

    def startable(self, room: Room, *, most: int) -> int:
        """Return how many waiting tests could start side by side in this room, as far as ``most``.

        By executors that have nothing: to them, the group that another one works in is no work.
        """
        if not self._waiting or most < 1:
            return 0
        able = able_kinds(self._kinds, self._holdings, room, BATCH_S)
        fresh = chain(*(kind.fresh[:most] for kind in able))
        owned = (lane for lane in self._owned.values() if not lane.group and lane.tasks)
        return side_by_side_in(room.free, able, fresh, owned, most) if able else 0

    def least_cores(self) -> float:
        """Return the fewest cores that any test so far has asked for (1 where there was none)."""
        return self._kinds.least_cores

    def has_group(self, executor_id: str) -> bool:
        """Tell whether the rest of a group waits for this executor."""
        own = self._owned.get(executor_id)
        return bool(self._kept.get(executor_id)) or (own is not None and own.group is not None and bool(own.tasks))

    def is_past(self, executor_id: str, room: Room) -> bool:
        """Tell whether all that could start in the room must have run before what the executor has run already."""
        if not self._turns.of(executor_id) or self.has_group(executor_id):
            return False
        able = [kind for kind in able_kinds(self._kinds, self._holdings, room, BATCH_S) if kind.fresh]
        return bool(able) and not self._turns.open_to(executor_id, able)

    def admits_copy(self, executor_id: str, task: Task) -> bool:
        """Tell whether the executor may run another attempt at the test."""
        return task.requirements.turn in (0, self._turns.of(executor_id))

    def revise(self, revised: Callable[[Sequence[Task]], Sequence[Task]], scope: str | None = None) -> None:
        """Give waiting tests (of one scope, or all) the requirements that ``revised`` returns them with.

        Groups stay: what their tests ask for is looked at one by one, when it is their turn. So does what is next.
        """
        moved: list[Task] = []
        for lane in [*chain(*(kind.fresh for kind in self._kinds)), *self._owned.values()]:
            if lane.group is not None or lane.is_soon or not lane.tasks or scope not in (None, lane.scope):
                continue
            tasks = revised(lane.tasks)
            if any(self._kinds.of(task.requirements) is not lane.kind for task in tasks):
                moved += tasks
                self._count(-len(tasks), -sum(task.expected_s for task in lane.tasks))
                while lane.tasks:
                    lane.pop()
        for kind in self._kinds:
            kind.fresh = [lane for lane in kind.fresh if lane.tasks]
        self.add(sorted(moved, key=lambda task: task.position))

    def _count(self, tests: int, seconds: float) -> None:
        self._waiting += tests
        self._waiting_s = max(0.0, self._waiting_s + seconds) if self._waiting else 0.0

    def leave(self, executor_id: str) -> None:
        """The executor is no more, or is to end: others may have its lanes."""
        self._turns.forget(executor_id)
        self._leave_lane(executor_id)
        for lane in self._kept.pop(executor_id, ()):
            self._offer(lane)

    def _leave_lane(self, executor_id: str) -> None:
        lane = self._owned.drop(executor_id)
        if lane is not None and lane.tasks:
            self._offer(lane)
        elif lane is not None and lane.group is not None:
            del self._groups[lane.group]

    def release(self, executor_id: str) -> bool:
        """The executor has ended all its batches: give back what it held; tell whether others may want it."""
        return self._holdings.release(executor_id)

    def _goes_on(self, lane: Lane, able: list[Kind], fresh: Kind | None) -> bool:
        """Tell whether the owner of the lane should stay in it."""
        if not lane.tasks or lane.kind not in able:
            return False
        if lane.group is not None or fresh is None:
            return True
        return not self._order.is_urgent(fresh.fresh[0], lane, self._waiting_s)

    def _stolen_lane(self, able: list[Kind]) -> Lane | None:
        """Cut the far half off the longest lane somebody else works in."""
        lanes = (
            lane
            for lane in self._owned.values()
            if lane.tasks and lane.group is None and lane.expected_s >= _LEAST_STOLEN_S and lane.kind in able
        )
        longest = max(lanes, key=lambda lane: lane.expected_s, default=None)
        return longest.split() if longest is not None else None

    def _cut(self, lane: Lane, share: int) -> Batch:
        """Take a batch from the head of the lane: at least one test, at most BATCH_S or a fair part of the rest."""
        most = max(1, self._waiting // (2 * max(1, share)))
        tasks: list[Task] = []
        expected_s = 0.0
        kind = lane.kind
        while lane.tasks and len(tasks) < most:
            following = lane.tasks[0]
            seconds = self._expected(following.task_id, following.scope)
            if tasks and expected_s + seconds > BATCH_S:
                break
            if lane.group is not None and self._kinds.of(following.requirements) is not kind:
                break
            expected_s += seconds
            tasks.append(lane.pop())
        self._count(-len(tasks), -sum(task.expected_s for task in tasks))
        self._turns.reach(lane.owner, kind.requirements.turn)
        if lane.group is not None and lane.tasks:
            lane.kind = self._kinds.of(lane.tasks[0].requirements)
        return Batch(
            tasks=tuple(tasks),
            amounts=kind.requirements.amounts,
            claims=kind.requirements.claims,
            next_task=self._likely_next(lane),
            expected_s=expected_s,
        )

    def _likely_next(self, lane: Lane) -> str | None:
        """Return the test that probably follows: the next of the lane, else one of its module that waits elsewhere."""
        if lane.tasks:
            return lane.tasks[0].task_id
        others = self._owned.of_scope(lane.scope)
        return next((other.tasks[-1].task_id for other in others if other.tasks), None)
