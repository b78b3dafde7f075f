"""Works out what follows from the facts of a run: ``findings`` has the values. Pure."""

from __future__ import annotations

import heapq
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from drm.model.plan import ScalingAction
from drm.reporting.findings import Makespan, Numbers, PathStep, PoolStep, Prediction, RunAnalysis, WhatIf
from drm.reporting.report import Report
from drm.summary import AllocationRecord, RunSummary

__all__ = ["analyse", "numbers_of", "scales_executors", "what_if"]

_GIB_HOUR = 2**30 * 3600
_AROUND = 2  # workers fewer and more
_EXECUTORS_OF = "executors of "  # as the coordinator calls what is scaled inside a worker


def analyse(name: str, summary: RunSummary) -> RunAnalysis:
    """Return what follows from one run."""
    return RunAnalysis(
        run=name,
        numbers=_numbers([summary], regressed=None),
        makespan=_makespan(summary),
        prediction=_prediction(summary),
        pool=tuple(_executor_pool(summary) if scales_executors(summary) else _pool(summary)),
    )


def numbers_of(report: Report) -> Numbers:
    """Return the numbers of all runs of a report together, those that tests made of their own left out."""
    runs = [run.summary for stage in report.sections for run in stage.runs]
    regressed = sum(item.verdict == "regressed" for item in report.benchmarks) if report.benchmarks else None
    return _numbers(runs, regressed=regressed)


