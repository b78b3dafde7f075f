"""report.ctrf.json: the tests of all stages in the Common Test Report Format, which many tools read.

Format: CTRF 0.0.0, the JSON Schema of ctrf-io/ctrf (``schema/ctrf.schema.json``, MIT): times are milliseconds, those of
day since the epoch; what it has no word for goes to ``extra``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from drm.model.work import Outcome
from drm.reporting.report import Report, RunReport
from drm.reporting.text import exchangeable
from drm.summary import AllocationRecord, TestRecord

__all__ = ["render_ctrf"]

_MOST_NAME = 2_000
_MOST_MESSAGE = 10_000
_STATUS = {
    Outcome.PASSED: "passed",
    Outcome.XPASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.ERROR: "failed",
    Outcome.SKIPPED: "skipped",
    Outcome.XFAILED: "skipped",  # pytest's own junit.xml says so too
    Outcome.NOT_RUN: "pending",
}


def render_ctrf(report: Report) -> str:
    """Return the text of the file."""
    runs = [(stage.name, run) for stage in report.sections for run in stage.runs]
    tests = [test for stage, run in runs for test in _tests(stage, run)]
    counts = Counter(test["status"] for test in tests)
    begun = [(_epoch_ms(run.summary.started_at), run) for _, run in runs if run.summary.started_at]
    states = {stage.name: stage.state.value for stage in report.sections}
    document = {
        "reportFormat": "CTRF",
        "specVersion": "0.0.0",
        "timestamp": report.created_at,
        "generatedBy": f"drm {report.drm_version}",
        "results": {
            "tool": {"name": "pytest", "extra": {"drm": report.drm_version}},
            "summary": {
                "tests": len(tests),
                **{status: counts[status] for status in ("passed", "failed", "skipped", "pending", "other")},
                "flaky": sum(test["flaky"] for test in tests),
                "suites": len(begun),
                "start": min((at for at, _ in begun), default=0),
                "stop": max((at + _ms(run.summary.wall_s) for at, run in begun), default=0),
                "extra": {
                    "state": report.state.value,
                    "headline": exchangeable(report.headline, _MOST_MESSAGE),
                    "stages": states,
                },
            },
            "tests": tests,
            "environment": _environment(report),
        },
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"


def _environment(report: Report) -> dict[str, Any]:
    context = report.context
    named = {"branchName": context.branch, "commit": context.commit, "osPlatform": context.platform}
    row: dict[str, Any] = {key: exchangeable(value, _MOST_NAME) for key, value in named.items()}
    pages = {link.title: link.url for link in context.links}
    if "run" in pages:
        row["buildUrl"] = pages["run"]
    extra = {"machine": context.machine, "python": context.python, "ci": context.ci}
    return {**row, "extra": {key: exchangeable(value, _MOST_NAME) for key, value in extra.items()}}


def _tests(stage: str, run: RunReport) -> Iterator[dict[str, Any]]:
    attempts: dict[int, list[AllocationRecord]] = defaultdict(list)
    for record in run.summary.allocations.granted:
        attempts[record.test].append(record)
    began = _epoch_ms(run.summary.started_at)
    for place, test in enumerate(run.summary.tests):
        yield _test(stage, began, test, attempts[place])


def _test(stage: str, began: int, test: TestRecord, attempts: list[AllocationRecord]) -> dict[str, Any]:
    shown = exchangeable(test.task_id, _MOST_NAME)
    path, _, name = shown.partition("::")
    row: dict[str, Any] = {
        "name": shown or "(a test without a name)",
        "status": _STATUS[test.outcome],
        "duration": _ms(test.wall_s),
        "suite": [stage, path or stage, *name.split("::")[:-1]],
        "rawStatus": test.outcome.value,
        "type": stage,
        "filePath": path,
        "retries": max(0, test.attempts - 1),
        "flaky": test.flaky,
    }
    if test.started_s is not None and test.finished_s is not None:
        row["start"], row["stop"] = began + _ms(test.started_s), began + _ms(test.finished_s)
    if test.message:
        row["message"] = exchangeable(test.message, _MOST_MESSAGE)
    if test.executor_id:
        row["threadId"] = exchangeable(test.executor_id, _MOST_NAME)
    if len(attempts) > 1:
        row["retryAttempts"] = [_attempt(began, record) for record in attempts]
    if test.peak_rss_bytes or test.worker_id:
        worker = exchangeable(test.worker_id, _MOST_NAME)
        row["extra"] = {"worker": worker, "peak_rss_bytes": test.peak_rss_bytes, "component": test.component}
    return row


def _attempt(began: int, record: AllocationRecord) -> dict[str, Any]:
    """Return an attempt; one that something outside the test ended has no status of its own."""
    row: dict[str, Any] = {
        "attempt": max(1, record.attempt),
        "status": _STATUS[record.outcome] if record.outcome is not None else "other",
        "duration": _ms(record.wall_s),
        "start": began + _ms(record.at_s),
    }
    if record.finished_s is not None:
        row["stop"] = began + _ms(record.finished_s)
    return row


def _ms(seconds: float) -> int:
    return round(seconds * 1000) if abs(seconds) < 1e12 else 0  # which also turns away what is no number


def _epoch_ms(text: str) -> int:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
