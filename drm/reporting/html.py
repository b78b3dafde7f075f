"""report.html: one self-contained page without scripts, from ``templates/report.html.j2``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from drm.model.units import format_bytes
from drm.reporting import view
from drm.reporting.attention import attention
from drm.reporting.report import Report, RunReport
from drm.reporting.text import amount, one_line, plural
from drm.summary import RunSummary, TestRecord, UtilizationSeries, WorkerRecord

__all__ = ["render_html"]

_MOST_TESTS = 200  # per run, unless more of them failed
_MOST_ROWS = 300
_MOST_STRIPS = 40
_WIDTH, _HEIGHT = 240, 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One worker over time as two shapes in a box of 240 x 36: what was used, and the line of what was reserved."""

    title: str
    resource: str
    used: str
    reserved: str
    peak: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run, ready to be laid out."""

    run: RunReport
    machine: str
    scaling: tuple[tuple[str, ...], ...]
    more_scaling: int
    workers: tuple[tuple[str, ...], ...]
    more_workers: int
    strips: tuple[Strip, ...]
    tests: tuple[TestRecord, ...]
    left_out: int


def render_html(report: Report, *, files_at: str = "") -> str:
    """Return the text of report.html. ``files_at``: the way from the page to the folder of reports."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here: a run that writes no page needs no jinja2

    environment = Environment(
        loader=PackageLoader("drm.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        line=one_line, plural=plural, seconds=amount, cell=view.cell_text, size=format_bytes, link=_linker(files_at)
    )
    runs = view.all_runs(report)
    outer = {id(run) for stage in report.sections for run in stage.runs}
    return environment.get_template("report.html.j2").render(
        report=report,
        view=view,
        tiles=view.tiles(report),
        attention=attention(report),
        metrics=view.metric_rows(runs),
        benchmarks=view.benchmark_rows(report),
        runs=[_run_view(run, with_tests=id(run) in outer) for run in runs],
    )


def _linker(files_at: str) -> Any:
    return lambda path: quote(os.fsencode(f"{files_at}/{path}" if files_at else path))  # a name may be no UTF-8


def _run_view(run: RunReport, *, with_tests: bool) -> RunView:
    tests, left_out = view.notable_tests(run, _MOST_TESTS) if with_tests else ([], 0)
    scaling, workers = view.scaling_rows(run.summary), view.worker_rows(run.summary)
    return RunView(
        run=run,
        machine=view.describe_machine(run.summary),
        scaling=tuple(scaling[:_MOST_ROWS]),
        more_scaling=max(0, len(scaling) - _MOST_ROWS),
        workers=tuple(workers[:_MOST_ROWS]),
        more_workers=max(0, len(workers) - _MOST_ROWS),
        strips=tuple(_strips(run.summary)),
        tests=tuple(tests),
        left_out=left_out,
    )


def _strips(summary: RunSummary) -> list[Strip]:
    capacities = {worker.worker_id: worker for worker in summary.workers}
    strips = []
    for series in summary.utilization[:_MOST_STRIPS]:
        worker = capacities.get(series.worker_id) or WorkerRecord(worker_id=series.worker_id)
        cpu, memory = worker.capacity.cpu_cores, worker.capacity.memory_bytes
        strips.append(
            _strip(series, "cpu", series.used_cpu_cores, series.reserved_cpu_cores, cpu, "{:.2f} cores".format)
        )
        strips.append(
            _strip(series, "memory", series.used_memory_bytes, series.reserved_memory_bytes, memory, format_bytes)
        )
        if worker.capacity.gpus:
            gpus = worker.capacity.gpus
            strips.append(_strip(series, "gpu", series.used_gpus, series.reserved_gpus, gpus, "{:.2f} gpus".format))
    return strips


def _strip(series: UtilizationSeries, resource: str, used: Any, reserved: Any, capacity: float, describe: Any) -> Strip:
    """Draw the used amount as an area and the reserved one as a line, against the capacity (or the peak, if larger)."""
    top = max(capacity, max(used), max(reserved)) or 1.0
    area = _points(view.buckets(series, used, _WIDTH // 2), top)
    line = _points(view.buckets(series, reserved, _WIDTH // 2), top)
    return Strip(
        title=series.worker_id,
        resource=resource,
        used=f"0,{_HEIGHT} {area} {_WIDTH},{_HEIGHT}",
        reserved=line,
        peak=f"peak {describe(max(used))} of {describe(capacity)}",
    )


def _points(values: Any, top: float) -> str:
    return " ".join(f"{2 * place},{_HEIGHT - _HEIGHT * value / top:.1f}" for place, value in enumerate(values))
