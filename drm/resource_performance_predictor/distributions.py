"""A prediction as people and reports want it: how much, how surely, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from drm.model.units import format_bytes
from drm.model.work import Forecast
from drm.ports import Sample
from drm.resource_performance_predictor.calibration import Calibration, Deviation
from drm.resource_performance_predictor.statistics import median_of_last

_LEAST_S, _LEAST_BYTES = 1e-4, 2.0**20  # below these, what a prediction was off by is noise of the measuring
_CPU_FROM_S = 0.05
_SURE_FROM = 20  # samples from which own past is as sure as it gets


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What is not exceeded five, nine and ninety-nine times in ten, ten and a hundred."""

    p50: float
    p90: float
    p99: float

    def scaled(self, factor: float) -> Spread:
        return Spread(p50=self.p50 * factor, p90=self.p90 * factor, p99=self.p99 * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the next attempt will need. ``reserved_bytes``: what is reserved for it, if nothing else is asked for.

    ``method`` and ``samples`` as in ``Forecast``; ``confidence`` from 0 (a default) to 1 (many attempts that agree);
    ``why`` says it in a sentence.
    """

    task_id: str
    wall_s: Spread
    memory_bytes: Spread
    cpu_cores: Spread
    gpu_bytes: Spread
    reserved_bytes: int
    method: str
    samples: int
    confidence: float
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return it in a few lines for people."""
        wall, memory = self.wall_s, self.memory_bytes
        sizes = [format_bytes(round(value)) for value in (memory.p50, memory.p90, memory.p99)]
        return [
            f"expected: {wall.p50:.3g} s (nine in ten below {wall.p90:.3g} s, 99 in 100 below {wall.p99:.3g} s)",
            f"memory: {sizes[0]} ({sizes[1]}, {sizes[2]}); {format_bytes(self.reserved_bytes)} are reserved",
            f"confidence {self.confidence:.0%}: {self.why}",
        ]


class Uncertainty:
    """How far predictions were off in the past that it is made from: ``samples`` per test, oldest first."""

    def __init__(self, samples: Mapping[str, Sequence[Sample]]) -> None:
        self._samples = samples
        self._walls, self._peaks = Calibration(), Calibration()
        self._of_wall: dict[str, Deviation] = {}
        self._of_peak: dict[str, Deviation] = {}
        finished = {
            task_id: [row for row in rows if row.outcome is not None and row.usage.wall_s and not row.death]
            for task_id, rows in samples.items()
        }
        for position in range(1, max(map(len, finished.values()), default=0)):
            for task_id, rows in finished.items():
                if position < len(rows):
                    self._observe(task_id, rows[max(0, position - 3) : position], rows[position])
            self._walls.turn()
            self._peaks.turn()

    def _observe(self, task_id: str, before: Sequence[Sample], row: Sample) -> None:
        expected_s = max(median_of_last(tuple(past.usage.wall_s for past in before)), _LEAST_S)
        own = self._of_wall.setdefault(task_id, Deviation())
        self._walls.observe(math.log(max(row.usage.wall_s, _LEAST_S) / expected_s), own)
        if row.usage.peak_rss_bytes:
            expected = max(median_of_last(tuple(float(past.usage.peak_rss_bytes) for past in before)), _LEAST_BYTES)
            own = self._of_peak.setdefault(task_id, Deviation())
            self._peaks.observe(math.log(max(row.usage.peak_rss_bytes, _LEAST_BYTES) / expected), own)

    def interval(self, task_id: str) -> tuple[float, float]:
        """Return the factors of the expected seconds between which the test's next attempt lies, nine times in ten."""
        return self._walls.interval(self._of_wall.get(task_id))

    def predict(self, task_id: str, forecast: Forecast, rule: str) -> Prediction:
        """Return the forecast with what is known of its kind's errors."""
        rows = [row for row in self._samples.get(task_id, ()) if row.outcome is not None and not row.death]
        peaks = tuple(float(row.usage.peak_rss_bytes) for row in rows if row.usage.peak_rss_bytes)
        expected_bytes = median_of_last(peaks[-3:]) if peaks else forecast.memory_bytes / 1.5
        own_wall, own_peak = self._of_wall.get(task_id), self._of_peak.get(task_id)
        confidence = _confidence(forecast, self._walls.deviation(own_wall))
        return Prediction(
            task_id=task_id,
            wall_s=_around(self._walls, own_wall, forecast.wall_s),
            memory_bytes=_around(self._peaks, own_peak, expected_bytes),
            cpu_cores=_cores(rows, forecast.cpu_cores),
            gpu_bytes=_ranked([float(row.gpu_bytes) for row in rows]),
            reserved_bytes=forecast.memory_bytes,
            method=forecast.method,
            samples=forecast.samples,
            confidence=round(confidence, 2),
            why=rule,
        )


def _around(calibration: Calibration, own: Deviation | None, expected: float) -> Spread:
    nine, most = (max(1.0, calibration.factor(own, level)) for level in (0.9, 0.99))
    return Spread(p50=expected, p90=expected * nine, p99=expected * max(nine, most))


def _cores(rows: Sequence[Sample], expected: float) -> Spread:
    seen = [row.usage.cpu_s / row.usage.wall_s for row in rows if row.usage.wall_s >= _CPU_FROM_S]
    return _ranked(seen) if seen else Spread(p50=expected, p90=expected, p99=expected)


def _ranked(values: list[float]) -> Spread:
    """Return quantiles by nearest rank; 0 of nothing."""
    ranked = sorted(values) or [0.0]
    p50, p90, p99 = (ranked[min(len(ranked) - 1, int(level * len(ranked)))] for level in (0.5, 0.9, 0.99))
    return Spread(p50=p50, p90=p90, p99=p99)


def _confidence(forecast: Forecast, deviation: float) -> float:
    """Return more for more samples of the test's own, and for a test that took what was expected of it."""
    known = min(1.0, forecast.samples / _SURE_FROM)
    share = {"history": 0.5 + 0.5 * known, "siblings": 0.2 + 0.3 * known, "run": 0.1}.get(forecast.method, 0.0)
    return share / (1.0 + deviation)


def together(name: str, predictions: Sequence[Prediction]) -> Prediction:
    """Return what is predicted of a test taken at random from a module, a component, a class of parameters."""

    def spread(field: str) -> Spread:
        return _ranked([getattr(prediction, field).p50 for prediction in predictions])

    return Prediction(
        task_id=name,
        wall_s=spread("wall_s"),
        memory_bytes=spread("memory_bytes"),
        cpu_cores=spread("cpu_cores"),
        gpu_bytes=spread("gpu_bytes"),
        reserved_bytes=max((prediction.reserved_bytes for prediction in predictions), default=0),
        method="together",
        samples=sum(prediction.samples for prediction in predictions),
        confidence=round(sum(p.confidence for p in predictions) / len(predictions), 2) if predictions else 0.0,
        why=f"over its {len(predictions)} tests, each as it is predicted by itself",
    )
