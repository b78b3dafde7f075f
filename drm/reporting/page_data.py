"""What the page's charts and its table of tests are drawn from: runs as columns, small enough to be carried along.

Times are whole milliseconds from the run's start (durations: tenths of one), amounts of a worker 200ths of what it
has, durations, cpu and memory of a test three digits: a person tells no more apart. ``report.json`` is exact.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from drm.model.work import Outcome
from drm.reporting.analysis import scales_executors
from drm.reporting.findings import Makespan, Prediction, RunAnalysis
from drm.reporting.page_columns import Columns, pack
from drm.reporting.report import RunReport
from drm.reporting.text import one_line
from drm.reporting.view import same_decision
from drm.summary import AllocationRecord, RunSummary, ScalingRecord, TestRecord, UtilizationSeries, WorkerRecord

__all__ = ["STATUSES", "page_data", "status_of"]

DATA_VERSION = 1
STATUSES = ("not run", "skipped", "xfailed", "passed", "xpassed", "flaky", "retried", "failed", "error")  # worst last
_STATUS = {outcome: STATUSES.index(outcome.value.replace("_", " ")) for outcome in Outcome}
_FLAKY, _RETRIED = STATUSES.index("flaky"), STATUSES.index("retried")
_NAME, _MESSAGE, _SHORT = 300, 1000, 120  # characters
_MESSAGES = 300_000  # characters of messages in one page; after that they are cut short
_MOST_DECISIONS, _MOST_REFUSALS = 5000, 2000
_RSS = 2**16  # bytes: the unit of a test's memory


def page_data(runs: Sequence[tuple[RunReport, bool, RunAnalysis]]) -> str:
    """Return the payload of the page: of each run itself, whether tests made it, and what follows from it."""
    columns = Columns()
    budget = [_MESSAGES]
    header = {
        "version": DATA_VERSION,
        "statuses": STATUSES,
        "runs": [_run(run, inner, found, columns, budget) for run, inner, found in runs],
    }
    return pack(header, columns)


def status_of(test: TestRecord) -> int:
    """Return the place of the test's status in ``STATUSES``."""
    return _FLAKY if test.flaky and not test.outcome.is_bad else _STATUS[test.outcome]


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def _ms(value: float | None) -> int:
    return round(1000 * _finite(value))


def _optional_s(value: float | None) -> float | None:
    return round(value, 3) if value is not None and math.isfinite(value) else None


def _s(value: float) -> float:
    return round(_finite(value), 3)


