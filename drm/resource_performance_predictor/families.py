"""Tests that differ only in their parameters, as one family: what its other members needed, by size."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drm.resource_performance_predictor.costs import CostSettings

if TYPE_CHECKING:
    from drm.resource_performance_predictor.experts import SizedMemory

_NUMBER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?(?:e\d+)?)(?![\w.])")
_KEPT = 256
_WARM, _COLD_MARGIN = 5, 1.1
_LONGEST = 200  # characters of parameters that are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How memory grows with size: as ``size ** exponent`` where ``trusted``, else not as far as is known."""

    exponent: float
    samples: int
    trusted: bool

    def factor(self, of: float, to: float) -> float:
        """Return what to multiply the memory by that size ``of`` needs, to get that of size ``to``."""
        return (to / of) ** self.exponent if self.trusted and of > 0 and to > 0 else 1.0


def size_in(task_id: str) -> float | None:
    """Return the product of the numbers among a test's parameters (``test_fit[32-float64-1000]``: 32,000).

    None where there is none, or the parameters are so long that they are text.
    """
    _, bracket, parameters = task_id.partition("[")
    if not bracket or len(parameters) > _LONGEST:
        return None
    # By dashes, as pytest joins them; a sign is not told from them, and nothing has a negative size.
    numbers = [float(part) for part in re.split(r"[-\]]", parameters) if _NUMBER.fullmatch(part)]
    size = math.prod(numbers) if numbers else 0.0
    return size if 0 < size < 1e18 else None


class Family:
    """Past (size, peak bytes, seconds) of a family. Its experts are made when they are first asked."""

    def __init__(self, settings: CostSettings | None = None) -> None:
        self._settings = settings or CostSettings()
        self._rows: deque[tuple[float, float, float]] = deque(maxlen=_KEPT)
        self._pending: deque[tuple[float, float, float]] = deque(maxlen=_KEPT)
        self._experts: SizedMemory | None = None
        self._scaling: Scaling | None = None
        self.samples = 0
        self.largest = 0.0

    def learn(self, size: float, peak_bytes: float, seconds: float) -> None:
        """Take one finished attempt. Cheap: what is made of it is worked out when asked for."""
        row = (size, peak_bytes, seconds)
        self._rows.append(row)
        self._pending.append(row)
        self._scaling = None
        self.samples += 1
        self.largest = max(self.largest, peak_bytes)

    def predict(self, size: float, limit: float) -> tuple[float, str]:
        """Return bytes to reserve for this size, at most ``limit``, and the rule they come from."""
        if self.samples < _WARM:
            return min(
                max(_COLD_MARGIN * self.largest, self._settings.least_bytes), limit
            ), "the largest seen, and a tenth"
        experts = self.catch_up(limit)
        return experts.predict(size, limit), experts.leader

    def expect(self, size: float, limit: float) -> float:
        """Return the peak to expect for this size, in bytes; 0 before the first attempt."""
        return self.catch_up(limit).expect(size) if self.samples else 0.0

    def catch_up(self, limit: float) -> SizedMemory:
        """Return the experts, having learnt all that is known."""
        if self._experts is None:
            from drm.resource_performance_predictor.experts import SizedMemory

            self._experts = SizedMemory(self._settings)
        while self._pending:
            self._experts.learn(*self._pending.popleft(), limit)
        return self._experts

    def scaling(self) -> Scaling:
        """Return the slope of log memory over log size. Trusted only where, told one attempt at a time, it has been
        nearer than the median of those before, in sum over all attempts."""
        if self._scaling is None:
            self._scaling = _scaling([(math.log(size), math.log(peak)) for size, peak, _ in self._rows if peak > 0])
        return self._scaling


def _scaling(points: list[tuple[float, float]]) -> Scaling:
    by_slope = by_median = slope = 0.0
    n = sum_x = sum_y = sum_xx = sum_xy = 0.0
    seen: list[float] = []
    for x, y in points:
        if n >= 2:
            middle = sorted(seen)[len(seen) // 2]
            by_slope += abs(y - (sum_y / n + slope * (x - sum_x / n)))
            by_median += abs(y - middle)
        n, sum_x, sum_y, sum_xx, sum_xy = n + 1, sum_x + x, sum_y + y, sum_xx + x * x, sum_xy + x * y
        spread = sum_xx - sum_x * sum_x / n
        slope = (sum_xy - sum_x * sum_y / n) / spread if spread > 1e-9 else 0.0
        seen.append(y)
    return Scaling(exponent=slope, samples=len(points), trusted=n >= _WARM and by_slope < by_median)
