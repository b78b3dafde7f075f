"""How far off predictions are, and so how wide an interval has to be: pooled over tests, shrunk for each.

Split-conformal scores are kept of all tests together (Vovk et al. 2005), each divided by how far its own test's
predictions were off before. The level adapts to what was missed (Gibbs and Candès 2021).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache
from itertools import accumulate, pairwise

_BIN, _WIDEST = 0.02, 25.0  # of scores: predictions that were off by so many of their test's usual deviations
_BINS = round(2 * _WIDEST / _BIN)
_PRIOR = 4.0  # so many attempts' worth is a test's own deviation drawn to that of all
_STEP = 0.25  # of the level, per batch
_HALF = 200.0  # observations of which a batch is weighed as half a full one
_FORGET = 0.97  # what a score counts one batch later
_RECENT, _RECENT_OF_ALL = 0.9, 0.999  # what a deviation of a test, and of all tests of its class, counts one later
_CLASS_PRIOR = 10.0  # so many predictions' worth is a class's deviation drawn to what it is taken to be at first
_START = 0.31  # deviation (of the logarithm) before anything was seen: the interval is a factor of two either way
_SCORES_AT_FIRST, _SCALE = 20.0, 0.75  # fewer scores do not tell what nine in ten are
_DRIFT = 0.08  # of the misses come of what changes from one batch to the next: so many fewer are aimed at
JITTER_S = 0.003  # a slice of a busy scheduler, or a collection of garbage: what may come on top of any duration


_LEAST = 1e-9


@cache
def _at_first() -> tuple[float, ...]:
    """Return the scores that a pool begins with: of a logistic distribution, nearly a normal one but for its tails."""
    steps = [1 / (1 + math.exp(-(place * _BIN - _WIDEST) / _SCALE)) for place in range(_BINS + 1)]
    return tuple(_SCORES_AT_FIRST * (after - before) for before, after in pairwise(steps))


def _class(expected: float) -> int:
    return math.frexp(max(expected, _LEAST))[1]


class Deviation:
    """How far off one test's predictions have been: mean absolute logarithm of what was over what was expected."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0.0

    def add(self, off: float, kept: float = _RECENT) -> None:
        self.total = self.total * kept + abs(off)
        self.count = self.count * kept + 1.0


class Calibration:
    """The pool. ``observe`` what became of predictions; ``turn`` when all of a batch (a run) are in.

    Intervals are of factors: between ``low`` and ``high`` times what is expected. Classes are of like expectations
    (from one power of two to the next): what is small is less sure. ``jitter``: what comes on top of anything, in the
    unit of expectations; it says how unsure a class is before any of it was seen.
    """

    def __init__(self, coverage: float = 0.9, *, jitter: float = 0.0) -> None:
        self._jitter = jitter
        self._miss = (1.0 - coverage) / 2 * (1.0 - _DRIFT)
        self._levels = [self._miss, self._miss]  # what may be missed below and above
        self._counts = list(_at_first())
        self._new = [0.0] * _BINS
        self._classes: dict[int, Deviation] = {}
        self._missed = [0, 0]
        self._batch = 0
        self._steps: list[float] = []
        self._bounds: tuple[float, float] | None = None
        self.samples = 0

    def deviation(self, own: Deviation | None, expected: float) -> float:
        """Return the deviation to reckon with: a test's own, drawn to that of its class."""
        start = _START + math.log1p(self._jitter / max(expected, _LEAST))
        of_class = self._classes.get(_class(expected))
        pooled = start
        if of_class is not None:
            pooled = (of_class.total + _CLASS_PRIOR * start) / (of_class.count + _CLASS_PRIOR)
        return pooled if own is None else (own.total + _PRIOR * pooled) / (own.count + _PRIOR)

    def interval(self, own: Deviation | None, expected: float = 1.0) -> tuple[float, float]:
        """Return the factors between which the next attempt lies, nine times in ten."""
        if self._bounds is None:
            self._bounds = (self.score(self._levels[0]), self.score(1.0 - self._levels[1]))
        wide = self.deviation(own, expected)
        return math.exp(wide * self._bounds[0]), math.exp(wide * self._bounds[1])

    def factor(self, own: Deviation | None, level: float, expected: float = 1.0) -> float:
        """Return by how much the next attempt exceeds what is expected, at most, with this probability."""
        return math.exp(self.deviation(own, expected) * self.score(level))

    def score(self, level: float) -> float:
        """Return the quantile of the pooled scores."""
        if not self._steps:
            self._steps = list(accumulate(self._counts))
        return (bisect_left(self._steps, min(max(level, 0.0), 1.0) * self._steps[-1]) + 0.5) * _BIN - _WIDEST

    def observe(self, off: float, own: Deviation, expected: float = 1.0) -> None:
        """Take the logarithm of what was over what had been expected, and learn the test's deviation."""
        score = off / self.deviation(own, expected)
        bounds = self.interval(own, expected)
        self._missed[0] += off < math.log(bounds[0])
        self._missed[1] += off > math.log(bounds[1])
        self._new[min(_BINS - 1, max(0, int((score + _WIDEST) / _BIN)))] += 1.0
        of_class = self._classes.get(_class(expected))
        if of_class is None:
            of_class = self._classes[_class(expected)] = Deviation()
        of_class.add(off, _RECENT_OF_ALL)
        own.add(off)
        self._batch += 1

    def turn(self) -> None:
        """End a batch: its scores count from now on, and the levels follow what it missed."""
        if not self._batch:
            return
        if self.samples:
            weight = _STEP * self._batch / (self._batch + _HALF)
            for side in (0, 1):
                missed = self._missed[side] / self._batch
                self._levels[side] = min(0.5, max(0.0, self._levels[side] + weight * (self._miss - missed)))
        self._counts = [old * _FORGET + new for old, new in zip(self._counts, self._new, strict=True)]
        self._new = [0.0] * _BINS
        self.samples += self._batch
        self._missed, self._batch, self._steps, self._bounds = [0, 0], 0, [], None
