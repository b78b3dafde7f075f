"""report.md: for job summaries and comments. Failures first; under 60 KB whatever the input."""

from __future__ import annotations

from collections.abc import Sequence

from drm.reporting import findings_view as rows
from drm.reporting import view
from drm.reporting.analysis import analyse
from drm.reporting.attention import attention
from drm.reporting.markdown_page import Page, escape, links_line, mark_of
from drm.reporting.report import Report, RunReport, StageReport
from drm.reporting.text import bars
from drm.summary import UtilizationSeries

__all__ = ["LIMIT_BYTES", "add_matrix", "escape", "render_markdown"]

LIMIT_BYTES = 60_000
_FAILURES_BYTES = 24_000
_PARTS = 24  # of the time that a worker was there


def render_markdown(report: Report) -> str:
    """Return the text of report.md."""
    page = Page(LIMIT_BYTES)
    page.add(f"# {mark_of(report.state.value)} DRM: {report.state.words}", "", escape(report.headline, 1000), "")
    page.add(f"Made {escape(report.created_at)} by drm {escape(report.drm_version)}{_origin(report)}.", "")
    if report.links:
        page.add(f"In CI: {links_line(report.links)}", "")
    _failures(page, report)
    needs = [item for item in attention(report) if item.kind != "failed"]
    page.table(
        f"## What needs a person ({len(needs)})",
        ("kind", "where", "what", "why"),
        [(item.kind, item.stage, item.what, item.why) for item in needs],
    )
    add_matrix(page, report)
    runs = view.all_runs(report)
    page.table("## Resource allocation", view.METRIC_COLUMNS, view.metric_rows(runs))
    for run in runs:
        page.table(f"## Scaling decisions: {escape(run.name)}", view.SCALING_COLUMNS, view.scaling_rows(run.summary))
    for run in runs:
        _workers(page, run)
    page.table("## Benchmarks", view.BENCHMARK_COLUMNS, view.benchmark_rows(report))
    if report.coverage is not None:
        page.add(report.coverage.sentence(), "")
    _findings(page, report, runs)
    return page.text()


def _findings(page: Page, report: Report, runs: list[RunReport]) -> None:
    """Add what follows from the facts, and what the runs before were like."""
    found = [analyse(run.name, run.summary) for run in runs]
    page.table("## Makespan", rows.MAKESPAN_COLUMNS, rows.makespan_rows(found))
    page.table("## Forecasts", rows.FORECAST_COLUMNS, rows.forecast_rows(found))
    trends, branch = report.trends, escape(report.trends.branch, 80)
    page.table(f"## Trends of {branch}" if branch else "## Trends", rows.TREND_COLUMNS, rows.trend_rows(trends))
    page.table(f"## Flaky tests in the last runs ({len(trends.flaky)})", rows.FLAKY_COLUMNS, rows.flaky_rows(trends))


def _origin(report: Report) -> str:
    parts = [f"commit {report.commit[:12]}"] if report.commit else []
    parts += [f"branch {report.branch}"] if report.branch else []
    parts += [f"machine {report.machine}"] if report.machine else []
    return f" ({escape(', '.join(parts))})" if parts else ""


def _failures(page: Page, report: Report) -> None:
    failed = [
        (run.name, test.outcome.value, test.task_id, test.message)
        for stage in report.sections
        for run in stage.runs
        for test in run.summary.tests
        if test.outcome.is_bad
    ]
    page.table(f"## Failures ({len(failed)})", ("run", "outcome", "test", "why"), failed, share=_FAILURES_BYTES)


def add_matrix(page: Page, report: Report, heading: str = "##") -> None:
    """Add the tables of stages and of components under headings of that level."""

    def state(stage: StageReport) -> str:
        return f"{mark_of(stage.state.value)} {stage.state.words}" + (f": {stage.why}" if stage.why else "")

    page.table(
        f"{heading} Stages",
        ("stage", "tests", "state"),
        [(stage.name, view.cell_text(stage.tests) if stage.runs else "-", state(stage)) for stage in report.sections],
    )
    if any(stage.runs for stage in report.stages):
        page.table(
            f"{heading} Components",
            ("component", *(stage.name for stage in report.stages), "state"),
            [
                (component.title, *(view.cell_text(cell) for _, cell in component.cells), component.state.words)
                for component in report.components
            ],
        )


def _workers(page: Page, run: RunReport) -> None:
    columns = ["cpu over time", "memory over time"]
    columns += ["gpu over time"] if any(series.used_gpus for series in run.summary.utilization) else []
    strips = {series.worker_id: _strips(series) for series in run.summary.utilization}
    workers = [
        (*map(escape, row), *[strips.get(row[0], {}).get(column, "-") for column in columns])
        for row in view.worker_rows(run.summary)
    ]
    page.table(f"## Workers: {escape(run.name)}", (*view.WORKER_COLUMNS, *columns), workers, raw=True)


def _strips(series: UtilizationSeries) -> dict[str, str]:
    """Return what was used over time as bars, the highest being the worker's own peak."""
    used: tuple[tuple[str, Sequence[float]], ...] = (
        ("cpu over time", series.used_cpu_cores),
        ("memory over time", series.used_memory_bytes),
        ("gpu over time", series.used_gpus),
    )
    return {column: bars(view.buckets(series, values, _PARTS)) for column, values in used if values}
