"""What has been seen of one test, and of many tests together."""

from __future__ import annotations

import math
from dataclasses import dataclass


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


class TestRecord:
    """One test: its last walls (oldest first), its largest memory, its cores busy on average."""

    __slots__ = ("cpu_s", "cpu_wall_s", "peak_rss_bytes", "samples", "walls")
    __test__ = False

    def __init__(self) -> None:
        self.walls: tuple[float, ...] = ()
        self.peak_rss_bytes = 0
        self.cpu_s = 0.0
        self.cpu_wall_s = 0.0
        self.samples = 0


class Totals:
    """Many attempts: counts and sums, for means and deviations."""

    __slots__ = ("measured", "peak_rss_bytes", "rss_bytes", "rss_squares", "samples", "wall_s")

    def __init__(self) -> None:
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
