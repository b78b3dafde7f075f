"""What is known so far of a test, of the executors and of a worker: the few facts that a summary needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from drm.model.events import AttemptFinished, AttemptStarted, TestFinished, UtilizationSampled, WorkerLost
from drm.model.stages import component_of
from drm.model.work import Outcome
from drm.summary.values import TestRecord, UtilizationSeries

__all__ = ["ExecutorsSoFar", "TestSoFar", "record_of", "series_of"]


class TestSoFar:
    """One test so far: the few facts that its record needs, so that events need not be kept."""

    __slots__ = (
        "attempts",
        "discovered_s",
        "finished",
        "finished_s",
        "last",
        "place",
        "queued_s",
        "started_s",
        "teardown",
    )

    def __init__(self, place: int, discovered_s: float) -> None:
        self.place = place
        self.discovered_s = self.queued_s = discovered_s  # queued again when an attempt ends
        self.started_s: float | None = None
        self.finished_s: float | None = None
        self.last: AttemptFinished | None = None
        self.attempts = 0
        self.finished: TestFinished | None = None
        self.teardown: str | None = None


class ExecutorsSoFar:
    """Counts the executors that there were at once."""

    def __init__(self) -> None:
        self._running = 0
        self._most_running = 0
        self._alive: dict[str, str] = {}  # those that have run a test, and their workers
        self._most_alive = 0

    def started(self, event: AttemptStarted) -> None:
        self._running += 1
        self._most_running = max(self._most_running, self._running)
        self._alive[event.executor_id] = event.worker_id
        self._most_alive = max(self._most_alive, len(self._alive))

    def finished(self, event: AttemptFinished) -> None:
        self._running -= 1
        if event.cause:  # it died with the attempt; another takes its place
            self._alive.pop(event.executor_id, None)

    def lost(self, event: WorkerLost) -> None:
        self._alive = {executor: worker for executor, worker in self._alive.items() if worker != event.worker_id}

    def most(self, sampled: Iterable[Sequence[UtilizationSampled]]) -> int:
        """Return the most executors that samples saw at once; a run too short for samples counts those that ran."""
        samples = sorted((sample for series in sampled for sample in series), key=attrgetter("seq"))
        if not samples:
            return self._most_alive
        current: dict[str, int] = {}
        most = self._most_running
        for sample in samples:
            current[sample.worker_id] = sample.executors
            most = max(most, sum(current.values()))
        return most


def record_of(task_id: str, test: TestSoFar, components: dict[str, str]) -> TestRecord:
    """Return what the test came to, as far as is known. ``components``: by file, filled as they are found."""
    file = task_id.partition("::")[0]
    component = components.get(file)
    if component is None:
        component = components[file] = component_of(file)
    finished, last = test.finished, test.last
    outcome, message = Outcome.NOT_RUN, ""
    if finished is not None:
        outcome, message = finished.outcome, finished.message
    if test.teardown is not None:
        outcome, message = Outcome.ERROR, f"{message}; {test.teardown}" if message else test.teardown
    return TestRecord(
        task_id=task_id,
        outcome=outcome,
        component=component,
        attempts=finished.attempts if finished is not None else test.attempts,
        wall_s=finished.wall_s if finished is not None else last.usage.wall_s if last is not None else 0.0,
        cpu_s=last.usage.cpu_s if last is not None else 0.0,
        peak_rss_bytes=last.usage.peak_rss_bytes if last is not None else 0,
        worker_id=last.worker_id if last is not None else "",
        executor_id=last.executor_id if last is not None else "",
        started_s=test.started_s,
        finished_s=test.finished_s,
        flaky=finished is not None and finished.flaky,
        message=message,
    )


def series_of(worker_id: str, samples: Sequence[UtilizationSampled]) -> UtilizationSeries:
    """Return a worker's samples as columns."""
    has_gpus = any(sample.reserved.gpus or sample.used.gpus or sample.gpu_memory_bytes for sample in samples)
    of_gpus = samples if has_gpus else ()
    return UtilizationSeries(
        worker_id=worker_id,
        elapsed_s=tuple(sample.elapsed_s for sample in samples),
        reserved_cpu_cores=tuple(sample.reserved.cpu_cores for sample in samples),
        used_cpu_cores=tuple(sample.used.cpu_cores for sample in samples),
        reserved_memory_bytes=tuple(sample.reserved.memory_bytes for sample in samples),
        used_memory_bytes=tuple(sample.used.memory_bytes for sample in samples),
        reserved_gpus=tuple(sample.reserved.gpus for sample in of_gpus),
        used_gpus=tuple(sample.used.gpus for sample in of_gpus),
        used_gpu_memory_bytes=tuple(sample.gpu_memory_bytes for sample in of_gpus),
        executors=tuple(sample.executors for sample in samples),
        running=tuple(sample.running for sample in samples),
    )
