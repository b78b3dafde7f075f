"""How much of a worker is reserved and used, averaged over a sliding window of time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

_MARKS_PER_WINDOW = 12

Amounts = tuple[int, int, int]
"""Exact integers: thousandths of a core, bytes, thousandths of a gpu."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilization:
    """Fractions of what was allocatable at the time (0 to 1; ``used`` can pass 1), averaged over ``window_s`` seconds.

    A worker that has none of a resource counts as 0 of it.
    """

    cpu_reserved: float = 0.0
    memory_reserved: float = 0.0
    gpu_reserved: float = 0.0
    cpu_used: float = 0.0
    memory_used: float = 0.0
    gpu_used: float = 0.0
    window_s: float = 0.0

    @property
    def fullest(self) -> tuple[str, float]:
        """Return the resource of which most is reserved, and how much: the one that limits."""
        rows = (("cpu", self.cpu_reserved), ("memory", self.memory_reserved), ("gpu", self.gpu_reserved))
        return max(rows, key=itemgetter(1))


UNUSED = Utilization()


class Meter:
    """Adds up amount x time for one worker: six step functions, three reserved and three used.

    A mark of the sums is kept every twelfth of the window, so the average covers
    the window to within a twelfth, at constant cost per change.
    """

    __slots__ = ("_marks", "_reserved", "_sums", "_used", "_window_s", "at_s")

    def __init__(self, now_s: float, window_s: float) -> None:
        self.at_s = now_s
        self._window_s = window_s
        self._reserved: Amounts = (0, 0, 0)
        self._used: Amounts = (0, 0, 0)
        self._sums = [0.0] * 6
        self._marks: deque[tuple[float, tuple[float, ...]]] = deque([(now_s, (0.0,) * 6)])

    def reserve(self, now_s: float, reserved: Amounts) -> None:
        """From ``now_s`` on, this much is reserved."""
        self.advance(now_s)
        self._reserved = reserved

    def use(self, now_s: float, used: Amounts) -> None:
        """From ``now_s`` on, this much is used."""
        self.advance(now_s)
        self._used = used

    def advance(self, now_s: float) -> None:
        """Count the time up to ``now_s``; a clock that went back counts nothing."""
        step_s = now_s - self.at_s
        if not 0.0 < step_s < math.inf:
            return
        sums = self._sums
        cpu, memory, gpu = self._reserved
        sums[0] += cpu * step_s
        sums[1] += memory * step_s
        sums[2] += gpu * step_s
        cpu, memory, gpu = self._used
        sums[3] += cpu * step_s
        sums[4] += memory * step_s
        sums[5] += gpu * step_s
        self.at_s = now_s
        marks = self._marks
        if now_s - marks[-1][0] >= self._window_s / _MARKS_PER_WINDOW:
            marks.append((now_s, tuple(sums)))
            while len(marks) > 1 and marks[1][0] <= now_s - self._window_s:
                marks.popleft()

    def resize(self, now_s: float, before: Amounts, after: Amounts) -> None:
        """From ``now_s`` on ``after`` is allocatable, where ``before`` was.

        What is averaged is the share of what was allocatable at the time. The past is kept in parts of what is
        allocatable now, so that a worker that shrinks was not used more than in whole.
        """
        self.advance(now_s)
        factors = [new / old if old else 0.0 for old, new in zip(before, after, strict=True)] * 2
        self._sums = [amount * factor for amount, factor in zip(self._sums, factors, strict=True)]
        self._marks = deque(
            (at_s, tuple(amount * factor for amount, factor in zip(sums, factors, strict=True)))
            for at_s, sums in self._marks
        )

    def means(self) -> tuple[float, tuple[float, ...]]:
        """Return (seconds covered, the six averages); the present levels when no time has passed."""
        since_s, before = self._marks[0]
        covered_s = self.at_s - since_s
        if covered_s <= 0:
            return 0.0, tuple(float(amount) for amount in self._reserved + self._used)
        now = self._sums
        return covered_s, (
            (now[0] - before[0]) / covered_s,
            (now[1] - before[1]) / covered_s,
            (now[2] - before[2]) / covered_s,
            (now[3] - before[3]) / covered_s,
            (now[4] - before[4]) / covered_s,
            (now[5] - before[5]) / covered_s,
        )


def utilization_of(rows: Iterable[tuple[Amounts, Meter]]) -> Utilization:
    """Return the utilization of some workers together: (allocatable, meter) each, weighted by capacity."""
    wholes = [0.0] * 3
    parts = [0.0] * 6
    window_s = 0.0
    for allocatable, meter in rows:  # thousands of them, at every decision: no lists are made on the way
        covered_s, means = meter.means()
        if covered_s > window_s:
            window_s = covered_s
        wholes[0] += allocatable[0]
        wholes[1] += allocatable[1]
        wholes[2] += allocatable[2]
        parts[0] += means[0]
        parts[1] += means[1]
        parts[2] += means[2]
        parts[3] += means[3]
        parts[4] += means[4]
        parts[5] += means[5]
    shares = [part / whole if whole > 0 else 0.0 for part, whole in zip(parts, wholes * 2, strict=True)]
    return Utilization(
        cpu_reserved=shares[0],
        memory_reserved=shares[1],
        gpu_reserved=shares[2],
        cpu_used=shares[3],
        memory_used=shares[4],
        gpu_used=shares[5],
        window_s=window_s,
    )
