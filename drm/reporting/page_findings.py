"""Benchmarks and trends as the page draws them: whiskers and lines as points of small drawings. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from drm.model.trends import FlakyTest, Trends
from drm.reporting.report import Benchmark, Report
from drm.reporting.text import amount, percent, plural

__all__ = ["HEIGHT", "WIDTH", "BenchmarkView", "TrendView", "Whisker", "benchmark_views", "flaky_rows", "trend_views"]

WIDTH, HEIGHT = 120, 24  # of a drawing
_PAD = 3
_FLAKY = 20  # tests
_WITHOUT_RECORD = "pytest --drm"  # of runs that were not told to leave one


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """A change with its confidence, along a drawing ``WIDTH`` wide; ``zero``: no change."""

    low: float
    change: float
    high: float
    zero: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkView:
    """One benchmark as a row of the page. ``whisker``: its change, drawn; ``line``: its past, drawn."""

    name: str
    least: str
    median: str
    baseline: str
    change: str
    effect: str
    verdict: str
    figures: str
    whisker: Whisker | None
    line: str
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendView:
    """One measure over the last runs: its newest value, the range it was in, and the line."""

    title: str
    value: str
    note: str
    line: str


def benchmark_views(report: Report) -> list[BenchmarkView]:
    """Return the benchmarks, all whiskers on one scale, so that they can be compared."""
    ends = [end for item in report.benchmarks for end in (item.low, item.change, item.high)]
    most = max([0.01, *(abs(end) for end in ends if end is not None and math.isfinite(end))])
    return [_benchmark(item, most) for item in report.benchmarks]


def _benchmark(item: Benchmark, most: float) -> BenchmarkView:
    whisker = None
    if item.change is not None and math.isfinite(item.change):
        low, high = (end if end is not None and math.isfinite(end) else item.change for end in (item.low, item.high))
        places = [_PAD + (WIDTH - 2 * _PAD) * (end + most) / (2 * most) for end in (low, item.change, high, 0.0)]
        whisker = Whisker(low=places[0], change=places[1], high=places[2], zero=places[3])
    past = [value for value in item.past_s if math.isfinite(value)]
    interval = f" [{item.low:+.1%}, {item.high:+.1%}]" if item.low is not None and item.high is not None else ""
    return BenchmarkView(
        name=item.name,
        least=amount(item.min_s),
        median=amount(item.median_s),
        baseline=amount(item.baseline_s) if item.baseline_s is not None else "-",
        change=f"{item.change:+.1%}{interval}" if item.change is not None else "-",
        effect=percent(item.limit),
        verdict=item.verdict,
        figures=", ".join(f"{name} {value}" for name, value in item.figures),
        whisker=whisker,
        line=_line(past),
        runs=len(past),
    )


def _line(values: Sequence[float]) -> str:
    """Return the points of a line through the values, the newest at the right; empty for fewer than two."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = high - low or 1.0
    step = (WIDTH - 2 * _PAD) / (len(values) - 1)
    tall = HEIGHT - 2 * _PAD
    return " ".join(
        f"{_PAD + step * place:.1f},{_PAD + tall * (1 - (value - low) / span) if high > low else HEIGHT / 2:.1f}"
        for place, value in enumerate(values)
    )


def trend_views(trends: Trends) -> list[tuple[str, list[TrendView]]]:
    """Return, per kind of run with a past, how its duration, failures, flakiness, utilization and
    allocation time moved."""
    found = []
    for suite in dict.fromkeys(run.suite for run in trends.runs):
        runs = [run for run in trends.runs if run.suite == suite]
        if len(runs) < 2:
            continue
        busy = [run.slots_busy for run in runs if run.slots_busy is not None]
        waits = [run.allocation_s for run in runs if run.allocation_s is not None]
        views = [
            _trend("duration", [run.wall_s for run in runs], amount),
            _trend("failed tests", [float(run.bad) for run in runs], _whole),
            _trend("flaky tests", [float(run.flaky) for run in runs], _whole),
            _trend("slot utilisation", busy, percent),
            *([_trend("allocation time, median", waits, amount)] if waits else []),
        ]
        place = f" on {trends.branch}" if trends.branch else ""
        found.append((f"{suite or _WITHOUT_RECORD}, {plural(len(runs), 'run')}{place}", views))
    return found


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _trend(title: str, values: Iterable[float], describe: Callable[[float], str]) -> TrendView:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return TrendView(title=title, value="-", note="", line="")
    note = f"{describe(min(known))} to {describe(max(known))}"
    return TrendView(title=title, value=describe(known[-1]), note=note, line=_line(known))


def flaky_rows(flaky: Sequence[FlakyTest]) -> list[tuple[str, str, str]]:
    """Return the tests that were flaky most often: name, how often, in how many runs."""
    return [
        (item.task_id, percent(item.rate), f"{item.flaky} of {plural(item.runs, 'run')}") for item in flaky[:_FLAKY]
    ]
