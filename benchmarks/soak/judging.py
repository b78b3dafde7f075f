"""What came of a run of the soak, held against what must be so."""

from __future__ import annotations

from benchmarks import run_checks
from benchmarks.chaos_ray import LABELLED
from benchmarks.soak import checks
from benchmarks.soak.suites import MARATHON, TOO_MUCH
from benchmarks.soak.under_way import Run
from drm.model import events
from drm.model.errors import DrmError
from drm.model.work import Outcome
from drm.reporting.ndjson import read_events
from drm.reporting.results import read_results
from drm.summary import summarise

__all__ = ["judge"]

_FULL = "full disk under temp"
_NO_RECORD = "full disk under the reports"
_NO_SPACE = ("No space left", "Errno 28")


def judge(run: Run) -> None:
    result, tests = run.result, len(run.suite.wanted)
    out = (run.project / "log").read_text(encoding="utf-8", errors="replace")
    result.histories_set_aside = out.count("; set aside as ")
    if (run.project / "provider").exists():
        result.provider_faults = len((run.project / "provider").read_text(encoding="utf-8").splitlines())
    result.wrong += checks.account(out, tests)
    if result.exit_code not in (0, 1):
        result.wrong.append(f"exit code {result.exit_code}: {out.strip().splitlines()[-1:]}")
    if _NO_RECORD in run.plan.faults:  # then junit.xml and what was printed are all there is
        result.wrong += checks.junit(run.project / "junit.xml", tests, None)
        return
    try:
        seen = list(read_events(run.record / "events.ndjson"))
        told = read_results(run.record / "results.json")
    except DrmError as error:
        result.wrong.append(f"the record cannot be read: {error}")
        return
    _judge_record(run, seen)
    result.wrong += run_checks.results(seen, told)
    result.wrong += checks.junit(run.project / "junit.xml", tests, told.summary.bad)
    if result.exit_code != int(told.summary.bad > 0):
        result.wrong.append(f"exit code {result.exit_code} with {told.summary.bad} bad tests")
    result.wrong += checks.page(run.project / "reports" / "report.html")
    if "full disk under the history" not in run.plan.faults:
        _judge_history(run)
    if run.plan.suite == MARATHON:
        _judge_memory(run)


def _judge_history(run: Run) -> None:
    """It is whole, or no run minds: SQLite sees a damaged page when it is read, and not all are read by each run."""
    wrong = checks.history(run.around.history)
    if wrong and any(name.startswith("history") for name in run.plan.faults):
        code, out = run.in_peace("after")
        wrong = checks.account(out, len(run.suite.wanted)) if code in (0, 1) else [f"{wrong[0]}; then exit code {code}"]
        run.result.notes += [] if wrong else ["damage was left in a history that the next run did not mind"]
    run.result.wrong += wrong


def _judge_memory(run: Run) -> None:
    result = run.result
    result.slope = checks.memory_slope(result.rss)
    if result.slope is None or result.pytest_slope is None:
        result.notes.append("too few samples of the controller's memory")
    elif result.slope > result.pytest_slope + checks.KIB_PER_TEST * 2**10:
        result.wrong.append(
            f"the controller grows by {result.slope:.0f} bytes for each test, pytest alone by {result.pytest_slope:.0f}"
        )


def _judge_record(run: Run, seen: list[events.Event]) -> None:
    result = run.result
    begun = [event for event in seen if isinstance(event, events.AttemptStarted)]
    result.attempts = len(begun)
    result.attempts_lost = sum(isinstance(e, events.AttemptFinished) and e.death is not None for e in seen)
    result.workers_lost = sum(isinstance(event, events.WorkerLost) for event in seen)
    summary = summarise(seen)
    result.wrong += [f"the account: {doubt}" for doubt in summary.doubts]
    if not summary.finished or summary.reason:
        result.wrong.append(f"the run did not finish: {summary.reason or 'no last event'}")
    excused = _excused(run, seen)
    result.given_up = len(excused)
    result.wrong += run_checks.ended_once(seen, run.suite.wanted, excused)
    for check in (run_checks.attempts, run_checks.reservations, run_checks.instances, run_checks.times):
        result.wrong += check(seen)
    if not any(name.startswith("clock") for name in run.plan.faults) and (run.project / "begun").exists():
        lines = (line.partition(" ") for line in (run.project / "begun").read_text(encoding="utf-8").splitlines())
        result.wrong += run_checks.ran_too_late(seen, ((float(at), name) for at, _, name in lines))
    labels = {event.worker_id: event.labels for event in seen if isinstance(event, events.WorkerReady)}
    result.wrong += [
        f"{event.task_id} ran on {event.worker_id}, which has no label {run.suite.labels[event.task_id]}"
        for event in begun
        if event.task_id in run.suite.labels and run.suite.labels[event.task_id] not in labels.get(event.worker_id, ())
    ]


def _lost_label(run: Run) -> bool:
    """Tell whether the one machine over Ray that carries the label was struck."""
    struck = (each.partition(" at ")[0].rpartition(" ") for each in run.result.struck)
    return run.plan.mode == "ray" and any(who == LABELLED and name in run.cluster.faults for name, _, who in struck)


def _excused(run: Run, seen: list[events.Event]) -> frozenset[str]:
    """Return the tests that may end otherwise than they would in peace, because a fault did that to them."""
    final = [event for event in seen if isinstance(event, events.TestFinished)]
    wanted = run.suite.wanted
    others = {event.task_id: event for event in final if event.outcome not in wanted.get(event.task_id, ())}
    excused = set()
    is_short = not {"memory cgroup", "little memory"}.isdisjoint(run.plan.faults)
    for name, event in others.items():
        full = _FULL in run.plan.faults and any(word in event.message for word in _NO_SPACE)
        memory = name == TOO_MUCH and is_short
        no_label = name in run.suite.labels and event.outcome is Outcome.ERROR and _lost_label(run)
        torn = "is held by another test" in event.message and any(
            word in " ".join(run.result.struck) for word in ("freeze", "partition", "stop", "pause")
        )  # a worker that was given up, and lives: nobody can take its lock away
        if full or memory or no_label or torn:
            excused.add(name)
    strikes = len(run.result.struck) + (run.plan.suite == "random")  # there some tests crash by themselves, once
    excused |= {
        name
        for name, deaths in run_checks.given_up(seen).items()
        if name in others and deaths >= 2 and (deaths <= strikes or (run.result.struck and is_short))
    }
    return frozenset(excused)
