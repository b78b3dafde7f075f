"""From events to values.

The same fold serves a live run (``Summarizer.feed``, in the coordinator's loop)
and a recorded one (``summarise``), so that replaying a file gives the same report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from drm.model.events import (
    AttemptFinished,
    AttemptStarted,
    CancelRequested,
    Event,
    ForecastMade,
    InstanceLost,
    InstanceReady,
    InstanceReleased,
    InstanceRequested,
    PlanMade,
    RunFinished,
    RunResumed,
    RunStarted,
    ScalingDecided,
    TeardownFailed,
    TestFinished,
    TestsDiscovered,
    UtilizationSampled,
    WorkerLost,
    WorkerNoticed,
    WorkerReady,
)
from drm.model.work import Outcome
from drm.summary.audit import doubts
from drm.summary.granting import AllocationsSoFar, scaling_outcome, scaling_record
from drm.summary.sofar import ExecutorsSoFar, TestSoFar, record_of, series_of
from drm.summary.values import InstanceRecord, Interruption, RunSummary, ScalingRecord, WorkerRecord

__all__ = ["Summarizer", "summarise"]

_RUN_FACTS = RunStarted.__dataclass_fields__.keys() & RunSummary.__dataclass_fields__.keys()


def summarise(events: Iterable[Event]) -> RunSummary:
    """Return what the recorded run came to."""
    summarizer = Summarizer()
    for event in events:
        summarizer.feed(event)
    return summarizer.summary()


class Summarizer:
    """Folds events, one at a time; ``summary`` may be asked at any moment.

    ``allocations``: whether it is to have a record of every attempt's resources, which only reports need.
    """

    def __init__(self, *, allocations: bool = True) -> None:
        self._facts: dict[str, Any] = {}
        self._last_s = 0.0
        self._told: RunFinished | None = None
        self._twice: list[str] = []
        self._tests: dict[str, TestSoFar] = {}
        self._allocations = AllocationsSoFar(attempts=allocations)
        self._executors = ExecutorsSoFar()
        self._interruptions: list[Interruption] = []
        self._scaling: list[ScalingRecord] = []
        self._workers: dict[str, WorkerRecord] = {}
        self._work: dict[str, list[float]] = {}  # per worker: attempts, busy seconds
        self._instances: dict[str, InstanceRecord] = {}
        self._samples: dict[str, list[UtilizationSampled]] = {}
        self._feeders: dict[type[Event], Callable[[Any], None]] = {
            RunStarted: self._run_started,
            RunResumed: self._run_resumed,
            TestsDiscovered: self._tests_discovered,
            ForecastMade: self._forecast_made,
            PlanMade: self._plan_made,
            ScalingDecided: self._scaling_decided,
            InstanceRequested: self._instance_requested,
            InstanceReady: self._instance_ready,
            InstanceLost: self._instance_lost,
            InstanceReleased: self._instance_released,
            WorkerReady: self._worker_ready,
            WorkerLost: self._worker_lost,
            WorkerNoticed: lambda _: None,  # what comes of it has events of its own
            UtilizationSampled: self._utilization_sampled,
            AttemptStarted: self._attempt_started,
            AttemptFinished: self._attempt_finished,
            TestFinished: self._test_finished,
            TeardownFailed: self._teardown_failed,
            CancelRequested: self._cancel_requested,
            RunFinished: self._run_finished,
        }

    def feed(self, event: Event) -> None:
        """Take in one event."""
        self._last_s = event.elapsed_s
        self._feeders[type(event)](event)

    def _test(self, event: AttemptStarted | AttemptFinished | TestFinished | TeardownFailed) -> TestSoFar:
        test = self._tests.get(event.task_id)
        if test is None:
            test = self._tests[event.task_id] = TestSoFar(len(self._tests), event.elapsed_s)
        return test

    def _run_started(self, event: RunStarted) -> None:
        self._facts.update({name: getattr(event, name) for name in _RUN_FACTS}, started_at=event.at)

    def _run_resumed(self, event: RunResumed) -> None:
        self._facts.pop("reason", None)  # what had ended has events of its own
        self._facts["resumed_at"] = event.at

    def _tests_discovered(self, event: TestsDiscovered) -> None:
        for task_id in event.task_ids:
            if task_id not in self._tests:
                self._tests[task_id] = TestSoFar(len(self._tests), event.elapsed_s)

    def _forecast_made(self, event: ForecastMade) -> None:
        self._facts["forecast_methods"] = event.methods

    def _plan_made(self, event: PlanMade) -> None:
        if event.allocated and "planned_s" not in self._facts:  # later plans cover only what is left
            self._facts.update(planned_s=event.makespan_s, lower_bound_s=event.lower_bound_s)
        if event.refusals:
            self._allocations.refused(event, {name: test.discovered_s for name, test in self._tests.items()})

    def _scaling_decided(self, event: ScalingDecided) -> None:
        self._scaling.append(scaling_record(event))

    def _instance(self, worker_id: str, **changes: Any) -> None:
        before = self._instances.get(worker_id) or InstanceRecord(worker_id=worker_id)
        self._instances[worker_id] = replace(before, **changes)

    def _instance_requested(self, event: InstanceRequested) -> None:
        self._instance(
            event.worker_id,
            worker_type=event.worker_type,
            provider=event.provider,
            usd_per_hour=event.usd_per_hour,
            requested_s=event.elapsed_s,
        )

    def _instance_ready(self, event: InstanceReady) -> None:
        self._instance(event.worker_id, instance_id=event.instance_id, latency_s=event.latency_s)

    def _instance_lost(self, event: InstanceLost) -> None:
        self._instance(event.worker_id, instance_id=event.instance_id, lost_reason=event.reason)

    def _instance_released(self, event: InstanceReleased) -> None:
        self._instance(
            event.worker_id,
            instance_id=event.instance_id,
            released_s=event.elapsed_s,
            held_s=event.held_s,
            cost_usd=event.cost_usd,
        )
        if event.worker_id in self._workers:
            self._worker(event.worker_id, gone_s=event.elapsed_s)

    def _worker(self, worker_id: str, **changes: Any) -> None:
        before = self._workers.get(worker_id) or WorkerRecord(worker_id=worker_id)
        self._workers[worker_id] = replace(before, **changes)

    def _worker_ready(self, event: WorkerReady) -> None:
        before = self._workers.get(event.worker_id)
        back: dict[str, Any] = {"ready_s": event.elapsed_s}
        if before is not None and before.ready_s is not None and before.gone_s is not None:  # it came back
            away = (*before.away, (before.gone_s, event.elapsed_s))
            back = {"away": away, "gone_s": None, "lost_s": None}
        self._worker(
            event.worker_id,
            worker_type=event.worker_type,
            capacity=event.capacity,
            labels=event.labels,
            gpu_memory_bytes=event.gpu_memory_bytes,
            **back,
        )

    def _worker_lost(self, event: WorkerLost) -> None:
        self._executors.lost(event)
        at_s, before = event.elapsed_s, self._workers.get(event.worker_id)
        requeued = event.requeued + (before.requeued if before is not None else 0)
        self._worker(event.worker_id, lost_s=at_s, gone_s=at_s, lost_reason=event.reason, requeued=requeued)

    def _utilization_sampled(self, event: UtilizationSampled) -> None:
        self._samples.setdefault(event.worker_id, []).append(event)

    def _attempt_started(self, event: AttemptStarted) -> None:
        test = self._test(event)
        if test.started_s is None:
            test.started_s = event.elapsed_s
        test.attempts = event.attempt
        self._executors.started(event)
        self._allocations.started(test, event)

    def _attempt_finished(self, event: AttemptFinished) -> None:
        test, usage = self._test(event), event.usage
        if test.finished is None:  # else it is an attempt that another one was faster than
            test.last, test.queued_s = event, event.elapsed_s
        self._executors.finished(event)
        self._allocations.finished(event)
        work = self._work.setdefault(event.worker_id, [0, 0.0])
        work[0] += 1
        work[1] += usage.wall_s
        if event.cause:
            self._interruptions.append(
                Interruption(
                    task_id=event.task_id,
                    attempt=event.attempt,
                    worker_id=event.worker_id,
                    at_s=event.elapsed_s,
                    cause=event.cause,
                    death=event.death,
                    is_charged=event.outcome is not None,
                    peak_rss_bytes=usage.peak_rss_bytes,
                )
            )

    def _test_finished(self, event: TestFinished) -> None:
        test = self._test(event)
        if test.finished is not None:
            self._twice.append(event.task_id)
        test.finished, test.finished_s = event, event.elapsed_s

    def _teardown_failed(self, event: TeardownFailed) -> None:
        test = self._test(event)
        test.teardown = event.message if test.teardown is None else f"{test.teardown}; {event.message}"

    def _cancel_requested(self, event: CancelRequested) -> None:
        self._facts.setdefault("reason", event.reason)

    def _run_finished(self, event: RunFinished) -> None:
        self._told = event
        self._facts.update(finished=True, wall_s=event.wall_s, reason=event.reason or self._facts.get("reason", ""))

    def summary(self) -> RunSummary:
        """Return what the run came to so far."""
        components: dict[str, str] = {}
        tests = tuple([record_of(task_id, test, components) for task_id, test in self._tests.items()])
        tally = Counter(test.outcome for test in tests)
        return RunSummary(
            **{"wall_s": self._last_s, **self._facts},
            tests=tests,
            counts=tuple((outcome.value, tally[outcome]) for outcome in Outcome),
            doubts=doubts(tally, self._told, twice=tuple(self._twice), reason=self._facts.get("reason", "")),
            executors=self._executors.most(self._samples.values()),
            interruptions=tuple(self._interruptions),
            allocations=self._allocations.result(
                {task_id for task_id, test in self._tests.items() if test.started_s is not None}
            ),
            scaling=tuple(scaling_outcome(record, self._workers, self._instances) for record in self._scaling),
            workers=tuple(
                replace(worker, attempts=int(self._work.get(key, [0, 0])[0]), busy_s=self._work.get(key, [0, 0.0])[1])
                for key, worker in self._workers.items()
            ),
            instances=tuple(self._instances.values()),
            utilization=tuple(series_of(worker_id, samples) for worker_id, samples in self._samples.items()),
        )
