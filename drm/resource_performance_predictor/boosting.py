"""LightGBM as one more expert: a quantile of the peak by size, trained anew when a third more is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_FROM = 30  # samples
_GROWTH = 1.33
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
    """A guess for ``SizedMemory``. ImportError when one is made where LightGBM (extra ``ml``) is not installed."""

    def __init__(self) -> None:
        import lightgbm

        self._lightgbm: Any = lightgbm
        self._model: tuple[Any, float] | None = None
        self._due = _FROM

    def learn(self, sizes: Floats, peaks: Floats) -> None:
        """Train on all that is kept, if that is due and the sizes vary."""
        if len(sizes) < self._due or sizes.min() == sizes.max():
            return
        self._due = int(len(sizes) * _GROWTH)
        data = self._lightgbm.Dataset(sizes.reshape(-1, 1), peaks / peaks.max(), params={"verbosity": -1})
        self._model = self._lightgbm.train(_SETTINGS, data, num_boost_round=_ROUNDS), float(peaks.max())

    def predict(self, size: float, otherwise: float) -> float:
        """Return the quantile at this size in bytes; ``otherwise`` before it has been trained."""
        if self._model is None:
            return otherwise
        model, scale = self._model
        guess: float = model.predict([[size]], num_threads=1)[0]
        return float(guess) * scale
