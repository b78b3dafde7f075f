"""From options to a wired run: the one place where the parts are put together."""

from __future__ import annotations

import math
import platform
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from drm import __version__
from drm.cloud_provider_manager import CloudProviderManager
from drm.coordinator import Coordinator, Parts, Recorder, RunSettings
from drm.coordinator.calls import ThreadCalls
from drm.coordinator.pool import WorkerPool
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.engines.common import MessagingEngine
from drm.engines.embedded import EmbeddedEngine
from drm.history import MemoryHistory, open_history
from drm.model import events
from drm.model.cluster import WorkerType, WorkerView
from drm.model.errors import DrmError
from drm.model.resources import Resources
from drm.model.work import Task
from drm.past import attempts_to_learn_from
from drm.ports import Clock, EventSink, HistoryStore, Surface
from drm.priorities import groups_of
from drm.provisioning import provider_manager
from drm.reporting.kept_reports import KEPT_REPORTS, KeptReports
from drm.reporting.ndjson import NdjsonSink
from drm.reporting.trends_file import TRENDS, trends_kept_in
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_performance_predictor import SAFE, ResourcePerformancePredictor
from drm.run_options import RunOptions, place_of
from drm.sinks import HistorySink, SummarySink
from drm.summary import RunSummary
from drm.surroundings import ignore_by_git, machine_class, revision
from drm.worker.launchers import Launcher
from drm.worker.running_time import running_s
from drm.worker.suite import Suite

if TYPE_CHECKING:
    from drm.resuming import InterruptedRun

LOCAL_WORKER = "local"
_STRANDED_S = 120.0
_MADE_AT_THE_END = ("results.json", "status.json", TRENDS)


class SystemClock:
    """Implements ``drm.ports.Clock`` with the machine's clocks, also while a test of this process freezes time."""

    def now(self) -> float:
        return running_s()

    def utc(self, _clock: Callable[[], float] = time.time) -> datetime:
        return datetime.fromtimestamp(_clock(), UTC)


