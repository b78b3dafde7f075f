"""Memory of a family of tests that differ in a number: many simple guesses, and the ones that have cost least.

A family is a test function with its parameters, or a process of a workflow; the number is a size. Every
expert guesses from past (size, peak) pairs. What it is multiplied by, or what is added to it, is what would have
cost least so far. Then follow the leaders: the mean of the ten that have cost least, each guess judged before its
peak was known (prequential: Dawid 1984; follow the leader: Cesa-Bianchi and Lugosi 2006).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drm.resource_performance_predictor.boosting import Booster
from drm.resource_performance_predictor.costs import CostSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_BASES = ("max", "constant", "kNN", "largest of kNN", "linear", "log-linear")
_OFFSETS = ("constant", "kNN", "linear", "largest of kNN")  # of these also the variant that adds instead of multiplying
_SLACKS = (0.002, 0.01, 0.03)
_FITTED_EVERY = 32
_WINDOW = 256
_CANDIDATES = 32
_NEAREST, _LARGEST_OF = 3, 5
_MARGIN = 1.1  # of the expert that all begin with: the largest seen, and a tenth
_NEAR = 2.0  # who has cost more than so many times the least is not followed
_OWN_FROM = 5  # samples


class SizedMemory:
    """Learns (size, peak bytes, seconds) and says what to reserve for a size. Keeps the newest 256.

    ``learn`` and ``predict`` are no more than a few numpy calls each; numpy is imported when one is made.
    """

    def __init__(self, settings: CostSettings | None = None) -> None:
        import numpy

        self._np = numpy
        self._settings = settings or CostSettings()
        self._booster = Booster(self._settings.decay) if self._settings.boosted else None
        self._names = _BASES
        self._plus = [self._names.index(name) for name in _OFFSETS]
        experts = len(self._names) + len(self._plus)
        self._x = self._y = self._t = numpy.empty(0)
        self._guesses = numpy.empty((len(self._names), 0))  # of every sample, made before its peak was known
        self._costs = numpy.zeros((experts, len(_SLACKS)))
        self._plain_cost = 0.0
        self._times = numpy.ones((len(self._names), len(_SLACKS)))
        self._added = numpy.zeros((len(self._plus), len(_SLACKS)))
        self._off = numpy.zeros(len(self._names))  # of each guess: absolute logarithm of what was over what was guessed
        self._fit_due = 0
        self.samples = 0

    @property
    def sizes_vary(self) -> bool:
        return bool(self.samples) and bool(self._x.max() > self._x.min())

    @property
    def leader(self) -> str:
        """The expert that has cost least, in words."""
        if self._booster is not None and self._booster.leads:
            return "LightGBM, a quantile times a factor"
        best = int(self._costs.min(axis=1).argmin())
        if self.samples < _OWN_FROM or self._plain_cost <= self._costs[best].min():
            return "the largest seen, and a tenth"
        names = self._names
        return (
            f"{names[best]}, times a factor" if best < len(names) else f"{names[self._plus[best - len(names)]]}, plus"
        )

    def learn(self, size: float, peak_bytes: float, seconds: float, limit: float) -> None:
        """Take one finished attempt. ``limit``: bytes of the largest worker."""
        np = self._np
        if self.samples:
            guesses = self._guess(size)
            bids, plain = self._bids(guesses, limit)
            if self._booster is not None:
                largest = self._y.max()
                self._booster.judge(
                    size,
                    self._followed(bids, plain),
                    lambda offers: self._cost(np.array(offers), peak_bytes, seconds, largest, limit),
                )
            self._judge(bids, plain, peak_bytes, seconds, limit)
            off = np.abs(np.log(peak_bytes / guesses))
            self._off = self._off * self._settings.decay + off
        else:
            guesses = np.full(len(self._names), peak_bytes)
        self._x, self._y, self._t = (
            np.append(kept, value)[-_WINDOW:]
            for kept, value in ((self._x, size), (self._y, peak_bytes), (self._t, max(seconds, 1e-6)))
        )
        self._guesses = np.column_stack((self._guesses, guesses))[:, -_WINDOW:]
        self.samples += 1
        if self._booster is not None:
            self._booster.learn(self._x, self._y)
        self._fit(limit)

    def predict(self, size: float, limit: float) -> float:
        """Return bytes to reserve for an attempt of this size: at least half the least seen, at most twice the most."""
        bids, plain = self._bids(self._guess(size), limit)
        boosted = self._booster.offer(size) if self._booster is not None else float("inf")
        if boosted < float("inf"):
            return float(self._np.clip(boosted, *self._bounds(limit)))
        return self._followed(bids, plain)

    def _followed(self, bids: Floats, plain: float) -> float:
        """Return what the leaders offer: with few samples, the plain rule."""
        if self.samples < _OWN_FROM:
            return plain
        np = self._np
        costs = np.append(self._costs.ravel(), self._plain_cost)
        offers = np.append(bids.ravel(), plain)
        leaders = np.argsort(costs, kind="stable")[: self._settings.leaders]
        followed = offers[leaders[costs[leaders] <= _NEAR * costs[leaders[0]]]]
        return float(followed.max() if self._settings.cautious else followed.mean())

    def expect(self, size: float) -> float:
        """Return the peak to expect, in bytes: what the expert makes of it that has been nearest so far."""
        return float(self._guess(size)[self._off.argmin()])

    def _guess(self, size: float) -> Floats:
        """Return what each expert makes of this size, with no factor."""
        np = self._np
        x, y = self._x, self._y
        log_x, log_size = np.log1p(x), float(np.log1p(size))
        nearest = y[np.argsort(np.abs(log_x - log_size), kind="stable")[:_LARGEST_OF]]
        guesses = [
            y.max(),
            np.median(y),
            nearest[:_NEAREST].mean(),
            nearest.max(),
            _line(x, y, size),
            float(np.exp(min(_line(log_x, np.log(y), log_size), 60.0))),
        ]
        clipped: Floats = np.clip(np.array(guesses), y.min() / 2, 2 * guesses[0])
        return clipped

    def _bids(self, guesses: Floats, limit: float) -> tuple[Floats, float]:
        """Return every expert's offer at every slack, and that of the plain rule."""
        np = self._np
        largest = self._y.max()
        lowest, highest = self._bounds(limit)
        slack = np.array(_SLACKS)
        times = guesses[:, None] * self._times * (1 + slack)
        plus = guesses[self._plus][:, None]
        added = plus + self._added + plus * slack
        # No expert offers more than the factor of the largest seen asks for: that is the cheapest way to be safe.
        ceiling = np.maximum(times[0], largest * (1 + slack))
        bids = np.minimum(np.concatenate((times, added)), ceiling)
        return np.clip(bids, lowest, highest), float(np.clip(_MARGIN * largest, lowest, highest))

    def _bounds(self, limit: float) -> tuple[float, float]:
        """Return the least and the most that is ever offered."""
        highest = max(min(2 * float(self._y.max()), limit), self._settings.least_bytes)
        return min(max(float(self._y.min()) / 2, self._settings.least_bytes), highest), highest

    def _judge(self, bids: Floats, plain: float, peak: float, seconds: float, limit: float) -> None:
        cost = self._cost(self._np.append(bids.ravel(), plain), peak, seconds, self._y.max(), limit)
        self._costs = self._costs * self._settings.decay + cost[:-1].reshape(bids.shape)
        self._plain_cost = self._plain_cost * self._settings.decay + float(cost[-1])

    def _cost(self, offered: Floats, peak: Any, seconds: Any, largest: float, limit: float) -> Floats:
        """Return byte-seconds of an offer, with the penalty where it is less than the peak."""
        np = self._np
        second = np.maximum(1.05 * largest, 2 * offered)
        third = np.maximum(limit, peak)
        retried = np.where(second >= peak, second, second + third)
        penalty = self._settings.failure_penalty * peak * seconds
        cost: Floats = np.where(
            offered >= peak, (offered - peak) * seconds, (offered + retried - peak) * seconds + penalty
        )
        return cost

    def _fit(self, limit: float) -> None:
        """Choose each expert's factor (or addend) at each slack, of those that some sample would have needed, by its
        cost so far. A long series is fitted anew only now and then: one sample more changes little of it."""
        np = self._np
        if self.samples - 1 < 3:
            self._times[:] = _MARGIN
            self._added[:] = (_MARGIN - 1) * self._guesses[self._plus, -1][:, None]
            return
        if self.samples < self._fit_due:
            return
        self._fit_due = self.samples + 1 + self.samples // _FITTED_EVERY
        y, t, guesses = self._y[1:], self._t[1:], self._guesses[:, 1:]  # the first sample's guess is the sample itself
        largest = self._y.max()
        plus = guesses[self._plus]
        factors, addends = self._spread(y / guesses), self._spread(y - plus)
        times = guesses[:, None, :] * factors[:, :, None]
        added = plus[:, None, :] + addends[:, :, None]
        bare = np.concatenate((times, added))
        slack = np.concatenate((times, np.broadcast_to(plus[:, None, :], added.shape)))
        lowest = max(y.min() / 2, self._settings.least_bytes)
        highest = max(2 * largest, self._settings.least_bytes)
        count = len(self._names)
        for column, share in enumerate(_SLACKS):
            offers = np.clip(bare + share * slack, lowest, highest)
            best = self._cost(offers, y, t, largest, limit).sum(axis=2).argmin(axis=1)
            self._times[:, column] = factors[np.arange(count), best[:count]]
            self._added[:, column] = addends[np.arange(len(self._plus)), best[count:]]

    def _spread(self, values: Floats) -> Floats:
        """Return candidates per row: all of its values, or 32 from the least to the largest of them."""
        np = self._np
        values = np.sort(values, axis=1)
        if values.shape[1] > _CANDIDATES:
            values = values[:, np.linspace(0, values.shape[1] - 1, _CANDIDATES).astype(int)]
        return values


def _line(x: Floats, y: Floats, at: float) -> float:
    """Return the value at ``at`` of the least-squares line through the points; their mean where x does not vary."""
    mean_x, mean_y = x.mean(), y.mean()
    away = x - mean_x
    spread = float(away @ away)
    return float(mean_y + (away @ (y - mean_y)) / spread * (at - mean_x)) if spread > 0 else float(mean_y)
