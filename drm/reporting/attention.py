"""What in a report needs a person, worst first. Pure; Markdown and HTML show the same list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from drm.model.work import Outcome
from drm.reporting.denials import denials
from drm.reporting.report import Attention, Report, RunReport, StageReport, State
from drm.reporting.text import plural
from drm.summary import TestRecord

__all__ = ["attention"]

_KINDS = ("unreadable", "error", "failed", "killed", "refused", "lost", "denied", "regressed", "flaky", "missing")


def attention(report: Report) -> list[Attention]:
    """Return one entry per cause; what an inner run provoked on purpose is left to the test that made it."""
    found = [Attention(kind="unreadable", stage="", what=problem, why="") for problem in report.problems]
    for stage in report.sections:
        found.extend(_of_stage(stage))
    for benchmark in report.benchmarks:
        if benchmark.verdict == "regressed":
            change = f"{benchmark.change:+.0%} against the baseline" if benchmark.change is not None else ""
            found.append(Attention(kind="regressed", stage="performance", what=benchmark.name, why=change))
    return sorted(found, key=lambda item: _KINDS.index(item.kind))


def _of_stage(stage: StageReport) -> Iterator[Attention]:
    if stage.state is State.MISSING:
        yield Attention(kind="missing", stage=stage.name, what=f"the {stage.name} stage", why=stage.why)
    if stage.state is State.PARTIAL:
        yield Attention(kind="missing", stage=stage.name, what=f"a part of the {stage.name} stage", why=stage.why)
    for run in stage.runs:
        if run.state is State.ERROR:
            yield Attention(kind="error", stage=run.name, what=f"the {run.name} run", why=run.why)
        yield from _failures(run)
        yield from _resources(run)


def _failures(run: RunReport) -> Iterator[Attention]:
    """Group failures by the line that explains them: one broken thing often fails many tests."""
    causes: dict[str, list[TestRecord]] = defaultdict(list)
    killed = {(event.task_id, event.cause) for event in run.summary.interruptions}  # listed as such
    for test in run.summary.tests:
        if (test.task_id, test.message) in killed:
            continue
        if test.outcome.is_bad:
            causes[test.message].append(test)
        elif test.flaky:
            why = f"passed on attempt {test.attempts}"
            yield Attention(kind="flaky", stage=run.name, what=test.task_id, why=why, at_s=test.started_s)
    for message, tests in causes.items():
        others = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        first_s = min((test.started_s for test in tests if test.started_s is not None), default=None)
        what = tests[0].task_id + others
        yield Attention(kind="failed", stage=run.name, what=what, why=message, at_s=first_s, times=len(tests))


def _resources(run: RunReport) -> Iterator[Attention]:
    outcomes = {test.task_id: test.outcome for test in run.summary.tests}
    for event in run.summary.interruptions:
        end = outcomes.get(event.task_id, Outcome.NOT_RUN).value.replace("_", " ")
        why = f"attempt {event.attempt}: {event.describe()}; in the end: {end}"
        yield Attention(kind="killed", stage=run.name, what=event.task_id, why=why, at_s=event.at_s)
    for refusal in run.summary.allocations.refusals:
        yield Attention(kind="refused", stage=run.name, what=refusal.task_id, why=refusal.reason, at_s=refusal.at_s)
    for worker in run.summary.workers:
        if worker.requeued:
            why = f"{worker.lost_reason}; {plural(worker.requeued, 'test')} went back to the queue"
            yield Attention(kind="lost", stage=run.name, what=worker.worker_id, why=why, at_s=worker.lost_s)
    for found in denials(run.summary):
        what = f"scaling, {plural(found.times, 'time')}"
        yield Attention(
            kind="denied", stage=run.name, what=what, why=found.reason, at_s=found.first_s, times=found.times
        )
