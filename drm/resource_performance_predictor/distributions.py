"""A prediction as people and reports want it: how much, how surely, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from drm.model.samples import Sample
from drm.model.units import format_bytes
from drm.model.work import Forecast
from drm.resource_performance_predictor.calibration import JITTER_S, Calibration, Deviation
from drm.resource_performance_predictor.statistics import expected_of, median_of_last

_LEAST_S, _LEAST_BYTES = 1e-4, 2.0**20  # below these, what a prediction was off by is noise of the measuring
_CPU_FROM_S = 0.05
_SURE_FROM = 20  # samples from which own past is as sure as it gets


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What is not exceeded five, nine and ninety-nine times in ten, ten and a hundred."""

    p50: float
    p90: float
    p99: float


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
        gpu = [format_bytes(round(value)) for value in (self.gpu_bytes.p50, self.gpu_bytes.p99)]
        reserved = f"{format_bytes(self.reserved_bytes)} are reserved"
        return [
            f"expected: {wall.p50:.3g} s (nine in ten below {wall.p90:.3g} s, 99 in 100 below {wall.p99:.3g} s)",
            f"memory: {sizes[0]} ({sizes[1]}, {sizes[2]}); {reserved} unless a mark says how much",
            *([f"gpu memory: {gpu[0]}, at most {gpu[1]}"] if self.gpu_bytes.p99 else []),
            f"confidence {self.confidence:.0%}: {self.why}",
        ]


_BATCH = 50  # attempts of a run after which what they came to counts


@dataclass(slots=True)
class _Seen:
    """The last attempts of a test that ended by themselves, oldest first, and how far off its predictions were."""

    walls: tuple[float, ...] = ()
    peaks: tuple[float, ...] = ()
    samples: int = 0
    of_wall: Deviation = field(default_factory=Deviation)
    of_peak: Deviation = field(default_factory=Deviation)


class Uncertainty:
    """How far predictions were off in the past that it is made from: ``samples`` per test, oldest first.

    ``learn`` what the run's attempts come to: after every fifty the next predictions are as wide as those asked for.
    """

    def __init__(self, samples: Mapping[str, Sequence[Sample]]) -> None:
        self._samples = samples
        self._walls, self._peaks = Calibration(jitter=JITTER_S), Calibration()
        self._seen: dict[str, _Seen] = {}
        self._since_turn = 0
        finished = {task_id: [row for row in rows if _is_whole(row)] for task_id, rows in samples.items()}
        for position in range(max(map(len, finished.values()), default=0)):
            for rows in finished.values():
                if position < len(rows):
                    self._observe(rows[position])
            self._turn()

    def learn(self, row: Sample) -> None:
        """Learn what an attempt of this run came to."""
        if _is_whole(row):
            self._observe(row)
            self._since_turn += 1
            if self._since_turn >= _BATCH:
                self._turn()

    def _turn(self) -> None:
        self._since_turn = 0
        self._walls.turn()
        self._peaks.turn()

    def _observe(self, row: Sample) -> None:
        seen = self._seen.get(row.task_id)
        if seen is None:
            seen = self._seen[row.task_id] = _Seen()
        wall_s, peak = row.usage.wall_s, row.usage.peak_rss_bytes
        if seen.walls:
            expected = max(expected_of(seen.walls, seen.samples), _LEAST_S)
            self._walls.observe(math.log(max(wall_s, _LEAST_S) / expected), seen.of_wall, expected)
        if peak and seen.peaks:
            expected = max(median_of_last(seen.peaks), _LEAST_BYTES)
            self._peaks.observe(math.log(max(peak, _LEAST_BYTES) / expected), seen.of_peak, expected)
        seen.walls, seen.samples = (*seen.walls[-2:], wall_s), seen.samples + 1
        if peak:
            seen.peaks = (*seen.peaks[-2:], float(peak))

    def expected_s(self, task_id: str) -> float | None:
        """Return the seconds that the test's next attempt will probably take; None where it has no past."""
        seen = self._seen.get(task_id)
        return expected_of(seen.walls, seen.samples) if seen is not None and seen.walls else None

    def interval(self, task_id: str) -> tuple[float, float]:
        """Return the factors of the expected seconds between which the test's next attempt lies, nine times in ten."""
        seen = self._seen.get(task_id)
        if seen is None:
            return self._walls.interval(None)
        return self._walls.interval(seen.of_wall, max(expected_of(seen.walls, seen.samples), _LEAST_S))

    def predict(self, task_id: str, forecast: Forecast, rule: str) -> Prediction:
        """Return the forecast with what is known of its kind's errors."""
        rows = [row for row in self._samples.get(task_id, ()) if row.outcome is not None and not row.death]
        seen = self._seen.get(task_id)
        expected_bytes = median_of_last(seen.peaks) if seen is not None and seen.peaks else forecast.memory_bytes / 1.5
        own_wall, own_peak = (seen.of_wall, seen.of_peak) if seen is not None else (None, None)
        confidence = _confidence(forecast, self._walls.deviation(own_wall, forecast.wall_s))
        return Prediction(
            task_id=task_id,
            wall_s=_around(self._walls, own_wall, forecast.wall_s),
            memory_bytes=_around(self._peaks, own_peak, expected_bytes),
            cpu_cores=_cores(rows, forecast.cpu_cores),
            gpu_bytes=_gpu_bytes(rows, forecast.gpu_bytes),
            reserved_bytes=forecast.memory_bytes,
            method=forecast.method,
            samples=forecast.samples,
            confidence=round(confidence, 2),
            why=rule,
        )


def _around(calibration: Calibration, own: Deviation | None, expected: float) -> Spread:
    nine, most = (max(1.0, calibration.factor(own, level, expected)) for level in (0.9, 0.99))
    return Spread(p50=expected, p90=expected * nine, p99=expected * max(nine, most))


def _cores(rows: Sequence[Sample], expected: float) -> Spread:
    seen = [row.usage.cpu_s / row.usage.wall_s for row in rows if row.usage.wall_s >= _CPU_FROM_S]
    return _ranked(seen) if seen else Spread(p50=expected, p90=expected, p99=expected)


def _gpu_bytes(rows: Sequence[Sample], expected: int) -> Spread:
    """Return quantiles of what was held of the gpus' memory; what is forecast of a test that was never seen."""
    return _ranked([float(row.usage.gpu_bytes) for row in rows] or [float(expected)])


def _is_whole(row: Sample) -> bool:
    return row.outcome is not None and row.usage.wall_s > 0 and not row.death


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
