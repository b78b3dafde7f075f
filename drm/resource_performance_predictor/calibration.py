"""How far off predictions are, and so how wide an interval has to be: pooled over tests, shrunk for each.

Split-conformal scores are kept of all tests together (Vovk et al. 2005), each divided by how far its own test's
predictions were off before. The level adapts to what was missed (Gibbs and Candès 2021).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

_BIN, _WIDEST = 0.02, 25.0  # of scores: predictions that were off by so many of their test's usual deviations
_BINS = round(2 * _WIDEST / _BIN)
_PRIOR = 4.0  # so many attempts' worth is a test's own deviation drawn to that of all
_STEP = 0.25  # of the level, per batch
_HALF = 200.0  # observations of which a batch is weighed as half a full one
_FORGET = 0.97  # what a score counts one batch later
_RECENT = 0.9  # what a deviation of a test counts one attempt later
_START = 0.31  # deviation (of the logarithm) before anything was seen: the interval is a factor of two either way


class Deviation:
    """How far off one test's predictions have been: mean absolute logarithm of what was over what was expected."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0.0

    def add(self, off: float) -> None:
        self.total = self.total * _RECENT + abs(off)
        self.count = self.count * _RECENT + 1.0


class Calibration:
    """The pool. ``observe`` what became of predictions; ``turn`` when all of a batch (a run) are in.

    Intervals are of factors: between ``low`` and ``high`` times what is expected.
    """

    def __init__(self, coverage: float = 0.9) -> None:
        self._miss = (1.0 - coverage) / 2
        self._levels = [self._miss, self._miss]  # what may be missed below and above
        self._counts = [0.0] * _BINS
        self._new = [0.0] * _BINS
        self._pool = Deviation()
        self._missed = [0, 0]
        self._batch = 0
        self._steps: list[float] = []
        self._bounds: tuple[float, float] | None = None
        self.samples = 0

    def deviation(self, own: Deviation | None) -> float:
        """Return the deviation to reckon with: a test's own, drawn to that of all."""
        pooled = (self._pool.total + _START) / (self._pool.count + 1.0)
        return pooled if own is None else (own.total + _PRIOR * pooled) / (own.count + _PRIOR)

    def interval(self, own: Deviation | None) -> tuple[float, float]:
        """Return the factors between which the next attempt lies, nine times in ten."""
        if self._bounds is None:
            self._bounds = (self.score(self._levels[0]), self.score(1.0 - self._levels[1]))
        wide = self.deviation(own)
        return math.exp(wide * self._bounds[0]), math.exp(wide * self._bounds[1])

    def factor(self, own: Deviation | None, level: float) -> float:
        """Return by how much the next attempt exceeds what is expected, at most, with this probability."""
        return math.exp(self.deviation(own) * self.score(level))

    def score(self, level: float) -> float:
        """Return the quantile of the pooled scores; that of a normal distribution, nearly, before there are any."""
        if self.samples < 2:
            return math.log(max(level, 1e-6) / max(1 - level, 1e-6)) * 0.75
        if not self._steps:
            self._steps = list(accumulate(self._counts))
        return (bisect_left(self._steps, min(max(level, 0.0), 1.0) * self._steps[-1]) + 0.5) * _BIN - _WIDEST

    def observe(self, off: float, own: Deviation) -> None:
        """Take the logarithm of what was over what had been expected, and learn the test's deviation."""
        score = off / self.deviation(own)
        bounds = self.interval(own)
        self._missed[0] += off < math.log(bounds[0])
        self._missed[1] += off > math.log(bounds[1])
        self._new[min(_BINS - 1, max(0, int((score + _WIDEST) / _BIN)))] += 1.0
        self._pool.add(off)
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
