"""A run whose coordinator was killed, or that was cut short, read from its journal, so that another can go on with it.

The journal goes on: numbers, clock and run id continue, so that the record of a run that was resumed is that of one
run. The time during which nobody ran it does not count.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drm.coordinator.accounts import PastTest
from drm.coordinator.recorder import Recorder
from drm.coordinator.retries import Mishap
from drm.model import events
from drm.model.death import DeathKind
from drm.model.errors import ConfigError, DrmError
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage
from drm.reporting.kept_reports import KEPT_REPORTS, read_kept_reports
from drm.reporting.ndjson import EventReader

__all__ = ["InterruptedRun", "command_of", "read_interrupted", "record_of", "told_command"]

_OF_THE_RECORD = ("--drm-resume", "--drm-report-dir")
_KILLED, _STOPPED = "the coordinator was killed", "the run was stopped"


@dataclass(slots=True, kw_only=True)
class InterruptedRun:
    """What the journal says. ``journal``: all its events; ``offset``: bytes of the file that hold whole events.

    ``finished``: tests with their outcome, in the order they ended. ``past``: of each test that was begun, its attempts
    and what went wrong. ``under_way``: attempts without an end. ``workers``: those that were there. ``kept``: reports.
    """

    folder: Path
    journal: list[events.Event]
    offset: int
    started: events.RunStarted
    finished: dict[str, events.TestFinished] = field(default_factory=dict)
    spoiled: set[str] = field(default_factory=set)
    discovered: dict[str, None] = field(default_factory=dict)
    past: dict[str, PastTest] = field(default_factory=dict)
    under_way: dict[tuple[str, int], events.AttemptStarted] = field(default_factory=dict)
    workers: dict[str, Resources] = field(default_factory=dict)
    asked_workers: int = 0
    was_cancelled: bool = False
    kept: dict[str, list[list[Any]]] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.started.run_id

    @property
    def last(self) -> events.Event:
        return self.journal[-1]

    def outcome(self, task_id: str) -> Outcome:
        return Outcome.ERROR if task_id in self.spoiled else self.finished[task_id].outcome

    def check(self, rootdir: Path, command: Sequence[str], report_dir: Path | None) -> None:
        """Raise ConfigError where this is not the same run as it was."""
        if str(rootdir) != self.started.rootdir:
            raise ConfigError(
                f"run {self.run_id} was in {self.started.rootdir}, this one is in {rootdir}", remedy="resume it there"
            )
        if command_of(command) != command_of(self.started.command):
            raise ConfigError(
                f"run {self.run_id} was started with {told_command(self.started.command)!r}",
                remedy="give the same options, or --resume and nothing else",
            )
        if report_dir is None or report_dir.resolve() != self.folder.resolve():
            raise ConfigError(
                f"the record of run {self.run_id} is in {self.folder}", remedy=f"give --drm-report-dir {self.folder}"
            )

    def check_collected(self, task_ids: Iterable[str]) -> None:
        """Raise ConfigError where tests of the run are gone: then what has ended would be told of another suite."""
        gone = self.discovered.keys() - set(task_ids)
        if gone:
            raise ConfigError(
                f"{len(gone)} tests of run {self.run_id} are not collected any more, such as {min(gone)}",
                remedy="start the run again, without --resume",
            )

    def go_on(self, recorder: Recorder) -> None:
        """Record that the run goes on: what was under way has ended with its coordinator, and so have the workers."""
        recorder.record(
            events.RunResumed,
            run_id=self.run_id,
            finished=len(self.finished),
            unfinished=len(self.discovered) - len(self.finished),
        )
        why = _STOPPED if self.was_cancelled else _KILLED
        for begun in self.under_way.values():
            recorder.record(
                events.AttemptFinished,
                task_id=begun.task_id,
                attempt=begun.attempt,
                worker_id=begun.worker_id,
                executor_id=begun.executor_id,
                outcome=None,
                usage=Usage(wall_s=round(self.last.elapsed_s - begun.elapsed_s, 3)),
                cause=why,
                death=DeathKind.LOST,
            )
        for worker_id in self.workers:
            requeued = sum(begun.worker_id == worker_id for begun in self.under_way.values())
            recorder.record(events.WorkerLost, worker_id=worker_id, reason=why, requeued=requeued)


def read_interrupted(folder: Path) -> InterruptedRun:
    """Read the journal in a folder; ConfigError where there is none, or its run has ended."""
    path = folder / "events.ndjson"
    if not path.exists():
        raise ConfigError(f"{folder} holds no record of a run (no events.ndjson)", remedy="start the run again")
    reader = EventReader(path)
    found, offsets = [], [0]
    for event in reader.read(on_note=lambda _: None):
        found.append(event)
        offsets.append(reader.offset)
    if not found or not isinstance(found[0], events.RunStarted):
        raise ConfigError(f"{path} has no beginning", remedy="start the run again")
    count = len(found)
    while _closes(found[count - 1]):
        count -= 1
    if count == len(found) - 1 and isinstance(found[-1], events.RunFinished):
        reason = f" ({found[-1].reason})" if found[-1].reason else ""
        raise ConfigError(
            f"run {found[0].run_id} has ended{reason}; there is nothing to resume",
            remedy="start it again; --lf runs what failed",
        )
    run = InterruptedRun(folder=folder, journal=found[:count], offset=offsets[count], started=found[0])
    for event in run.journal:
        _take(run, event)
    run.kept = read_kept_reports(folder / KEPT_REPORTS)
    return run


def _closes(event: events.Event) -> bool:
    """Tell whether the event is of the end of a run that was cut short: of a test still to be run, or the account."""
    return isinstance(event, events.RunFinished) or (
        isinstance(event, events.TestFinished) and (event.outcome is Outcome.NOT_RUN or event.retry_due)
    )


def _take(run: InterruptedRun, event: events.Event) -> None:
    match event:
        case events.CancelRequested() | events.RunResumed():
            run.was_cancelled = isinstance(event, events.CancelRequested)
        case events.TestsDiscovered():
            run.discovered.update(dict.fromkeys(event.task_ids))
        case events.AttemptStarted():
            before = run.past.get(event.task_id, PastTest())
            run.past[event.task_id] = PastTest(attempts=max(before.attempts, event.attempt), mishaps=before.mishaps)
            run.under_way[event.task_id, event.attempt] = event
        case events.AttemptFinished():
            begun = run.under_way.pop((event.task_id, event.attempt), None)
            if event.cause or (event.outcome is not None and event.outcome.is_bad):
                before = run.past.get(event.task_id, PastTest())
                run.past[event.task_id] = PastTest(
                    attempts=before.attempts, mishaps=(*before.mishaps, _mishap(event, begun, run))
                )
        case events.TestFinished():
            run.finished[event.task_id] = event
        case events.TeardownFailed():
            run.spoiled.add(event.task_id)
        case events.WorkerReady():
            run.workers[event.worker_id] = event.capacity
        case events.WorkerLost() | events.InstanceReleased():
            run.workers.pop(event.worker_id, None)
        case events.InstanceRequested():
            run.asked_workers += 1


def _mishap(event: events.AttemptFinished, begun: events.AttemptStarted | None, run: InterruptedRun) -> Mishap:
    innocent = event.cause in (_KILLED, _STOPPED) or (run.was_cancelled and event.outcome is None)
    reserved = begun.reserved if begun is not None else Resources()
    capacity = run.workers.get(event.worker_id, Resources())
    return Mishap(
        attempt=event.attempt,
        kind=event.death,
        message=event.cause or "it failed",
        reserved_bytes=reserved.memory_bytes,
        used_bytes=event.usage.peak_rss_bytes,
        alone=reserved.cpu_cores >= capacity.cpu_cores > 0,
        had_all=reserved.memory_bytes >= capacity.memory_bytes > 0,
        is_announced=innocent,
    )


def command_of(command: Sequence[str]) -> tuple[str, ...]:
    """Return a command without the words that only say where its record is."""
    kept: list[str] = []
    skip = False
    for word in command:
        name, equals, _ = word.partition("=")
        if not skip and name not in _OF_THE_RECORD:
            kept.append(word)
        skip = not skip and name in _OF_THE_RECORD and not equals
    return tuple(kept)


def told_command(command: Sequence[str]) -> str:
    """Return a recorded command as a person would write it."""
    return shlex.join(command_of(command))


def record_of(run: str, reports: Path) -> Path:
    """Return the folder with the record of a run: ``run`` is that folder, or an id, looked for in ``reports``."""
    if (Path(run) / "events.ndjson").exists():
        return Path(run)
    for path in sorted(reports.glob("*/events.ndjson")):
        try:
            first = next(iter(EventReader(path).read(on_note=lambda _: None)), None)
        except DrmError:
            continue
        if isinstance(first, events.RunStarted) and first.run_id == run:
            return path.parent
    raise ConfigError(
        f"{run!r} is neither a folder with the record of a run nor the id of one in {reports}/",
        remedy=f"give the folder, such as {reports}/run",
    )
