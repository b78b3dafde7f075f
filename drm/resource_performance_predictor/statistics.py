"""What has been seen of one test, and of many tests together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from drm.model.work import Outcome
from drm.resource_performance_predictor.costs import CostSettings, next_reservation
from drm.resource_performance_predictor.families import Family, size_in


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorStatistics:
    """What the predictor knows.

    ``learnt`` attempts came from history, ``recorded`` from this run; ``censored``
    of all of them ended without an outcome, so that only their memory counts.
    ``mean_wall_s`` (seconds) and ``peak_rss_bytes`` are over all attempts seen.
    """

    tests: int
    scopes: int
    learnt: int
    recorded: int
    censored: int
    mean_wall_s: float
    peak_rss_bytes: int


_UNSORTED = 256
_MARGINS = (1.1, 1.05, 1.02)  # of the largest seen
_MARGINS_FROM = 5  # samples
_MEDIAN_FROM = 5
_CONSTANT_OF, _CONSTANT_MARGIN = 20, 1.02  # newest peaks; the least of the margins
_CONSTANT_FROM_BYTES = 64 * 2**20  # below, what a constant could save is not worth the asking


class TestRecord:
    """One test: its last walls (oldest first) and those that passed, its largest memory, its cores busy on average.

    From five attempts on it keeps count of what each margin on the largest peak would have cost (bytes too many; all of
    the next attempt for too few), and has the one that cost least. So has, of a test that needs much, the constant
    that would have cost least so far: of one that once needed far more than ever since, it is less than the largest.
    """

    __slots__ = (
        *("begun_with", "constants", "costs", "cpu_s", "cpu_wall_s", "gpu_bytes", "is_changed", "is_of_run", "kills"),
        *("passed", "peak_rss_bytes", "samples", "unjudged", "walls", "wanted_bytes"),
    )
    __test__ = False

    def __init__(self) -> None:
        self.walls: tuple[float, ...] = ()
        self.passed: tuple[float, ...] = ()
        self.peak_rss_bytes = 0
        self.cpu_s = 0.0
        self.cpu_wall_s = 0.0
        self.samples = 0
        self.costs: list[float] | None = None
        self.unjudged: tuple[tuple[int, int], ...] = ()  # the largest peak until then, and what was used
        self.begun_with: Sequence[int] = ()  # peaks that have judged nothing so far
        self.constants: Constant | None = None
        self.gpu_bytes = 0
        self.kills = 0  # for memory, since an attempt ended well
        self.wanted_bytes = 0  # since it was killed for memory, until an attempt ends well
        self.is_changed = False  # since what is known of it
        self.is_of_run = False  # something of this run is known of it

    def begin(
        self,
        walls: Sequence[float],
        cpus: Sequence[float],
        peaks: Sequence[int],
        outcomes: Sequence[Outcome],
        cpu_from_s: float,
    ) -> None:
        """Take over all that is known of the test, oldest first; cpu time counts from so many seconds on."""
        self.samples = len(walls)
        self.walls = self.passed = tuple(walls[-3:])
        if outcomes.count(Outcome.PASSED) < len(outcomes):
            both = zip(walls, outcomes, strict=True)
            self.passed = tuple([wall_s for wall_s, outcome in both if outcome is Outcome.PASSED][-3:])
        if max(walls) >= cpu_from_s:
            long = [(wall_s, cpu_s) for wall_s, cpu_s in zip(walls, cpus, strict=True) if wall_s >= cpu_from_s]
            self.cpu_wall_s, self.cpu_s = sum(wall_s for wall_s, _ in long), sum(cpu_s for _, cpu_s in long)
        self.peak_rss_bytes = max(peaks)
        self.begun_with = peaks

    def finish(self, wall_s: float, cpu_s: float, cpu_from_s: float, *, passed: bool) -> None:
        """Count an attempt that ended by itself; cpu time counts from so many seconds on."""
        self.samples += 1
        self.kills = self.wanted_bytes = 0
        self.walls = (*self.walls[-2:], wall_s)
        if passed:
            self.passed = (*self.passed[-2:], wall_s)
        if wall_s >= cpu_from_s:
            self.cpu_s += cpu_s
            self.cpu_wall_s += wall_s

    def killed(self, reserved_bytes: int, limit_bytes: int) -> None:
        """Note a kill for memory: the next attempt gets more (``costs.next_reservation``)."""
        self.kills += 1
        limit = limit_bytes or math.inf
        self.wanted_bytes = math.ceil(next_reservation(reserved_bytes, self.peak_rss_bytes, self.kills, limit))

    def expected_s(self) -> float:
        """Return the seconds of the next attempt: those of the last one; the median of the last three from five on."""
        return expected_of(self.walls, self.samples)

    def judge(self, rss_bytes: int, penalty: float) -> None:
        """Count what each margin would have cost, given what an attempt then used; before that is learnt."""
        if rss_bytes and self.peak_rss_bytes:
            self.unjudged = (*self.unjudged, (self.peak_rss_bytes, rss_bytes))
            if self.samples >= _MARGINS_FROM:
                self._count_costs(penalty)

    def _count_costs(self, penalty: float) -> None:
        costs = self.costs or [0.0] * len(_MARGINS)
        largest_until = list(accumulate(self.begun_with, max))
        begun = [pair for pair in zip(largest_until[1:], self.begun_with[2:], strict=False) if all(pair)]
        for largest, used in (*begun, *self.unjudged):
            if self.constants is None and largest >= _CONSTANT_FROM_BYTES:
                self.constants = Constant(penalty, min(costs), largest)
            costs = [
                cost + cost_of(largest * margin, used, penalty) for cost, margin in zip(costs, _MARGINS, strict=True)
            ]
            if self.constants is not None:
                self.constants.judge(used)
        self.costs, self.unjudged, self.begun_with = costs, (), ()

    def reservation(self, usual: float, penalty: float) -> float:
        """Return bytes to reserve: ``usual`` times the largest peak while few attempts are known."""
        if self.samples < _MARGINS_FROM:
            return self.peak_rss_bytes * usual
        constant, margin = self._cheapest(usual, penalty)
        return constant.best() if constant is not None else self.peak_rss_bytes * margin

    def rule(self, usual: float, penalty: float) -> str:
        """Return what ``reservation`` goes by, in words."""
        constant, margin = self._cheapest(usual, penalty) if self.samples >= _MARGINS_FROM else (None, usual)
        if constant is not None:
            return f"the constant that would have cost least in its {self.samples} attempts"
        of = f"the largest of its {self.samples} attempts" if self.samples != 1 else "that of its only attempt"
        return f"{of} and {margin - 1:.0%}"

    def _cheapest(self, usual: float, penalty: float) -> tuple[Constant | None, float]:
        """Return the constant, if that has cost least, and the margin that has."""
        if self.unjudged or self.begun_with:
            self._count_costs(penalty)
        if self.costs is None:
            return None, usual
        least = min(self.costs)
        leads = self.constants is not None and self.constants.cost < least
        return self.constants if leads else None, _MARGINS[self.costs.index(least)]


class Constant:
    """The constant that would have cost least over the newest peaks, judged anew before each is learnt.

    It begins with the ``first`` peak that is worth it, and with the ``cost`` of the best margin until then.
    """

    __slots__ = ("_peaks", "_penalty", "cost")

    def __init__(self, penalty: float, cost: float, first: int) -> None:
        self._peaks = deque([first], maxlen=_CONSTANT_OF)
        self._penalty = penalty
        self.cost = cost

    def judge(self, used: int) -> None:
        """Count what it would have cost for an attempt that used so much; then learn that."""
        self.cost += cost_of(self.best(), used, self._penalty)
        self._peaks.append(used)

    def best(self) -> float:
        offers = [peak * _CONSTANT_MARGIN for peak in {*self._peaks}]
        return min(offers, key=lambda offer: (sum(cost_of(offer, used, self._penalty) for used in self._peaks), offer))


def cost_of(offered: float, used: float, penalty: float) -> float:
    """Return the bytes too many; of too few, those of the attempt and the next one's, and the penalty."""
    return offered - used if offered >= used else (2 + penalty) * used


