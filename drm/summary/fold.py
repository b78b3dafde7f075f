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
    RunStarted,
    ScalingDecided,
    TeardownFailed,
    TestFinished,
    TestsDiscovered,
    UtilizationSampled,
    WorkerLost,
    WorkerReady,
)
from drm.model.plan import Refusal
from drm.model.work import Outcome
from drm.summary.audit import doubts
from drm.summary.sofar import ExecutorsSoFar, TestSoFar, record_of, series_of
from drm.summary.values import Allocations, InstanceRecord, Interruption, RunSummary, ScalingRecord, WorkerRecord

__all__ = ["Summarizer", "summarise"]

_RUN_FACTS = RunStarted.__dataclass_fields__.keys() & RunSummary.__dataclass_fields__.keys()


def summarise(events: Iterable[Event]) -> RunSummary:
    """Return what the recorded run came to."""
    summarizer = Summarizer()
    for event in events:
        summarizer.feed(event)
    return summarizer.summary()


class Summarizer:
    """Folds events, one at a time; ``summary`` may be asked at any moment."""

    def __init__(self) -> None:
        self._facts: dict[str, Any] = {}
        self._last_s = 0.0
        self._told: RunFinished | None = None
        self._twice: list[str] = []
        self._tests: dict[str, TestSoFar] = {}
        self._sums = [0.0, 0.0, 0.0, 0.0]  # reserved cpu, used cpu, reserved bytes, used bytes; all times seconds
        self._reserved: dict[tuple[str, int], tuple[float, int]] = {}
        self._executors = ExecutorsSoFar()
        self._waits: list[float] = []
        self._refusals: dict[str, Refusal] = {}
        self._interruptions: list[Interruption] = []
        self._scaling: list[ScalingRecord] = []
        self._workers: dict[str, WorkerRecord] = {}
        self._work: dict[str, list[float]] = {}  # per worker: attempts, busy seconds
        self._instances: dict[str, InstanceRecord] = {}
        self._samples: dict[str, list[UtilizationSampled]] = {}
        self._feeders: dict[type[Event], Callable[[Any], None]] = {
            RunStarted: self._run_started,
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
            test = self._tests[event.task_id] = TestSoFar(event.elapsed_s)
        return test

    def _run_started(self, event: RunStarted) -> None:
        self._facts.update({name: getattr(event, name) for name in _RUN_FACTS}, started_at=event.at)

    def _tests_discovered(self, event: TestsDiscovered) -> None:
        for task_id in event.task_ids:
            self._tests.setdefault(task_id, TestSoFar(event.elapsed_s))

    def _forecast_made(self, event: ForecastMade) -> None:
        self._facts["forecast_methods"] = event.methods

    def _plan_made(self, event: PlanMade) -> None:
        if event.allocated and "planned_s" not in self._facts:  # later plans cover only what is left
            self._facts.update(planned_s=event.makespan_s, lower_bound_s=event.lower_bound_s)
        self._refusals.update((refusal.task_id, refusal) for refusal in event.refusals)

    def _scaling_decided(self, event: ScalingDecided) -> None:
        record = ScalingRecord(elapsed_s=event.elapsed_s, decision=event.decision, outcome=event.outcome)
        self._scaling.append(record)

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

    def _worker(self, worker_id: str, **changes: Any) -> None:
        before = self._workers.get(worker_id) or WorkerRecord(worker_id=worker_id)
        self._workers[worker_id] = replace(before, **changes)

    def _worker_ready(self, event: WorkerReady) -> None:
        self._worker(
            event.worker_id,
            worker_type=event.worker_type,
            capacity=event.capacity,
            labels=event.labels,
            ready_s=event.elapsed_s,
        )

    def _worker_lost(self, event: WorkerLost) -> None:
        self._executors.lost(event)
        self._worker(event.worker_id, lost_s=event.elapsed_s, lost_reason=event.reason, requeued=event.requeued)

    def _utilization_sampled(self, event: UtilizationSampled) -> None:
        self._samples.setdefault(event.worker_id, []).append(event)

    def _attempt_started(self, event: AttemptStarted) -> None:
        test = self._test(event)
        if test.started_s is None:
            test.started_s = event.elapsed_s
            self._waits.append(event.elapsed_s - test.discovered_s)
        test.attempts = event.attempt
        self._executors.started(event)
        self._reserved[event.task_id, event.attempt] = (event.reserved.cpu_cores, event.reserved.memory_bytes)

    def _attempt_finished(self, event: AttemptFinished) -> None:
        self._test(event).last = event
        self._executors.finished(event)
        usage = event.usage
        cpu_cores, memory_bytes = self._reserved.pop((event.task_id, event.attempt), (0.0, 0))
        sums = self._sums
        sums[0] += cpu_cores * usage.wall_s
        sums[1] += usage.cpu_s
        sums[2] += memory_bytes * usage.wall_s
        sums[3] += usage.peak_rss_bytes * usage.wall_s
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
        tests = tuple(record_of(task_id, test) for task_id, test in self._tests.items())
        tally = Counter(test.outcome for test in tests)
        return RunSummary(
            **{"wall_s": self._last_s, **self._facts},
            tests=tests,
            counts=tuple((outcome.value, tally[outcome]) for outcome in Outcome),
            doubts=doubts(tally, self._told, twice=tuple(self._twice), reason=self._facts.get("reason", "")),
            executors=self._executors.most(self._samples.values()),
            interruptions=tuple(self._interruptions),
            allocations=self._allocations(),
            scaling=tuple(self._scaling),
            workers=tuple(
                replace(worker, attempts=int(self._work.get(key, [0, 0])[0]), busy_s=self._work.get(key, [0, 0.0])[1])
                for key, worker in self._workers.items()
            ),
            instances=tuple(self._instances.values()),
            utilization=tuple(series_of(worker_id, samples) for worker_id, samples in self._samples.items()),
        )

    def _allocations(self) -> Allocations:
        reserved_cpu_s, used_cpu_s, reserved_byte_s, used_byte_s = self._sums
        return Allocations(
            placed=len(self._waits),
            waits_s=tuple(self._waits),
            refusals=tuple(
                refusal
                for task_id, refusal in self._refusals.items()
                if task_id not in self._tests or self._tests[task_id].started_s is None
            ),
            reserved_cpu_s=reserved_cpu_s,
            used_cpu_s=used_cpu_s,
            reserved_byte_s=reserved_byte_s,
            used_byte_s=used_byte_s,
        )