def _numbers(runs: Sequence[RunSummary], *, regressed: int | None) -> Numbers:
    room = sum(run.executors * run.wall_s for run in runs)
    wall_s = sum(run.wall_s for run in runs)
    work_s = sum(map(_work_s, runs))
    bound_s = sum(map(_bound_s, runs))
    waits = sorted(wait for run in runs for wait in run.allocations.waits_s)
    placed = sum(run.allocations.placed for run in runs)
    refused = sum(len(run.allocations.refusals) for run in runs)
    actions = [record.decision.action for run in runs for record in run.scaling]
    return Numbers(
        slots_busy=work_s / room if room else None,
        wait_p50_s=_quantile(waits, 0.5),
        wait_p95_s=_quantile(waits, 0.95),
        placed=placed,
        refused=refused,
        success_rate=placed / (placed + refused) if placed + refused else None,
        decisions=len(actions),
        denied=actions.count(ScalingAction.DENIED),
        holds=actions.count(ScalingAction.HOLD),
        speed_up=work_s / wall_s if wall_s and work_s else None,
        ideal_speed_up=work_s / bound_s if bound_s else None,
        regressed=regressed,
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value that this share of them does not exceed (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _work_s(run: RunSummary) -> float:
    return sum(record.wall_s for record in run.allocations.granted)


def _longest_s(run: RunSummary) -> float:
    return max((record.wall_s for record in run.allocations.granted), default=0.0)


def _bound_s(run: RunSummary) -> float:
    return max(_longest_s(run), _work_s(run) / run.executors) if run.executors else 0.0


def _makespan(run: RunSummary) -> Makespan:
    ended = [record for record in run.allocations.granted if record.finished_s is not None]
    first = min((record.at_s for record in run.allocations.granted), default=0.0)
    last = max((record.finished_s or 0.0 for record in ended), default=first)
    guessed = {method for method, _ in run.forecast_methods} == {"default"}  # nothing was known of any test
    workers = _most_workers(run)
    per_worker = run.executors / workers if workers > 1 else 1.0
    number = workers if workers > 1 else run.executors
    return Makespan(
        wall_s=run.wall_s,
        tests_s=max(0.0, last - first),
        planned_s=run.planned_s if run.planned_s and not guessed else None,
        lower_bound_s=_bound_s(run),
        longest_s=_longest_s(run),
        work_s=_work_s(run),
        slots=run.executors,
        critical_path=tuple(_critical_path(ended)),
        unit="workers" if workers > 1 else "executors",
        what_if=tuple(what_if([record.wall_s for record in ended], number, per_worker)) if number else (),
    )


def what_if(times_s: Sequence[float], number: int, per_worker: float = 1.0) -> Iterable[WhatIf]:
    """Yield the makespan on two fewer up to two more than ``number`` workers, each running ``per_worker`` at once.

    List scheduling in the order of the actual start (Graham 1969): locks, memory and the time workers take to start
    are left out, so that the differences tell, not the figures alone.
    """
    for count in range(max(1, number - _AROUND), number + _AROUND + 1):
        ends = [0.0] * max(1, round(count * per_worker))
        for time_s in times_s:
            heapq.heapreplace(ends, ends[0] + time_s)
        yield WhatIf(number=count, makespan_s=max(ends))


def _critical_path(ended: Sequence[AllocationRecord]) -> list[PathStep]:
    """Return the attempts of the executor that ended last, in order: what kept the run from ending sooner."""
    if not ended:
        return []
    last = max(ended, key=lambda record: record.finished_s or 0.0)
    chain = sorted((record for record in ended if record.executor_id == last.executor_id), key=lambda one: one.at_s)
    steps, free_s = [], 0.0
    for record in chain:
        finished_s = record.finished_s or 0.0
        steps.append(
            PathStep(
                test=record.test,
                attempt=record.attempt,
                worker_id=record.worker_id,
                executor_id=record.executor_id,
                at_s=record.at_s,
                finished_s=finished_s,
                idle_s=max(0.0, record.at_s - free_s),
            )
        )
        free_s = finished_s
    return steps


def _prediction(run: RunSummary) -> Prediction:
    done = [record for record in run.allocations.granted if record.outcome is not None and record.wall_s > 0]
    timed = [(record.expected_s, record.wall_s) for record in done if record.expected_s is not None]
    sized = [record for record in done if record.reserved_memory_bytes and record.peak_rss_bytes]
    measured_s = sum(wall_s for _, wall_s in timed)
    within = sum(record.peak_rss_bytes <= record.reserved_memory_bytes for record in sized)
    wasted = sum(max(0, one.reserved_memory_bytes - one.peak_rss_bytes) * one.wall_s for one in sized)
    return Prediction(
        methods=run.forecast_methods,
        timed=len(timed),
        time_error_median=statistics.median(abs(was - wall_s) / wall_s for was, wall_s in timed) if timed else None,
        time_error_weighted=sum(abs(was - wall_s) for was, wall_s in timed) / measured_s if timed else None,
        sized=len(sized),
        memory_covered=within / len(sized) if sized else None,
        reserved_gib_hours=run.allocations.reserved_byte_s / _GIB_HOUR,
        wasted_gib_hours=wasted / _GIB_HOUR,
    )


def _most_workers(run: RunSummary) -> int:
    return max((step.running for step in _pool(run)), default=0)


def scales_executors(run: RunSummary) -> bool:
    """Tell whether decisions were about the executors of one worker, not about workers."""
    return bool(run.scaling) and all(record.decision.worker_type.startswith(_EXECUTORS_OF) for record in run.scaling)


def _executor_pool(run: RunSummary) -> list[PoolStep]:
    """Return the steps of how many executors there should have been, and were, as far as samples tell."""
    running = sorted(
        pair for series in run.utilization for pair in zip(series.elapsed_s, series.executors, strict=True)
    )
    asked = [(record.elapsed_s, record.decision.wanted) for record in run.scaling]
    now = {"running": 0, "wanted": 0}
    steps: list[PoolStep] = []
    changes = [("running", *pair) for pair in running] + [("wanted", *pair) for pair in asked]
    for what, at_s, number in sorted(changes, key=lambda change: change[1]):
        now[what] = number
        step = PoolStep(at_s=at_s, **now)
        if not steps or (steps[-1].wanted, steps[-1].running) != (step.wanted, step.running):
            steps.append(step)
    return steps


def _pool(run: RunSummary) -> list[PoolStep]:
    """Return the steps of how many workers there should have been, and were; what was wanted where nothing decided."""
    changes: dict[float, int] = defaultdict(int)
    for worker in run.workers:
        if worker.ready_s is not None:
            changes[worker.ready_s] += 1
            if worker.gone_s is not None:
                changes[worker.gone_s] -= 1
            for gone_s, back_s in worker.away:
                changes[gone_s] -= 1
                changes[back_s] += 1
    asked: dict[float, dict[str, int]] = defaultdict(dict)
    for record in run.scaling:
        asked[record.elapsed_s][record.decision.worker_type] = record.decision.wanted
    wanted: dict[str, int] = {}
    running = 0
    steps: list[PoolStep] = []
    for at_s in sorted({*changes, *asked}):
        running += changes.get(at_s, 0)
        wanted.update(asked.get(at_s, {}))
        step = PoolStep(at_s=at_s, wanted=sum(wanted.values()) if wanted else running, running=running)
        if not steps or (steps[-1].wanted, steps[-1].running) != (step.wanted, step.running):
            steps.append(step)
    return steps
