"""What follows from the facts, and the runs before, as rows of plain text: pages only lay them out and escape them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from drm.model.trends import PastRun, Trends
from drm.reporting.findings import RunAnalysis
from drm.reporting.text import amount, bars, percent

__all__ = [
    "FLAKY_COLUMNS",
    "FORECAST_COLUMNS",
    "MAKESPAN_COLUMNS",
    "TREND_COLUMNS",
    "flaky_rows",
    "forecast_rows",
    "makespan_rows",
    "trend_rows",
]

Row = tuple[str, ...]
MAKESPAN_COLUMNS = ("run", "wall", "tests alone", "bound", "longest test", "last executor", "with more or fewer")
FORECAST_COLUMNS = ("run", "forecast from", "times known", "error, median", "error, of all", "memory kept to", "wasted")
TREND_COLUMNS = (
    *("suite", "runs", "wall, last", "wall", "bad, last", "bad", "flaky", "slots busy, last", "slots busy"),
    *("allocation time, last", "allocation time"),
)
FLAKY_COLUMNS = ("test", "flaky in", "of runs", "rate")


def makespan_rows(analyses: Iterable[RunAnalysis]) -> list[Row]:
    """Return how long each run's tests took, against what could not be beaten; runs without a test are left out."""
    rows: list[Row] = []
    for one in analyses:
        found = one.makespan
        if not found.work_s:
            continue
        path = found.critical_path
        idle_s = sum(step.idle_s for step in path)
        last = f"{len(path)} tests on {path[0].executor_id}, idle {amount(idle_s)}" if path else "-"
        what_if = ", ".join(f"{row.number}: {amount(row.makespan_s)}" for row in found.what_if)
        rows.append(
            (
                one.run,
                amount(found.wall_s),
                amount(found.tests_s),
                amount(found.lower_bound_s),
                amount(found.longest_s),
                last,
                f"{found.unit} {what_if}" if what_if else "-",
            )
        )
    return rows


def forecast_rows(analyses: Iterable[RunAnalysis]) -> list[Row]:
    """Return how good each run's forecasts were; runs with none are left out."""
    rows: list[Row] = []
    for one in analyses:
        found = one.prediction
        if not found.timed and not found.sized:
            continue
        wasted, reserved = found.wasted_gib_hours, found.reserved_gib_hours
        rows.append(
            (
                one.run,
                ", ".join(f"{method} {number}" for method, number in found.methods) or "-",
                str(found.timed),
                percent(found.time_error_median),
                percent(found.time_error_weighted),
                f"{percent(found.memory_covered)} of {found.sized}" if found.sized else "-",
                f"{wasted:.3g} of {reserved:.3g} GiB-hours" if found.sized else "-",
            )
        )
    return rows


def trend_rows(trends: Trends) -> list[Row]:
    """Return the last runs of each suite: the newest figures, and all of them as bars, oldest first."""
    suites: dict[str, list[PastRun]] = defaultdict(list)
    for run in trends.runs:
        suites[run.suite].append(run)
    return [_trend(suite, runs) for suite, runs in suites.items()]


def _trend(suite: str, runs: list[PastRun]) -> Row:
    last = runs[-1]
    return (
        suite or "-",
        str(len(runs)),
        amount(last.wall_s),
        bars([run.wall_s for run in runs]),
        str(last.bad),
        bars([float(run.bad) for run in runs]),
        bars([float(run.flaky) for run in runs]),
        percent(last.slots_busy),
        bars([run.slots_busy or 0.0 for run in runs]),
        amount(last.allocation_s) if last.allocation_s is not None else "-",
        bars([run.allocation_s or 0.0 for run in runs]),
    )


def flaky_rows(trends: Trends) -> list[Row]:
    """Return the tests that were flaky in the last runs, the worst first."""
    return [(test.task_id, str(test.flaky), str(test.runs), percent(test.rate)) for test in trends.flaky]
