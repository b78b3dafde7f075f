"""How many workers the work that is left is worth: by the target, by the longest test, by money. Pure arithmetic.

With n workers of s slots each, of which ``present`` are there or coming, work of R seconds ends in

    F(n) = max(L, (R / s + lag + (n - present) x b) / n)        seconds from now,

b: what a new worker takes to boot; lag: what those on their way still take, summed; L: no test that waits or runs ends
sooner. It is Graham's bound for list scheduling (1969, "Bounds on multiprocessing timing anomalies") with the boots as
work that is done first. Without L, F(n) = b + (A - present x b) / n with A = R / s + lag, so that the n-th worker saves

    F(n - 1) - F(n) = (A - present x b) / (n x (n - 1))         seconds,

and costs its price for the seconds in which it does no work: it boots, and it is idle before it goes. (The work itself
costs the same whoever does it.) The last worker worth adding is the largest n with value x saved >= price x unused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["UNBOUNDED", "Outlook"]

UNBOUNDED = 10**9  # workers: nothing here says that there are too many
_EXACT = 9  # digits: 2.0000000001 workers are two


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is left to do and who does it. ``work_s``: seconds of tests that wait and run, R. ``slots`` >= 1: s.

    ``present`` workers, ``pending_s``: what those on their way still take to boot, summed; ``boot_s``: b.
    ``longest_s``: L, from now; of a test that waits for the first worker, its boot included.
    """

    work_s: float
    slots: float
    present: int
    pending_s: float
    boot_s: float
    longest_s: float

    @property
    def ahead_s(self) -> float:
        """Worker-seconds until the work is done by those that are there or coming."""
        return self.work_s / self.slots + self.pending_s

    @property
    def movable_s(self) -> float:
        """Worker-seconds of it that new workers can still take over: what is left when they have booted."""
        return max(0.0, self.ahead_s - self.present * self.boot_s)

    def finish_s(self, workers: int) -> float:
        """Return F: seconds from now until all is done by so many workers; infinite where there is none for it."""
        if workers < 1:
            return math.inf if self.ahead_s > 0 else 0.0
        more_s = max(0, workers - self.present) * self.boot_s
        return max(self.longest_s, (self.ahead_s + more_s) / workers)

    def saved_s(self, workers: int) -> float:
        """Return by how much the last of so many workers makes the end come sooner; infinite for the first."""
        return self.finish_s(workers - 1) - self.finish_s(workers)

    def by_target(self, target_s: float) -> int:
        """Return the fewest workers with which all is done within the target. ``UNBOUNDED`` where boots take too
        long for any number to make it."""
        if self.ahead_s <= target_s * self.present:
            return _ceil(self.ahead_s / target_s)
        return self._with_boots(target_s)

    def by_longest(self) -> int:
        """Return the fewest workers with which nothing but the longest test keeps the end from coming sooner."""
        if self.longest_s <= 0:
            return UNBOUNDED
        if self.ahead_s <= self.longest_s * self.present:
            return _ceil(self.ahead_s / self.longest_s)
        return self._with_boots(self.longest_s)

    def _with_boots(self, within_s: float) -> int:
        if within_s <= self.boot_s:
            return UNBOUNDED if self.movable_s > 0 else self.present
        return max(self.present, _ceil(self.movable_s / (within_s - self.boot_s)))

    def by_value(self, value_of_time: float, price: float, unused_s: float) -> int:
        """Return how many workers are worth their cost, both in USD an hour: those there count as paid for.

        ``unused_s``: seconds for which one is paid and does nothing: it boots, and is idle at the end.
        """
        if price * unused_s <= 0 or math.isinf(value_of_time):
            return UNBOUNDED
        if self.movable_s <= 0:
            return self.present
        ratio = value_of_time * self.movable_s / (price * unused_s)
        return max(1, self.present, int(round(0.5 + math.sqrt(0.25 + ratio), _EXACT)))


def _ceil(workers: float) -> int:
    return math.ceil(round(workers, _EXACT))
