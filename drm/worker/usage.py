"""When a worker tells how much its processes use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["TELL_S", "UsageNews"]

TELL_S = 5.0
_LEAST_CHANGES = (0.05, 16 * 2**20, 0.05, 16 * 2**20)  # cores, bytes, gpus, bytes of the gpus


class UsageNews:
    """Tells the controller (``emit``) of those samples, one a second, that it should hear of.

    While tests begin and end that is each: what is reserved changes with them. While all that there is sleeps, or goes
    on as it did, it is one in ``TELL_S`` seconds: to say so of every machine each second costs the controller more
    than all else that it does meanwhile.
    """

    def __init__(self, emit: Callable[[list[Any]], None]) -> None:
        self._emit = emit
        self._told: Sequence[float] = ()
        self._told_s = -math.inf
        self.is_stirred = True  # something was begun, or has ended, since the last sample

    def tell(self, now_s: float, sample: Sequence[float]) -> bool:
        """Tell of a sample, (cores, bytes, gpus, bytes of the gpus), if it is news; return whether it was."""
        is_news = self.is_stirred or now_s - self._told_s >= TELL_S or self._has_changed(sample)
        self.is_stirred = False
        if is_news:
            self._told, self._told_s = sample, now_s
            self._emit(["sample", *sample])
        return is_news

    def _has_changed(self, sample: Sequence[float]) -> bool:
        each = zip(sample, self._told, _LEAST_CHANGES, strict=True)
        return any(abs(now - before) >= least for now, before, least in each)
