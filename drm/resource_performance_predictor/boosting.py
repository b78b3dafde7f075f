"""LightGBM as one more expert: a quantile of the peak by size, trained anew when a third more is known."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Booster"]

_FROM = 30  # samples
_GROWTH = 1.33
_JUDGED = 10  # guesses of its own before it can be followed
_FACTORS = (0.9, 1.0, 1.05, 1.1, 1.2, 1.35, 1.5)  # of its quantile: the one that would have cost least so far
_SETTINGS = {
    "objective": "quantile",
    "alpha": 0.9,
    "num_leaves": 7,
    "min_data_in_leaf": 5,
    "learning_rate": 0.1,
    "num_threads": 1,  # tests run beside it
    "deterministic": True,
    "verbosity": -1,
}
_ROUNDS = 60


class Booster:
    """A quantile and a factor on it. It is followed only while that has cost less than what was offered without it,
    summed over the guesses that it has made (each before the peak was known; older ones count less).

    LightGBM (extra ``ml``) is looked for when the first 30 samples are there; without it nothing is ever offered.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._model: tuple[Any, float] | None = None
        self._due = _FROM
        self._judged = 0
        self._costs = [0.0] * len(_FACTORS)
        self._own_cost = self._rivals_cost = 0.0

    def learn(self, sizes: Floats, peaks: Floats) -> None:
        """Train on all that is kept, if that is due and the sizes vary."""
        if len(sizes) < self._due or sizes.min() == sizes.max():
            return
        self._due = int(len(sizes) * _GROWTH)
        if self._model is None and importlib.util.find_spec("lightgbm") is None:
            self._due = 2**62
            return
        import lightgbm

        data = lightgbm.Dataset(sizes.reshape(-1, 1), peaks / peaks.max(), params={"verbosity": -1})
        self._model = lightgbm.train(_SETTINGS, data, num_boost_round=_ROUNDS), float(peaks.max())

    def judge(self, size: float, rivals: float, cost: Callable[[list[float]], Floats]) -> None:
        """Count what its offer would have cost, and what was offered without it (``rivals``): an attempt has ended.
        ``cost`` gives byte-seconds of offers."""
        if self._model is None:
            return
        own, guess = self._bid(size), self._guess(size)
        *costs, own_cost, rivals_cost = cost([*(factor * guess for factor in _FACTORS), own, rivals])
        self._costs = [self._decay * old + float(new) for old, new in zip(self._costs, costs, strict=True)]
        self._own_cost = self._decay * self._own_cost + float(own_cost)
        self._rivals_cost = self._decay * self._rivals_cost + float(rivals_cost)
        self._judged += 1

    @property
    def leads(self) -> bool:
        return self._judged >= _JUDGED and self._own_cost < self._rivals_cost

    def offer(self, size: float) -> float:
        """Return bytes for this size; not finite while it is not to be followed."""
        return self._bid(size) if self.leads else math.inf

    def _bid(self, size: float) -> float:
        return self._guess(size) * _FACTORS[self._costs.index(min(self._costs))]

    def _guess(self, size: float) -> float:
        if self._model is None:
            return math.inf
        model, scale = self._model
        return float(model.predict([[size]], num_threads=1)[0]) * scale
