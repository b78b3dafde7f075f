"""The six numbers that the page shows first, in words. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drm.reporting.analysis import numbers_of
from drm.reporting.report import Report
from drm.reporting.text import amount, percent, plural

__all__ = ["Number", "six_numbers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """``value`` is what is read first, ``note`` what it is measured against."""

    label: str
    value: str
    note: str
    is_bad: bool = False


def six_numbers(report: Report) -> tuple[Number, ...]:
    """Return them in order; a dash where nothing is known."""
    found = numbers_of(report)
    slots = sum(run.summary.executors for stage in report.sections for run in stage.runs)
    asked = found.placed + found.refused
    waited = found.wait_p50_s is not None and found.wait_p95_s is not None
    return (
        Number(label="slot utilisation", value=percent(found.slots_busy), note=f"of {plural(slots, 'executor')}"),
        Number(
            label="allocation time, median",
            value=_amount(found.wait_p50_s),
            note=f"that a test waited; 95 % within {_amount(found.wait_p95_s)}" if waited else "no test was placed",
        ),
        Number(
            label="allocation success",
            value=_rate(found.success_rate),
            note=f"{found.placed} of {plural(asked, 'test')} placed",
            is_bad=found.refused > 0,
        ),
        Number(
            label="scaling decisions",
            value=str(found.decisions),
            note=f"{found.denied} denied, {found.holds} to hold",
            is_bad=found.denied > 0,
        ),
        Number(
            label="speed-up over serial",
            value=f"{found.speed_up:.1f}x" if found.speed_up is not None else "-",
            note=f"ideal {found.ideal_speed_up:.1f}x" if found.ideal_speed_up is not None else "no test ran",
        ),
        Number(
            label="regressions",
            value=str(found.regressed) if found.regressed is not None else "-",
            note=f"of {plural(len(report.benchmarks), 'benchmark')}" if report.benchmarks else "no benchmark ran",
            is_bad=bool(found.regressed),
        ),
    )


def _rate(share: float | None) -> str:
    """Return the share, rounded down: what was refused is not rounded away."""
    return percent(math.floor(share * 1000) / 1000 if share is not None else None)


def _amount(seconds: float | None) -> str:
    return amount(seconds) if seconds is not None else "-"
