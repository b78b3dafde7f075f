"""In which order the queue's lanes are begun."""

from __future__ import annotations

import math

from drm.resource_optimizer.kinds import Kind
from drm.resource_optimizer.lanes import Lane

_LONG_S = 0.1  # what is shorter is never worth leaving its module for
_LONG_SHARE = 0.04  # of what each executor has to do: begun last, a longer test would lengthen the run by that much
_URGENT_SHARE = 0.5


class Order:
    """The order that makes the run short: what takes long in one piece is begun first, the rest fills the gaps.

    Longest processing time first (Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Appl. Math. 17,
    1969) over the pieces of work that executors cannot share: long tests, groups, and what is behind a bottleneck (a
    lock, a counted resource, an amount of which the workers have little), which takes its sum over what can run of it
    side by side. Before that comes what few workers can run; what runs alone comes when there is nothing else.
    First of all comes what is tried again: it has waited its turn once. Tests of a later turn wait for those of the
    earlier, so that processes need not be changed for these.

    ``file_order``: as the tests were collected instead, as far as several executors can keep to it.
    """

    def __init__(self, executors: int, *, file_order: bool) -> None:
        self._executors = executors
        self._file_order = file_order

    def long_s(self, waiting_s: float) -> float:
        """Return the seconds above which a test is queued by itself: kept in its module it would lengthen the run."""
        return math.inf if self._file_order else max(_LONG_S, _LONG_SHARE * waiting_s / self._executors)

    def parts(self, lane: Lane, long_s: float) -> int:
        """Return into how many lanes a new one is cut: behind a bottleneck, for as many as get through at a time."""
        narrow = 1 < lane.kind.most < self._executors and lane.expected_s > long_s
        return min(lane.kind.most, len(lane.tasks)) if narrow else 1

    def of_lane(self, lane: Lane) -> tuple[float, ...]:
        position = lane.tasks[0].position
        rest = (position,) if self._file_order else (not lane.is_whole, -lane.expected_s, position)
        return (not lane.is_soon, *rest)

    def of_kind(self, kind: Kind) -> tuple[float, ...]:
        lane, needs = kind.fresh[0], kind.requirements
        if self._file_order:
            return (kind.is_serial, *self.of_lane(lane))
        return (
            self._turn(kind),
            kind.is_serial,
            not lane.is_soon,
            -needs.amounts.gpus,
            -len(needs.labels),
            -self._piece_s(lane),
            not needs.claims,
            *self.of_lane(lane),
        )

    def is_urgent(self, lane: Lane, present: Lane, waiting_s: float) -> bool:
        """Tell whether the lane must be begun before the present one goes on: it is to come soon, or would be the end
        of the run."""
        if self._turn(lane.kind) > self._turn(present.kind):
            return False
        if lane.is_soon or present.is_soon:
            return not present.is_soon
        limits = (self.long_s(waiting_s), _URGENT_SHARE * waiting_s / self._executors, self._piece_s(present))
        return self._piece_s(lane) > max(limits)

    def _turn(self, kind: Kind) -> int:
        return 0 if self._file_order else max(1, kind.requirements.turn)

    def _piece_s(self, lane: Lane) -> float:
        """Return how long the lane, or all of its kind, takes at least, however many executors there are."""
        kind = lane.kind
        behind_s = kind.waiting_s / kind.most if kind.most < self._executors else 0.0
        return max(behind_s, lane.expected_s if lane.is_whole else 0.0)
