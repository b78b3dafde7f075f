"""What a run says in the terminal: one status line while it goes, an account at its end. Pure text."""

from __future__ import annotations

from collections.abc import Iterator

from drm.model.resources import Resources
from drm.model.units import format_bytes, format_duration
from drm.model.work import Outcome
from drm.reporting.denials import denials
from drm.reporting.text import counts_text, one_line, plural
from drm.summary import Interruption, RunSummary

__all__ = ["closing_lines", "status_line"]

_MOST_LINES = 10  # of each kind at the end; the report has them all
_INLINE = "master"  # the executor id of a run without executors: pytest-xdist's name for the controller


def status_line(
    *,
    workers: int,
    executors: int,
    running: int,
    reserved: Resources,
    capacity: Resources,
    finished: int,
    total: int,
    failed: int,
    eta_s: float | None,
    width: int,
    held: bool = False,
) -> str:
    """Return the state of the run in at most ``width`` characters: the least telling parts go first."""
    progress = f"{finished}/{total}"
    percent = f" {100 * finished // total}%" if total else ""
    bad = f"{failed} failed" if failed else ""
    going = f"{running} running{', no more for want of memory' if held else ''}"
    eta = f"ETA {format_duration(max(0.0, eta_s))}" if eta_s is not None else ""
    cpu = f"cpu {reserved.cpu_cores:g}/{capacity.cpu_cores:g}"
    memory = f"mem {format_bytes(reserved.memory_bytes)}/{format_bytes(capacity.memory_bytes)}"
    gpu = f"gpu {reserved.gpus:g}/{capacity.gpus:g}" if capacity.gpus else ""
    people = f"{plural(workers, 'worker')}, {plural(executors, 'executor')}"
    candidates = (
        ("drm: " + progress + percent, bad, eta, going, people, f"reserved {cpu}", memory, gpu),
        ("drm: " + progress + percent, bad, eta, going, people, cpu, gpu),
        ("drm: " + progress + percent, bad, eta, going, cpu),
        ("drm: " + progress, bad, eta, going),
        (progress, bad, eta),
        (progress, bad),
    )
    lines = [" | ".join(part for part in parts if part) for parts in candidates]
    return next((line for line in lines if len(line) <= width), progress[: max(0, width)])


def closing_lines(summary: RunSummary) -> list[str]:
    """Return the account of the run, then whatever needs a person."""
    lines = [f"drm: {_account(summary)}"]
    if not summary.finished:
        lines.append("drm: the run did not finish" + (f": {one_line(summary.reason)}" if summary.reason else ""))
    elif summary.reason and summary.count(Outcome.NOT_RUN):
        lines.append(f"drm: the run was cut short: {one_line(summary.reason)}")
    lines.extend(
        f"drm: THE ACCOUNT DOES NOT ADD UP: {one_line(doubt)}; this is an error of DRM" for doubt in summary.doubts
    )
    for group in (_flaky(summary), _interruptions(summary), _refusals(summary), _not_run(summary), _denials(summary)):
        lines.extend(_capped(group))
    return lines


def _account(summary: RunSummary) -> str:
    flaky = f" ({summary.flaky} flaky)" if summary.flaky else ""
    parts = [f"{plural(summary.collected, 'test')} = {counts_text(summary)}{flaky}"]
    if summary.executors:
        parts.append(_where(summary))
    parts.append(format_duration(summary.wall_s))
    work_s = sum(test.wall_s for test in summary.tests)
    if summary.executors > 1 and summary.wall_s > 0:
        parts.append(f"{work_s / summary.wall_s:.1f} tests at a time on average")
    if summary.cost_usd:
        parts.append(f"{summary.cost_usd:.4f} USD")
    return "; ".join(parts)


def _where(summary: RunSummary) -> str:
    if {test.executor_id for test in summary.tests if test.executor_id} == {_INLINE}:
        return "in this process"
    workers = len(summary.workers)
    return plural(summary.executors, "executor") + (f" on {plural(workers, 'worker')}" if workers else "")


def _flaky(summary: RunSummary) -> list[str]:
    """Name those that are no news in the list of what was interrupted: they failed by themselves at first."""
    interrupted = {event.task_id for event in summary.interruptions}
    return [
        f"drm: {one_line(test.task_id, 160)} is flaky: {one_line(test.message, 300)}"
        for test in summary.tests
        if test.flaky and test.task_id not in interrupted
    ]


def _interruptions(summary: RunSummary) -> list[str]:
    outcomes = {test.task_id: test for test in summary.tests}

    def line(event: Interruption) -> str:
        test = outcomes.get(event.task_id)
        end = test.outcome.value.replace("_", " ") if test is not None else "unknown"
        end += " (flaky)" if test is not None and test.flaky else ""
        return (
            f"drm: {one_line(event.task_id, 160)}: attempt {event.attempt} on {event.worker_id}: "
            f"{one_line(event.describe(), 300)}; in the end: {end}"
        )

    return [line(event) for event in summary.interruptions]


def _refusals(summary: RunSummary) -> list[str]:
    return [
        f"drm: {one_line(refusal.task_id, 160)}: could not be placed: {one_line(refusal.reason)}"
        for refusal in summary.allocations.refusals
    ]


def _not_run(summary: RunSummary) -> list[str]:
    number = summary.count(Outcome.NOT_RUN)
    if not number:
        return []
    first = next(test.task_id for test in summary.tests if test.outcome is Outcome.NOT_RUN)
    rest = f" and {number - 1} more" if number > 1 else ""
    return [f"drm: {plural(number, 'test')} did not run: {one_line(first, 160)}{rest}"]


def _denials(summary: RunSummary) -> list[str]:
    return [
        f"drm: scaling was denied{f' {found.times} times' if found.times > 1 else ''}: {one_line(found.reason)}"
        for found in denials(summary)
    ]


def _capped(lines: list[str]) -> Iterator[str]:
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"drm: ... and {len(lines) - _MOST_LINES} more like this; the report has them all"