def new_run_id() -> str:
    """Return an id that sorts by time and that no other run has."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


class Journal:
    """The record of one run: the sinks its options ask for, a recorder over them, and the summary they add up to.

    ``also``: sinks of the surface's own.
    """

    def __init__(
        self,
        options: RunOptions,
        *,
        run_id: str,
        say: Callable[[str], None],
        also: Sequence[EventSink] = (),
        resumed: InterruptedRun | None = None,
    ) -> None:
        """``resumed``: the run that goes on in this record."""
        self.run_id = run_id
        self.keep: Callable[..., None] | None = None
        self.resumed = resumed
        self.machine = machine_class()
        self.history: HistoryStore = MemoryHistory()
        if options.history_path is not None:
            with suppress(OSError):
                ignore_by_git(options.history_path.parent)
            self.history = open_history(options.history_path, warn=say)
        self._summary = SummarySink(allocations=options.report_dir is not None)
        self.attempts = HistorySink(
            self.history,
            run_id=run_id,
            machine=self.machine,
            summary=self._summary.summary,
            suite=options.report_dir.name if options.report_dir is not None else "",
            keep=trends_kept_in(options.report_dir, say) if options.report_dir is not None else None,
        )
        sinks: list[EventSink] = [
            *also,
            self._summary,
            self.attempts,
        ]
        if options.report_dir is not None:
            for name in _MADE_AT_THE_END:  # of the run before: they must not pass for this one's
                with suppress(OSError):
                    (options.report_dir / name).unlink()
            sinks += self._files(options.report_dir, say)
        if resumed is None:
            self.recorder = Recorder(SystemClock(), sinks, say)
            self._started(options)
        else:
            for event in resumed.journal:
                self._summary.emit(event)
            self.recorder = Recorder(SystemClock(), sinks, say, after=(resumed.last.seq, resumed.last.elapsed_s))
            resumed.go_on(self.recorder)

    def _files(self, folder: Path, say: Callable[[str], None]) -> list[EventSink]:
        """Return what writes the record. Reports come first: a test that has ended in the events has its reports."""
        try:
            record = NdjsonSink(folder / "events.ndjson", after=self.resumed.offset if self.resumed else None)
            kept = KeptReports(folder / KEPT_REPORTS, go_on=self.resumed is not None)
        except DrmError as error:
            if self.resumed is not None:
                raise
            say(f"no report will be written: {error}")
            return []
        self.keep = kept.keep
        return [kept, record]

    def _started(self, options: RunOptions) -> None:
        commit, branch = revision(options.rootdir)
        self.recorder.record(
            events.RunStarted,
            run_id=self.run_id,
            format_version=events.FORMAT_VERSION,
            command=options.command,
            rootdir=str(options.rootdir),
            drm_version=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            machine=self.machine,
            cpu_cores=options.capacity.cpu_cores,
            memory_bytes=options.capacity.memory_bytes,
            commit=commit,
            branch=branch,
        )

    def summary(self) -> RunSummary:
        return self._summary.summary()


class Run:
    """A wired run: the coordinator and what it stands on. ``engine``: one that is connected (default: embedded)."""

    def __init__(
        self,
        options: RunOptions,
        journal: Journal,
        surface: Surface,
        suite: Suite,
        engine: MessagingEngine | None = None,
    ) -> None:
        self._options = options
        self.journal = journal
        self.engine = engine or EmbeddedEngine(
            suite=suite,
            start_method=options.start_method or "fork",
            given=surface.executor_starts,
            silent_s=options.silent_s,
        )
        clock = SystemClock()
        self.manager = DynamicResourceManager(options.scaling)
        self.predictor = ResourcePerformancePredictor(
            machine=journal.machine,
            largest_bytes=self._largest().memory_bytes,
            costs=SAFE if options.safe else None,
        )
        self.optimizer = ResourceOptimizer(self.predictor, counted=options.counted)
        settings = RunSettings(
            run_id=journal.run_id,
            executors=options.executors,
            workers=options.workers,
            worker_types=options.worker_types,
            joins=bool(options.coordinator),
            stranded_s=_STRANDED_S if options.coordinator and not options.worker_types else math.inf,
            max_failures=options.max_failures,
            excused=options.excused,
            retries=options.retries,
            timeout_factor=options.timeout_factor,
            speculate=options.speculate,
            records_plan=options.report_dir is not None,
            counted=options.counted,
            workers_before=journal.resumed.asked_workers if journal.resumed is not None else 0,
            file_order=options.order not in ("longest", "slow-first"),
            lease_s=math.inf if options.machines.is_local else options.machines.lease_s,
        )
        self.providers = self._provider_manager(clock, surface)
        pool = WorkerPool(
            settings=settings,
            clock=clock,
            engine=self.engine,
            manager=self.manager,
            optimizer=self.optimizer,
            providers=self.providers,
            recorder=journal.recorder,
            calls=None if options.machines.is_local else ThreadCalls(self.engine.wake),
            say=surface.say,
        )
        parts = Parts(
            clock=clock,
            engine=self.engine,
            manager=self.manager,
            optimizer=self.optimizer,
            predictor=self.predictor,
            pool=pool,
            recorder=journal.recorder,
            surface=surface,
            keep=journal.keep,
        )
        self.coordinator = Coordinator(parts, settings, largest=self._largest())

    def _provider_manager(self, clock: Clock, surface: Surface) -> CloudProviderManager:
        """Return who makes the separate workers, and let these join. DrmError where no provider can be used."""
        options = self._options
        if not options.worker_types:
            return CloudProviderManager(clock=clock)
        try:
            folder = self.engine.listen()
            return provider_manager(
                options.machines,
                options.worker_types,
                clock=clock,
                run_id=self.journal.run_id,
                history=options.history_path,
                capacity=options.capacity,
                place=place_of(options, folder),
                say=surface.say,
            )
        except BaseException:
            self.engine.close()
            raise

    def start_local_worker(self, launcher: Launcher) -> None:
        """Start the worker that lives in this process (there is none when separate workers were asked for)."""
        assert isinstance(self.engine, EmbeddedEngine)
        self.engine.add_local_worker(
            LOCAL_WORKER, WorkerType(name=LOCAL_WORKER, capacity=self._options.capacity), launcher
        )

    def submit(self, tasks: Sequence[Task], sources: Mapping[str, int]) -> None:
        """Learn what history knows of the tests, and queue them. ``sources``: what their functions are, as hashes."""
        history, order = self.journal.history, self._options.order
        self.journal.attempts.sources = sources
        last = attempts_to_learn_from(len(tasks))
        samples = dict(history.samples([task.task_id for task in tasks], last=last))
        renames = history.namesakes(sources) if len(samples) < len(tasks) else {}
        for task_id, before in renames.items():
            renamed = history.samples([before], last=last).get(before, ())
            samples[task_id] = [replace(row, task_id=task_id) for row in renamed]
        fixtures = {task.task_id: task.fixtures for task in tasks if task.fixtures}
        self.predictor.train_models(samples, sources=sources, fixtures=fixtures)
        risks = history.risks() if order in ("failed-first", "risk") else {}
        seconds = {task.task_id: self.predictor.expected_wall_s(task.task_id, task.scope) for task in tasks if risks}
        for group in groups_of(tasks, order, risks, seconds):
            self.coordinator.submit(group, self._planned_workers())

    def _planned_workers(self) -> list[WorkerView]:
        """Return the workers that are there already, and those that there may be."""
        machines = self.engine.machines
        joined = [WorkerView.planned(machine.name, machine) for machine in machines]
        return joined + (planned_workers(self._options) if self._options.worker_types or not machines else [])

    def _largest(self) -> Resources:
        largest = Resources()
        for view in self._planned_workers():
            largest = largest.at_least(view.capacity)
        return largest


def planned_workers(options: RunOptions) -> list[WorkerView]:
    """Return the workers as they will be when the pool is at its largest: what a plan may count on."""
    types = options.worker_types
    if not types:
        return [WorkerView.planned(LOCAL_WORKER, WorkerType(name=LOCAL_WORKER, capacity=options.capacity))]
    most = max(options.workers[1], len(types))
    return [WorkerView.planned(f"{types[n % len(types)].name}#{n}", types[n % len(types)]) for n in range(most)]
