"""The page without scripts: what it shows of each run as tables and drawings that need neither script nor style. Pure.

It is also what a screen reader is given beside the charts. Bounded: what is left out is said, and is in report.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from drm.model.units import format_bytes
from drm.reporting import view
from drm.reporting.page_data import STATUSES, status_of
from drm.reporting.report import RunReport
from drm.summary import RunSummary, TestRecord, UtilizationSeries, WorkerRecord

__all__ = ["STRIP_HEIGHT", "STRIP_WIDTH", "Bar", "Lane", "RunView", "Strip", "run_views"]

_TESTS = 100  # per run, unless more of them failed
_FAILURES = 300  # in the whole page
_ROWS = 200  # of a table of one run
_STRIPS, _LANES = 24, 40  # in the whole page
_PLACES = 500  # along the time axis of a drawing
STRIP_WIDTH, STRIP_HEIGHT = 240, 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One worker over time as two shapes in a box: what was used, and the line of what was reserved."""

    title: str
    resource: str
    used: str
    reserved: str
    peak: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Tests side by side on one lane, of one status: from ``start`` on, ``length`` of ``_PLACES``."""

    start: int
    length: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What ran on one executor, as bars along the time of the run."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run, ready to be laid out. ``kinds``: what its workers were, and how many of each."""

    run: RunReport
    machine: str
    kinds: tuple[tuple[str, int], ...]
    scaling: tuple[tuple[str, ...], ...]
    more_scaling: int
    workers: tuple[tuple[str, ...], ...]
    more_workers: int
    lanes: tuple[Lane, ...]
    more_lanes: int
    strips: tuple[Strip, ...]
    more_strips: int
    tests: tuple[TestRecord, ...]
    left_out: int


def run_views(runs: Sequence[tuple[RunReport, bool]]) -> list[RunView]:
    """Return the views of the runs; with each whether tests of another run made it: that one's tests judge it."""
    views = []
    strips, lanes, failures = _STRIPS, _LANES, _FAILURES
    for run, inner in runs:
        tests, left_out = ([], 0) if inner else view.notable_tests(run, _TESTS, most_bad=failures)
        failures -= sum(test.outcome.is_bad for test in tests)
        drawn, all_lanes = ([], 0) if inner else _lanes(run.summary, lanes)
        shown = list(_strips(run.summary, strips)) if not inner else []
        lanes, strips = lanes - len(drawn), strips - len(shown)
        scaling, workers = view.scaling_rows(run.summary), view.worker_rows(run.summary)
        item = RunView(
            run=run,
            machine=view.describe_machine(run.summary),
            kinds=_kinds(run.summary),
            scaling=tuple(scaling[:_ROWS]),
            more_scaling=max(0, len(scaling) - _ROWS),
            workers=tuple(workers[:_ROWS]),
            more_workers=max(0, len(workers) - _ROWS),
            lanes=tuple(drawn),
            more_lanes=all_lanes - len(drawn),
            strips=tuple(shown),
            more_strips=max(0, len(run.summary.utilization) - len({strip.title for strip in shown})),
            tests=tuple(tests),
            left_out=left_out,
        )
        views.append(item)
    return views


def _kinds(summary: RunSummary) -> tuple[tuple[str, int], ...]:
    kinds = Counter(f"{worker.worker_type or 'worker'} ({worker.capacity.describe()})" for worker in summary.workers)
    return tuple(kinds.most_common())


def _lanes(summary: RunSummary, most: int) -> tuple[list[Lane], int]:
    """Draw the tests of each executor; where several share a place, the worst is what is seen."""
    width_s = summary.wall_s / _PLACES or 1.0
    found: dict[tuple[str, str], dict[int, int]] = {}
    last = {record.test: record.attempt for record in summary.allocations.granted}
    for record in summary.allocations.granted:
        places = found.setdefault((record.worker_id, record.executor_id), {})
        if len(found) > most:
            continue
        is_last = last[record.test] == record.attempt
        status = status_of(summary.tests[record.test]) if is_last else STATUSES.index("retried")
        first = min(max(int(record.at_s / width_s), 0), _PLACES - 1)
        end = min(max(int((record.at_s + record.wall_s) / width_s), first), _PLACES - 1)
        for place in range(first, end + 1):
            places[place] = max(status, places.get(place, 0))
    lanes = [Lane(title=executor or worker, bars=tuple(_bars(places))) for (worker, executor), places in found.items()]
    return lanes[:most], len(found)


def _bars(places: dict[int, int]) -> Iterator[Bar]:
    edges = [place for place in sorted(places) if places.get(place - 1) != places[place]]
    for start, following in pairwise([*edges, _PLACES]):
        end = start
        while end < following and end in places:
            end += 1
        yield Bar(start=start, length=end - start, status=STATUSES[places[start]])


def _strips(summary: RunSummary, most: int) -> Iterator[Strip]:
    capacities = {worker.worker_id: worker.capacity for worker in summary.workers}
    for series in summary.utilization:
        has = capacities.get(series.worker_id) or WorkerRecord(worker_id=series.worker_id).capacity
        kinds: list[tuple[str, Sequence[float], Sequence[float], float, Callable[[float], str]]] = [
            ("cpu", series.used_cpu_cores, series.reserved_cpu_cores, has.cpu_cores, "{:.2f} cores".format),
            ("memory", series.used_memory_bytes, series.reserved_memory_bytes, has.memory_bytes, _size),
        ]
        if has.gpus and series.used_gpus:
            kinds.append(("gpu", series.used_gpus, series.reserved_gpus, has.gpus, "{:.2f} gpus".format))
        if most < len(kinds):
            return
        most -= len(kinds)
        for kind in kinds:
            yield _strip(series, *kind)


def _size(value: float) -> str:
    return format_bytes(int(value))


def _strip(series: UtilizationSeries, resource: str, used: Any, reserved: Any, capacity: float, describe: Any) -> Strip:
    """Draw the used amount as an area and the reserved one as a line, against the capacity (or the peak, if larger)."""
    top = max(capacity, max(used), max(reserved)) or 1.0
    area, line = (_points(view.buckets(series, values, STRIP_WIDTH // 3), top) for values in (used, reserved))
    return Strip(
        title=series.worker_id,
        resource=resource,
        used=f"0,{STRIP_HEIGHT} {area} {STRIP_WIDTH},{STRIP_HEIGHT}",
        reserved=line,
        peak=f"peak {describe(max(used))} of {describe(capacity)}",
    )


def _points(values: Any, top: float) -> str:
    return " ".join(
        f"{3 * place},{STRIP_HEIGHT - STRIP_HEIGHT * value / top:.1f}" for place, value in enumerate(values)
    )