def _cost(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None


def _three_digits(value: float) -> int:
    number = int(value)
    if number < 1000:
        return max(number, 0)
    unit: int = 10 ** (len(str(number)) - 3)
    return (number + unit // 2) // unit * unit


def _run(run: RunReport, inner: bool, found: RunAnalysis, columns: Columns, budget: list[int]) -> dict[str, Any]:
    summary = run.summary
    places = {worker.worker_id: place for place, worker in enumerate(summary.workers)}
    requested = {item.worker_id: item.requested_s for item in summary.instances}
    groups = [list(group) for _, group in groupby(summary.scaling, key=same_decision)]
    return {
        "name": one_line(run.name),
        "stage": run.name.partition(" / ")[0],
        "state": run.state.words,
        "inner": inner,
        "wall": _finite(summary.wall_s),
        "executors": summary.executors,
        "makespan": _makespan(found.makespan),
        "prediction": _prediction(found.prediction),
        "scaled": "executor" if scales_executors(summary) else "worker",
        "pool": [[_s(step.at_s), step.running, step.wanted] for step in found.pool],
        "workers": [_worker(worker, requested.get(worker.worker_id)) for worker in summary.workers],
        "tests": _tests(summary, columns, budget),
        "attempts": _attempts(summary, places, columns),
        "refusals": [
            [one_line(item.task_id, _NAME), one_line(item.reason, 400), _s(item.at_s), _s(item.waited_s)]
            for item in summary.allocations.refusals[:_MOST_REFUSALS]
        ],
        "refused": len(summary.allocations.refusals),
        "scaling": [_decision(group[0], len(group)) for group in groups[:_MOST_DECISIONS]],
        "samples": [_samples(series, summary.workers, places, columns) for series in summary.utilization],
    }


def _makespan(found: Makespan) -> dict[str, Any]:
    path = found.critical_path
    return {
        "tests": _s(found.tests_s),
        "planned": _optional_s(found.planned_s),
        "bound": _s(found.lower_bound_s),
        "slots": found.slots,
        "unit": found.unit,
        "whatIf": [[item.number, _s(item.makespan_s)] for item in found.what_if],
        "last": one_line(path[-1].executor_id, 60) if path else "",
        "steps": len(path),
        "idle": _s(sum(_finite(step.idle_s) for step in path)),
    }


def _prediction(found: Prediction) -> dict[str, Any]:
    return {
        "timed": found.timed,
        "error": _optional_s(found.time_error_median),
        "weighted": _optional_s(found.time_error_weighted),
        "sized": found.sized,
        "covered": _optional_s(found.memory_covered),
        "reserved": _s(found.reserved_gib_hours),
        "wasted": _s(found.wasted_gib_hours),
    }


def _worker(worker: WorkerRecord, requested_s: float | None) -> dict[str, Any]:
    return {
        "id": one_line(worker.worker_id, 60),
        "type": one_line(worker.worker_type, 60),
        "has": one_line(worker.capacity.describe(), 100),
        "requested": _optional_s(requested_s),
        "ready": _optional_s(worker.ready_s),
        "gone": _optional_s(worker.gone_s if worker.gone_s is not None else worker.lost_s),
        "away": [[_s(gone_s), _s(back_s)] for gone_s, back_s in worker.away],
        "why": one_line(worker.lost_reason, 200),
    }


def _decision(record: ScalingRecord, times: int) -> list[Any]:
    decision, trigger = record.decision, record.decision.trigger
    return [
        _s(record.elapsed_s),
        decision.action.value,
        one_line(decision.worker_type, 60),
        decision.workers,
        decision.wanted,
        decision.granted,
        one_line(trigger.code, 40),
        f"{one_line(trigger.metric, 60)} {trigger.value:g} against {trigger.threshold:g}",
        one_line(decision.reason, 600),
        [one_line(text, 200) for text in decision.alternatives[:10]],
        [one_line(text, 60) for text in decision.limits_hit[:10]],
        one_line(record.outcome, 100),
        times,
        [[one_line(name, 40), round(_finite(value), 3)] for name, value in decision.inputs[:12]],
        [len(record.changed), record.done, _optional_s(record.latency_s), _cost(record.cost_usd)],
    ]


def _tests(summary: RunSummary, columns: Columns, budget: list[int]) -> dict[str, Any]:
    """Return the tests in the order in which they were collected."""
    tests = summary.tests
    files: dict[str, int] = {}
    messages: dict[str, int] = {"": 0}
    file_of, names, message_of = [], [], []
    for test in tests:
        file, _, name = test.task_id.partition("::")
        file_of.append(files.setdefault(one_line(file, _NAME), len(files)))
        names.append(one_line(name, _NAME))
        message_of.append(messages.setdefault(_message(test.message, budget, messages), len(messages)))
    return {
        "files": list(files),
        "file": columns.steps(file_of),
        "names": names,
        "messages": list(messages),
        "message": columns.unsigned(message_of),
        "status": columns.unsigned(status_of(test) for test in tests),
        "cpu": columns.unsigned(_three_digits(10_000 * _finite(test.cpu_s)) for test in tests),
        "rss": columns.unsigned(_three_digits(test.peak_rss_bytes / _RSS) for test in tests),
    }


def _message(text: str, budget: list[int], known: dict[str, int]) -> str:
    if not text:
        return ""
    message = one_line(text, _MESSAGE)
    if message in known:
        return message
    if budget[0] < len(message):
        return one_line(text, _SHORT)
    budget[0] -= len(message)
    return message


def _attempts(summary: RunSummary, places: dict[str, int], columns: Columns) -> dict[str, Any]:
    """Return the attempts executor by executor (``lanes``: its name, the place of its worker, how many), in order.

    ``gap`` is from the end of the one before to the start of this one, ``asked`` when its resources were asked for:
    small numbers where an executor is busy, and the same one where tests waited for it.
    """
    last = {record.test: record.attempt for record in summary.allocations.granted}
    found: dict[tuple[int, str], list[tuple[int, AllocationRecord]]] = defaultdict(list)
    for record in summary.allocations.granted:
        found[places.get(record.worker_id, -1), record.executor_id].append((_ms(record.at_s), record))
    lanes, test, gap, wall, status, asked, number = [], [], [], [], [], [], []
    for (worker, executor), entries in sorted(found.items(), key=lambda lane: (lane[0][0], lane[1][0][0])):
        free = 0
        for start, record in sorted(entries, key=itemgetter(0)):
            tenths = _three_digits(10_000 * _finite(record.wall_s) + 0.5)
            is_last = last[record.test] == record.attempt and record.finished_s is not None
            test.append(record.test)
            gap.append(start - free)
            wall.append(tenths)
            status.append(status_of(summary.tests[record.test]) if is_last else _RETRIED)
            asked.append(start - _ms(record.waited_s))
            number.append(record.attempt)
            free = start + tenths // 10
        lanes.append([one_line(executor, 60), worker, len(entries)])
    return {
        "lanes": lanes,
        "test": columns.steps(test),
        "gap": columns.signed(gap),
        "wall": columns.unsigned(wall),
        "status": columns.unsigned(status),
        "asked": columns.steps(asked),
        "number": columns.unsigned(number),
    }


def _samples(
    series: UtilizationSeries, workers: Sequence[WorkerRecord], places: dict[str, int], columns: Columns
) -> dict[str, Any]:
    place = places.get(series.worker_id, -1)
    has = workers[place].capacity if place >= 0 else WorkerRecord(worker_id="").capacity
    gpu_memory = workers[place].gpu_memory_bytes if place >= 0 else 0
    resources: list[tuple[str, float, Sequence[float], Sequence[float]]] = [
        ("cpu", has.cpu_cores, series.used_cpu_cores, series.reserved_cpu_cores),
        ("memory", has.memory_bytes, series.used_memory_bytes, series.reserved_memory_bytes),
        ("gpu", has.gpus, series.used_gpus, series.reserved_gpus),
        ("gpu_memory", gpu_memory, series.used_gpu_memory_bytes, ()),
    ]
    found = {}
    for name, capacity, used, reserved in resources:
        if not used or (name.startswith("gpu") and not capacity and not any(used)):
            continue
        clean = [[_finite(value) for value in values] for values in (used, reserved)]
        most = capacity or max((max(values, default=0.0) for values in clean), default=0.0)
        found[name] = [_s(most), columns.shares(clean[0], most), columns.shares(clean[1], most)]
    return {
        "id": one_line(series.worker_id, 60),
        "worker": place,
        "at": columns.steps(_ms(at) for at in series.elapsed_s),
        "of": found,
    }
