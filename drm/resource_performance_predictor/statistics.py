"""What has been seen of one test, and of many tests together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from drm.resource_performance_predictor.families import Family, size_in


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorStatistics:
    """What the predictor knows.

    ``learnt`` attempts came from history, ``recorded`` from this run; ``censored``
    of all of them ended without an outcome, so that only their memory counts.
    ``mean_wall_s`` (seconds) and ``peak_rss_bytes`` are over all attempts seen.
    """

    tests: int = 0
    scopes: int = 0
    learnt: int = 0
    recorded: int = 0
    censored: int = 0
    mean_wall_s: float = 0.0
    peak_rss_bytes: int = 0


_UNSORTED = 256
_MARGINS = (1.1, 1.05, 1.02)  # of the largest seen
_MARGINS_FROM = 5  # samples
_PENALTY = 0.5  # as for families of tests: ``experts.CostSettings``


class TestRecord:
    """One test: its last walls (oldest first), its largest memory, its cores busy on average.

    From five attempts on it keeps count of what each margin on the largest peak would have cost (bytes too many; all of
    the next attempt for too few), and has the one that cost least.
    """

    __slots__ = (
        *("begun_with", "costs", "cpu_s", "cpu_wall_s", "is_changed", "peak_rss_bytes", "samples", "unjudged", "walls"),
        "wanted_bytes",
    )
    __test__ = False

    def __init__(self) -> None:
        self.walls: tuple[float, ...] = ()
        self.peak_rss_bytes = 0
        self.cpu_s = 0.0
        self.cpu_wall_s = 0.0
        self.samples = 0
        self.costs: list[float] | None = None
        self.unjudged: tuple[tuple[int, int], ...] = ()  # the largest peak until then, and what was used
        self.begun_with: Sequence[int] = ()  # peaks that have judged nothing so far
        self.wanted_bytes = 0  # since it was killed for memory, until an attempt ends well
        self.is_changed = False  # since what is known of it

    def begin(self, walls: Sequence[float], cpus: Sequence[float], peaks: Sequence[int], cpu_from_s: float) -> None:
        """Take over all that is known of the test, oldest first; cpu time counts from so many seconds on."""
        self.samples = len(walls)
        self.walls = tuple(walls[-3:])
        if max(walls) >= cpu_from_s:
            long = [(wall_s, cpu_s) for wall_s, cpu_s in zip(walls, cpus, strict=True) if wall_s >= cpu_from_s]
            self.cpu_wall_s, self.cpu_s = sum(wall_s for wall_s, _ in long), sum(cpu_s for _, cpu_s in long)
        self.peak_rss_bytes = max(peaks)
        self.begun_with = peaks

    def judge(self, rss_bytes: int) -> None:
        """Count what each margin would have cost, given what an attempt then used; before that is learnt."""
        if rss_bytes and self.peak_rss_bytes:
            self.unjudged = (*self.unjudged, (self.peak_rss_bytes, rss_bytes))
            if self.samples >= _MARGINS_FROM:
                self._count_costs()

    def _count_costs(self) -> None:
        costs = self.costs or [0.0] * len(_MARGINS)
        largest_until = list(accumulate(self.begun_with, max))
        begun = [pair for pair in zip(largest_until[1:], self.begun_with[2:], strict=False) if all(pair)]
        for largest, used in (*begun, *self.unjudged):
            costs = [
                cost + (largest * margin - used if largest * margin >= used else (2 + _PENALTY) * used)
                for cost, margin in zip(costs, _MARGINS, strict=True)
            ]
        self.costs, self.unjudged, self.begun_with = costs, (), ()

    def margin(self, usual: float) -> float:
        """Return the factor on the largest peak: the ``usual`` one while few attempts are known."""
        if self.samples < _MARGINS_FROM:
            return usual
        if self.unjudged or self.begun_with:
            self._count_costs()
        return _MARGINS[self.costs.index(min(self.costs))] if self.costs is not None else usual


class Totals:
    """Many attempts: counts and sums, for means and deviations.

    Of a function's: ``unsorted`` are the newest (task id, seconds, bytes) of which the sizes have not been read yet.
    """

    __slots__ = (
        *("family", "measured", "peak_rss_bytes", "rss_bytes", "rss_squares", "samples", "unsorted", "wall_s"),
    )

    def __init__(self) -> None:
        self.family: Family | None = None
        self.unsorted: deque[tuple[str, float, int]] = deque(maxlen=_UNSORTED)
        self.samples = 0
        self.wall_s = 0.0
        self.measured = 0
        self.rss_bytes = 0
        self.rss_squares = 0
        self.peak_rss_bytes = 0

    def add(self, wall_s: float, rss_bytes: int) -> None:
        """Count one finished attempt; memory of 0 means that it was not measured."""
        self.samples += 1
        self.wall_s += wall_s
        if rss_bytes:
            self.measured += 1
            self.rss_bytes += rss_bytes
            self.rss_squares += rss_bytes * rss_bytes
            if rss_bytes > self.peak_rss_bytes:
                self.peak_rss_bytes = rss_bytes

    def add_all(self, walls: Sequence[float], peaks: Sequence[int]) -> None:
        """Count many finished attempts."""
        self.samples += len(walls)
        self.wall_s += sum(walls)
        self.measured += len(peaks) - peaks.count(0)
        self.rss_bytes += sum(peaks)
        self.rss_squares += sum(map(mul, peaks, peaks))
        self.peak_rss_bytes = max(self.peak_rss_bytes, *peaks, 0)

    def merge(self, other: Totals) -> None:
        """Count what the other has counted."""
        self.samples += other.samples
        self.wall_s += other.wall_s
        self.measured += other.measured
        self.rss_bytes += other.rss_bytes
        self.rss_squares += other.rss_squares
        self.peak_rss_bytes = max(self.peak_rss_bytes, other.peak_rss_bytes)

    def sized(self) -> Family | None:
        """Return what is known by size, with all of ``unsorted``; None where no test of the function has a size."""
        while self.unsorted:
            task_id, wall_s, rss_bytes = self.unsorted.popleft()
            size = size_in(task_id)
            if size is not None:
                if self.family is None:
                    self.family = Family()
                self.family.learn(size, rss_bytes, wall_s)
        return self.family

    def memory_quantile(self, margin: float) -> float:
        """Return bytes that few further tests will pass: ``margin`` times the mean, or two standard deviations above
        it if that is more. By Cantelli's inequality at most one in five passes the latter, whatever the distribution.
        """
        mean = self.rss_bytes / self.measured
        variance = max(0.0, self.rss_squares / self.measured - mean * mean)
        return max(mean * margin, mean + 2 * math.sqrt(variance))


def median_of_last(walls: tuple[float, ...]) -> float:
    """Return the median of up to three values: one slow attempt does not change it."""
    if len(walls) == 3:
        first, second, third = walls
        return max(min(first, second), min(max(first, second), third))
    return sum(walls) / len(walls)