class Totals:
    """Many attempts: counts and sums, for means and deviations.

    Of a function's: ``unsorted`` are the newest (task id, seconds, bytes) of which the sizes have not been read yet.
    """

    __slots__ = (
        *(
            "family",
            "gpu_bytes",
            "measured",
            "peak_rss_bytes",
            "peaks",
            "ranked",
            "rss_bytes",
            "rss_squares",
            "samples",
        ),
        *("unsorted", "wall_s"),
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
        self.gpu_bytes = 0
        self.peaks: list[int] = []  # sorted when they are asked for
        self.ranked = 0  # so many were, then

    def add(self, wall_s: float, rss_bytes: int, gpu_bytes: int = 0) -> None:
        """Count one finished attempt; memory of 0 means that it was not measured."""
        self.samples += 1
        if gpu_bytes > self.gpu_bytes:
            self.gpu_bytes = gpu_bytes
        self.wall_s += wall_s
        if rss_bytes:
            self.measured += 1
            self.rss_bytes += rss_bytes
            self.rss_squares += rss_bytes * rss_bytes
            self.peaks.append(rss_bytes)
            if rss_bytes > self.peak_rss_bytes:
                self.peak_rss_bytes = rss_bytes

    def add_all(self, walls: Sequence[float], peaks: Sequence[int]) -> None:
        """Count many finished attempts."""
        self.samples += len(walls)
        self.wall_s += sum(walls)
        self.measured += len(peaks) - peaks.count(0)
        self.rss_bytes += sum(peaks)
        self.rss_squares += sum(map(mul, peaks, peaks))
        self.peaks += filter(None, peaks)
        self.peak_rss_bytes = max(self.peak_rss_bytes, *peaks, 0)

    def sized(self, costs: CostSettings) -> Family | None:
        """Return what is known by size, with all of ``unsorted``; None where no test of the function has a size."""
        while self.unsorted:
            task_id, wall_s, rss_bytes = self.unsorted.popleft()
            size = size_in(task_id)
            if size is not None:
                if self.family is None:
                    self.family = Family(costs)
                self.family.learn(size, rss_bytes, wall_s)
        return self.family

    def memory_quantile(self, margin: float) -> float:
        """Return bytes that few further tests will pass: ``margin`` times the median, or two standard deviations above
        the mean if that is more. By Cantelli's inequality at most one in five passes the latter, whatever the
        distribution.
        """
        mean = self.rss_bytes / self.measured
        variance = max(0.0, self.rss_squares / self.measured - mean * mean)
        if self.ranked != len(self.peaks):
            self.peaks.sort()  # little work where most were sorted before
            self.ranked = len(self.peaks)
        return max(median(self.peaks) * margin, mean + 2 * math.sqrt(variance))


def median(ranked: Sequence[float]) -> float:
    """Return the median of sorted values."""
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


def expected_of(walls: tuple[float, ...], samples: int) -> float:
    """Return the seconds to expect after ``samples`` attempts, of which ``walls`` are the last, oldest first."""
    return walls[-1] if samples < _MEDIAN_FROM else median_of_last(walls[-3:])


def median_of_last(walls: tuple[float, ...]) -> float:
    """Return the median of up to three values: one slow attempt does not change it."""
    if len(walls) == 3:
        first, second, third = walls
        return max(min(first, second), min(max(first, second), third))
    return sum(walls) / len(walls)
