"""report.md: for job summaries and comments. Failures first; under 60 KB whatever the input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from drm.reporting import view
from drm.reporting.attention import attention
from drm.reporting.report import Report, RunReport, StageReport
from drm.reporting.text import one_line, plural
from drm.summary import UtilizationSeries

__all__ = ["LIMIT_BYTES", "render_markdown"]

LIMIT_BYTES = 60_000
_TABLE_BYTES = 8_000
_RESERVE_BYTES = 200  # for the line that says what was left out
# What could start markup inside a table cell; "_" only at the edge of a word, ":" only in an address.
_PUNCTUATION = re.compile(r"([\\`*\[\]#|~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//))")
_BARS = "▁▂▃▄▅▆▇█"
_MARKS = {"passing": "✅", "failing": "❌", "error": "💥", "partial": "⚠️", "stale": "⚠️"}


def escape(text: str, limit: int = 300) -> str:
    """Return the text as one line that GitHub shows as it is: no markup, link, mention or table cell comes of it."""
    plain = one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _PUNCTUATION.sub(r"\\\1", plain).replace("\\@", "@&#8203;")


class _Page:
    """Lines, as long as they fit."""

    def __init__(self, limit: int) -> None:
        self._lines: list[str] = []
        self._room = limit

    def add(self, *lines: str) -> bool:
        """Add the lines, all or none."""
        size = sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)
        if size > self._room:
            return False
        self._room -= size
        self._lines.extend(lines)
        return True

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, raw: bool = False) -> None:
        """Add a table under its title, as many rows as fit in its share, and say how many did not."""
        share = min(_TABLE_BYTES, self._room - _RESERVE_BYTES)
        head = (title, "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns))
        lines: list[str] = []
        for row in rows:
            line = "| " + " | ".join(row if raw else map(escape, row)) + " |"
            share -= len(line.encode("utf-8", "replace")) + 1
            if share < 0:
                break
            lines.append(line)
        if rows and self.add(*head, *lines, ""):
            if len(lines) < len(rows):
                self.add(f"{len(rows) - len(lines)} more rows are in report.json.", "")
        elif rows:
            self.add(f"{title}: {len(rows)} rows are in report.json.", "")

    def text(self) -> str:
        return "\n".join(self._lines).rstrip("\n") + "\n"


def render_markdown(report: Report) -> str:
    """Return the text of report.md."""
    page = _Page(LIMIT_BYTES - _RESERVE_BYTES)
    mark = _MARKS.get(report.state.value, "⬜")
    page.add(f"# {mark} DRM: {report.state.words}", "", escape(report.headline, 1000), "")
    page.add(f"Made {escape(report.created_at)} by drm {escape(report.drm_version)}{_origin(report)}.", "")
    _failures(page, report)
    needs = [item for item in attention(report) if item.kind != "failed"]
    page.table(
        f"## What needs a person ({len(needs)})",
        ("kind", "where", "what", "why"),
        [(item.kind, item.stage, item.what, item.why) for item in needs],
    )
    _matrix(page, report)
    runs = view.all_runs(report)
    page.table("## Resource allocation", view.METRIC_COLUMNS, view.metric_rows(runs))
    for run in runs:
        page.table(f"## Scaling decisions: {escape(run.name)}", view.SCALING_COLUMNS, view.scaling_rows(run.summary))
    for run in runs:
        _workers(page, run)
    page.table("## Benchmarks", view.BENCHMARK_COLUMNS, view.benchmark_rows(report))
    if report.coverage is not None:
        page.add(f"Coverage: {report.coverage.percent:.1f}% of {plural(report.coverage.statements, 'statement')}.")
    return page.text()


def _origin(report: Report) -> str:
    parts = [f"commit {report.commit[:12]}"] if report.commit else []
    parts += [f"branch {report.branch}"] if report.branch else []
    parts += [f"machine {report.machine}"] if report.machine else []
    return f" ({escape(', '.join(parts))})" if parts else ""


def _failures(page: _Page, report: Report) -> None:
    rows = [
        (run.name, test.outcome.value, test.task_id, test.message)
        for stage in report.sections
        for run in stage.runs
        for test in run.summary.tests
        if test.outcome.is_bad
    ]
    page.table(f"## Failures ({len(rows)})", ("run", "outcome", "test", "why"), rows)


def _matrix(page: _Page, report: Report) -> None:
    def state(stage: StageReport) -> str:
        mark = _MARKS.get(stage.state.value, "⬜")
        return f"{mark} {stage.state.words}" + (f": {stage.why}" if stage.why else "")

    page.table(
        "## Stages",
        ("stage", "tests", "state"),
        [(stage.name, view.cell_text(stage.tests) if stage.runs else "-", state(stage)) for stage in report.sections],
    )
    if any(stage.runs for stage in report.stages):
        page.table(
            "## Components",
            ("component", *(stage.name for stage in report.stages), "state"),
            [
                (component.title, *(view.cell_text(cell) for _, cell in component.cells), component.state.words)
                for component in report.components
            ],
        )


def _workers(page: _Page, run: RunReport) -> None:
    strips = {series.worker_id: _strip(series) for series in run.summary.utilization}
    rows = [(*map(escape, row), strips.get(row[0], "-")) for row in view.worker_rows(run.summary)]
    page.table(f"## Workers: {escape(run.name)}", (*view.WORKER_COLUMNS, "cpu over time"), rows, raw=True)


def _strip(series: UtilizationSeries) -> str:
    """Return the cpu used over time as bars, the highest being the worker's own peak."""
    values: Iterable[float] = view.buckets(series, series.used_cpu_cores, 24)
    top = max(series.used_cpu_cores) or 1.0
    return "".join(_BARS[min(7, int(8 * value / top))] for value in values)
