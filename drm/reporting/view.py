"""What a report shows, as rows of plain text: Markdown and HTML only lay them out and escape them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from drm.model.plan import ScalingAction
from drm.model.units import format_bytes
from drm.reporting.report import Cell, Report, RunReport, State
from drm.reporting.text import amount, counts_text, percent, plural
from drm.summary import RunSummary, ScalingRecord, TestRecord, UtilizationSeries, WorkerRecord

__all__ = [
    "BENCHMARK_COLUMNS",
    "METRIC_COLUMNS",
    "SCALING_COLUMNS",
    "WORKER_COLUMNS",
    "all_runs",
    "benchmark_rows",
    "buckets",
    "cell_text",
    "metric_rows",
    "notable_tests",
    "same_decision",
    "scaling_rows",
    "worker_rows",
]

Row = tuple[str, ...]
METRIC_COLUMNS = (
    "run",
    "outcomes",
    "wall",
    "plan / bound",
    "slots busy",
    "wait p50 / p95",
    "placed",
    "cpu used / reserved",
    "memory peak",
    "cost",
)
SCALING_COLUMNS = ("at", "decision", "type", "workers", "trigger", "reason", "outcome")
WORKER_COLUMNS = ("worker", "type", "capacity", "ready", "gone", "attempts", "busy", "cpu mean / peak", "memory peak")
BENCHMARK_COLUMNS = ("benchmark", "least", "median", "rounds", "baseline", "change (limit)", "verdict", "figures")


def all_runs(report: Report) -> list[RunReport]:
    """Return every run that left a record, each followed by the runs that its tests made."""
    return [run for stage in report.sections for outer in stage.runs for run in (outer, *outer.inner)]


def cell_text(cell: Cell) -> str:
    """Return ``"12/12"``, ``"3 of 12 failed"`` or the state in words."""
    if cell.state is State.FAILING:
        return f"{cell.ran - cell.passed} of {cell.ran} failed"
    if cell.state in (State.MISSING, State.NO_TESTS):
        return "missing" if cell.state is State.MISSING else "skipped" if cell.skipped else "no tests"
    words = f"{cell.passed}/{cell.ran}"
    return words if cell.state is State.PASSING else f"{words} {cell.state.words}"


def _slots_busy(summary: RunSummary) -> float | None:
    room = summary.executors * summary.wall_s
    return sum(test.wall_s for test in summary.tests) / room if room else None


def metric_rows(runs: Iterable[RunReport]) -> list[Row]:
    """Return how each run used its resources."""
    return [_metrics(run.name, run.summary) for run in runs]


def _metrics(name: str, summary: RunSummary) -> Row:
    given = summary.allocations
    guessed = {method for method, _ in summary.forecast_methods} == {"default"}  # nothing was known of any test
    planned = summary.planned_s and not guessed
    bound = f"{amount(summary.planned_s)} / {amount(summary.lower_bound_s)}" if planned else "-"
    asked = given.placed + len(given.refusals)
    peak = max((test.peak_rss_bytes for test in summary.tests), default=0)
    return (
        name,
        counts_text(summary, ", "),
        amount(summary.wall_s),
        bound,
        percent(_slots_busy(summary)),
        f"{amount(given.wait_s(0.5))} / {amount(given.wait_s(0.95))}" if given.placed else "-",
        f"{given.placed}/{asked}",
        f"{given.used_cpu_s:.1f} / {given.reserved_cpu_s:.1f} core-s",
        format_bytes(peak) if peak else "-",
        f"{summary.cost_usd:.4f} USD" if summary.cost_usd else "-",
    )


def scaling_rows(summary: RunSummary) -> list[Row]:
    """Return the decisions in order; the same decision to hold, again and again, is one row."""
    rows = []
    for _, group in groupby(summary.scaling, key=same_decision):
        records = list(group)
        rows.append(_scaling(records[0], len(records)))
    return rows


def same_decision(record: ScalingRecord) -> tuple[object, ...]:
    """Return what decisions to hold have in common that can be shown as one; any other has nothing."""
    decision = record.decision
    if decision.action is not ScalingAction.HOLD:
        return (id(record),)
    return (decision.action, decision.worker_type, decision.workers, decision.trigger.code)


def _scaling(record: ScalingRecord, times: int) -> Row:
    decision, trigger = record.decision, record.decision.trigger
    extra = [f"limits: {', '.join(decision.limits_hit)}"] if decision.limits_hit else []
    extra += [f"rejected: {', '.join(decision.alternatives)}"] if decision.alternatives else []
    granted = f" (granted {decision.granted})" if decision.granted != decision.wanted else ""
    return (
        amount(record.elapsed_s),
        decision.action.value + (f" x{times}" if times > 1 else ""),
        decision.worker_type,
        f"{decision.workers} → {decision.wanted}{granted}",
        f"{trigger.code}: {trigger.metric} {trigger.value:g} against {trigger.threshold:g}",
        "; ".join([decision.reason, *extra]),
        _outcome(record),
    )


def _outcome(record: ScalingRecord) -> str:
    """Return what came of a decision: at once, how many of its workers came or went and when, and what they cost."""
    parts = [record.outcome] if record.outcome else []
    if record.changed:
        after = f" after {amount(record.latency_s)}" if record.latency_s is not None else ""
        what = "gone" if record.decision.action is ScalingAction.DOWN else "ready"
        parts.append(f"{record.done} of {len(record.changed)} {what}{after}")
    if record.cost_usd:
        parts.append(f"{record.cost_usd:.4f} USD")
    return "; ".join(parts) or "-"


def worker_rows(summary: RunSummary) -> list[Row]:
    """Return the workers of a run and how they were used."""
    series = {item.worker_id: item for item in summary.utilization}
    return [_worker(worker, series.get(worker.worker_id), summary) for worker in summary.workers]


def _worker(worker: WorkerRecord, series: UtilizationSeries | None, summary: RunSummary) -> Row:
    lived_s = (worker.lost_s if worker.lost_s is not None else summary.wall_s) - (worker.ready_s or 0.0)
    lived_s -= sum(back_s - gone_s for gone_s, back_s in worker.away)
    gone = "-" if worker.lost_s is None else f"{amount(worker.lost_s)} {worker.lost_reason}"
    cpu, memory = (series.used_cpu_cores, series.used_memory_bytes) if series is not None else ((), ())
    return (
        worker.worker_id,
        worker.worker_type,
        worker.capacity.describe() + (f" [{', '.join(worker.labels)}]" if worker.labels else ""),
        amount(worker.ready_s) if worker.ready_s is not None else "-",
        gone,
        str(worker.attempts),
        f"{worker.busy_s / lived_s:.1f} tests at a time" if lived_s > 0 else "-",
        f"{sum(cpu) / len(cpu):.2f} / {max(cpu):.2f} cores" if cpu else "-",
        format_bytes(max(memory)) if memory else "-",
    )


def benchmark_rows(report: Report) -> list[Row]:
    """Return the benchmarks beside their baselines."""
    return [
        (
            item.name,
            amount(item.min_s),
            amount(item.median_s),
            str(item.rounds),
            amount(item.baseline_s) if item.baseline_s is not None else "-",
            f"{item.change:+.1%} ({percent(item.limit)})" if item.change is not None else "-",
            item.verdict or "-",
            ", ".join(f"{name} {value}" for name, value in item.figures) or "-",
        )
        for item in report.benchmarks
    ]


def notable_tests(run: RunReport, most: int, *, most_bad: int) -> tuple[list[TestRecord], int]:
    """Return the failed tests, up to ``most_bad``, then the slowest, ``most`` in all; and how many are left out."""
    bad = [test for test in run.summary.tests if test.outcome.is_bad][: max(0, most_bad)]
    rest = sorted(
        (test for test in run.summary.tests if not test.outcome.is_bad), key=lambda t: (not t.flaky, -t.wall_s)
    )
    shown = bad + rest[: max(0, most - len(bad))]
    return shown, run.summary.collected - len(shown)


def buckets(series: UtilizationSeries, values: Sequence[float], number: int) -> Iterator[float]:
    """Yield the largest value in each of ``number`` equal parts of the time that the samples span.

    The largest, so that a short peak is seen; a part without a sample repeats the one before.
    """
    start, end = series.elapsed_s[0], series.elapsed_s[-1]
    width = (end - start) / number or 1.0
    parts: dict[int, float] = {}
    for at, value in zip(series.elapsed_s, values, strict=True):
        place = min(number - 1, max(0, int((at - start) / width)))
        parts[place] = max(value, parts.get(place, 0.0))
    last = 0.0
    for place in range(number):
        last = parts.get(place, last)
        yield last


def describe_machine(summary: RunSummary) -> str:
    """Return the machine of a run in one line."""
    memory = format_bytes(summary.memory_bytes) if summary.memory_bytes else "unknown memory"
    return f"{summary.machine or 'unknown machine'}: {plural(int(summary.cpu_cores), 'core')}, {memory}"
