"""report.trace.json: the runs on a time axis, for chrome://tracing and ui.perfetto.dev.

Format: Trace Event Format (Google, 2016), JSON object form, times in microseconds. A worker is a process, an executor
a thread of it; attempts are slices, use is counters, scaling decisions are instants of a process of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from drm.reporting import view
from drm.reporting.report import Report, RunReport
from drm.reporting.text import exchangeable
from drm.summary import AllocationRecord, RunSummary, UtilizationSeries

__all__ = ["render_trace"]

_MOST_NAME = 200
_MOST_REASON = 2_000
_GIB = 2**30
_COLOURS = {"passed": "good", "failed": "terrible", "error": "terrible", "skipped": "grey", "": "bad"}


def render_trace(report: Report) -> str:
    """Return the text of the file."""
    document = {
        "displayTimeUnit": "ms",
        "otherData": {
            "drm": report.drm_version,
            "commit": exchangeable(report.commit, _MOST_NAME),
            "machine": exchangeable(report.machine, _MOST_NAME),
        },
        "traceEvents": list(_events(report)),
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"


def _events(report: Report) -> Iterator[dict[str, Any]]:
    pid = 1
    for run in view.all_runs(report):
        places = {name: pid + 1 + place for place, name in enumerate(_workers(run.summary))}
        yield _named(pid, "process_name", f"{run.name}: scaling")
        yield from _scaling(run.summary, pid)
        for worker_id, place in places.items():
            yield _named(place, "process_name", f"{run.name}: {worker_id}")
        yield from _attempts(run, places)
        for series in run.summary.utilization:
            yield from _use(series, places[series.worker_id])
        pid += 1 + len(places)


def _workers(summary: RunSummary) -> list[str]:
    known = [worker.worker_id for worker in summary.workers]
    known += [record.worker_id for record in summary.allocations.granted]
    known += [series.worker_id for series in summary.utilization]
    return list(dict.fromkeys(known))


def _named(pid: int, what: str, name: str, tid: int = 0) -> dict[str, Any]:
    return {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": {"name": exchangeable(name, _MOST_NAME)}}


def _attempts(run: RunReport, places: dict[str, int]) -> Iterator[dict[str, Any]]:
    threads: dict[tuple[str, str], int] = {}
    for record in run.summary.allocations.granted:
        key = (record.worker_id, record.executor_id)
        if key not in threads:
            threads[key] = len(threads) + 1
            yield _named(places[record.worker_id], "thread_name", record.executor_id, threads[key])
        yield _slice(run.summary, record, places[record.worker_id], threads[key])


def _slice(summary: RunSummary, record: AllocationRecord, pid: int, tid: int) -> dict[str, Any]:
    """Return one attempt; one that has not ended lasts as long as is known of the run."""
    ended = record.finished_s if record.finished_s is not None else summary.wall_s
    outcome = record.outcome.value if record.outcome is not None else ""
    return {
        "ph": "X",
        "pid": pid,
        "tid": tid,
        "ts": _us(record.at_s),
        "dur": max(0.0, _us(ended - record.at_s)),
        "name": exchangeable(summary.tests[record.test].task_id, _MOST_NAME),
        "cat": "test",
        "cname": _COLOURS.get(outcome, "good"),
        "args": {
            "outcome": outcome or "none",
            "attempt": record.attempt,
            "waited_s": record.waited_s,
            "peak_rss_bytes": record.peak_rss_bytes,
        },
    }


def _use(series: UtilizationSeries, pid: int) -> Iterator[dict[str, Any]]:
    columns = [
        ("cpu cores", series.used_cpu_cores, 1),
        ("memory GiB", series.used_memory_bytes, _GIB),
        ("gpus", series.used_gpus, 1),
        ("gpu memory GiB", series.used_gpu_memory_bytes, _GIB),
    ]
    for name, values, unit in columns:
        for at_s, value in zip(series.elapsed_s, values, strict=False):  # a column may be empty
            yield {
                "ph": "C",
                "pid": pid,
                "tid": 0,
                "ts": _us(at_s),
                "name": name,
                "args": {"used": round(value / unit, 4)},
            }


def _scaling(summary: RunSummary, pid: int) -> Iterator[dict[str, Any]]:
    for record in summary.scaling:
        decision = record.decision
        yield {
            "ph": "i",
            "s": "p",
            "pid": pid,
            "tid": 0,
            "ts": _us(record.elapsed_s),
            "name": exchangeable(f"{decision.action.value}: {decision.trigger.code}", _MOST_NAME),
            "cat": "scaling",
            "args": {
                "reason": exchangeable(decision.reason, _MOST_REASON),
                "from": decision.workers,
                "wanted": decision.wanted,
                "to": decision.granted,
            },
        }


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1) if abs(seconds) < 1e12 else 0.0  # which also turns away what is no number
