"""metrics.txt: the figures of a report as OpenMetrics text, which GitLab compares with those of the target branch.

Format: the OpenMetrics specification 1.0 (openmetrics.io), which ends a text with ``# EOF``. At most 30 values, for
all are shown in one list. No name or label in it comes from a test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from drm.model.work import Outcome
from drm.reporting import view
from drm.reporting.report import Report, State

__all__ = ["MOST", "render_openmetrics"]

MOST = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    name: str
    help: str
    values: tuple[tuple[str, str, float], ...]  # label, its value, the number
    unit: str = ""


def render_openmetrics(report: Report) -> str:
    """Return the text; a number that is none (NaN, infinity) is left out."""
    lines: list[str] = []
    room = MOST
    for family in _families(report):
        known = [value for value in family.values if math.isfinite(value[2])][:room]
        if not known:
            continue
        room -= len(known)
        lines.append(f"# TYPE {family.name} gauge")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.append(f"# HELP {family.name} {family.help}")
        for label, value, number in known:
            labels = f'{{{label}="{_escaped(value)}"}}' if label else ""
            lines.append(
                f"{family.name}{labels} {number:.0f}" if number % 1 == 0 else f"{family.name}{labels} {number:.6g}"
            )
    return "\n".join([*lines, "# EOF"]) + "\n"


def _families(report: Report) -> Iterator[_Family]:
    counted = [stage for stage in report.stages if stage.runs] or list(report.sections)
    runs = [run.summary for stage in counted for run in stage.runs]
    tests = [test for summary in runs for test in summary.tests]
    outcomes = tuple(("outcome", item.value, float(sum(t.outcome is item for t in tests))) for item in Outcome)
    yield _Family(name="drm_tests", help="Tests by outcome.", values=outcomes)
    yield _one("drm_tests_flaky", "Tests that passed only when tried again.", sum(test.flaky for test in tests))
    shown = tuple(("stage", stage.name, float(stage.state is State.PASSING)) for stage in report.sections)
    yield _Family(name="drm_stage_passing", help="1 for a stage that is passing.", values=shown[:6])
    wall = tuple(("stage", stage.name, sum(run.summary.wall_s for run in stage.runs)) for stage in counted)
    yield _Family(name="drm_wall_seconds", help="Wall time of the runs of a stage.", values=wall[:6], unit="seconds")
    yield _one("drm_test_seconds", "Sum of the tests' times.", sum(test.wall_s for test in tests), unit="seconds")
    peak = max((test.peak_rss_bytes for test in tests), default=0)
    yield _one("drm_test_memory_peak_bytes", "Peak memory of the largest test.", peak, unit="bytes")
    room = sum(summary.executors * summary.wall_s for summary in runs)
    if room:
        busy = sum(test.wall_s for test in tests) / room
        yield _one("drm_slots_busy_ratio", "Share of the executors' time in which a test ran.", busy, unit="ratio")
    decisions = [record.decision.action.value for run in view.all_runs(report) for record in run.summary.scaling]
    scaled = tuple(("action", action, float(decisions.count(action))) for action in ("up", "down", "denied"))
    yield _Family(name="drm_scaling_decisions", help="Scaling decisions.", values=scaled)
    if report.coverage is not None:
        yield _one("drm_coverage_percent", "Statements and branches covered.", report.coverage.percent, unit="percent")
    if report.benchmarks:
        slower = sum(item.verdict == "regressed" for item in report.benchmarks)
        yield _one("drm_benchmarks_regressed", "Benchmarks slower than their baseline.", slower)


def _one(name: str, text: str, number: float, *, unit: str = "") -> _Family:
    return _Family(name=name, help=text, values=(("", "", float(number)),), unit=unit)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
