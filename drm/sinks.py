"""Consumers of events that every run has: the summary, and the history of attempts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from datetime import datetime

from drm.model.events import AttemptFinished, AttemptStarted, Event, InstanceRequested, RunStarted
from drm.model.resources import Resources
from drm.model.samples import RunFacts, Sample
from drm.model.trends import PastRun, Trends
from drm.ports import HistoryStore
from drm.summary import RunSummary, Summarizer

_NOTHING = Resources()
HERE = "local"  # the provider of workers on this machine


class SummarySink:
    """Folds events into a summary while they come; ``allocations`` as of ``Summarizer``."""

    def __init__(self, *, allocations: bool = True) -> None:
        self._summarizer = Summarizer(allocations=allocations)
        self._made: RunSummary | None = None

    def emit(self, event: Event) -> None:
        self._made = None
        self._summarizer.feed(event)

    def flush(self) -> None:
        """Nothing to do: the summary is in memory."""

    def close(self) -> None:
        """Nothing to do: the summary is in memory."""

    def summary(self) -> RunSummary:
        """Return what the run came to so far."""
        if self._made is None:
            self._made = self._summarizer.summary()
        return self._made


class HistorySink:
    """Records finished attempts, in transactions of at least ``every_s`` seconds of the run.

    Often enough that little is left for the end, when nothing else goes on any more. At the end it records what the
    whole run came to, as ``summary`` then has it. ``suite``: what kind of run it is. ``keep`` is given the last runs
    of its branch then. ``sources``: what each test's
    function is compiled to, as a hash, where that is known. Attempts on workers of other providers are kept as of a
    machine of that provider and type: their seconds are not ours.
    """

    def __init__(
        self,
        store: HistoryStore,
        *,
        run_id: str,
        machine: str,
        summary: Callable[[], RunSummary],
        suite: str = "",
        keep: Callable[[Trends], None] | None = None,
        every_s: float = 0.5,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._machine = machine
        self._summary = summary
        self._suite = suite
        self._keep = keep
        self._every_s = every_s
        self._events: list[AttemptFinished] = []
        self._reserved: dict[tuple[str, int], Resources] = {}
        self._elsewhere: dict[str, str] = {}  # the kind of machine, by worker that is not on this one
        self.sources: Mapping[str, int] = {}
        self._due_s = every_s
        self._elapsed_s = 0.0
        self._epoch_s: float | None = None

    def emit(self, event: Event) -> None:
        self._elapsed_s = event.elapsed_s
        if self._epoch_s is None:
            self._epoch_s = datetime.fromisoformat(event.at).timestamp() - event.elapsed_s
        kind = type(event)
        if kind is AttemptFinished:
            self._events.append(event)  # type: ignore[arg-type]
        elif kind is AttemptStarted:
            self._reserved[event.task_id, event.attempt] = event.reserved  # type: ignore[attr-defined]
        elif kind is InstanceRequested:
            if event.provider != HERE:  # type: ignore[attr-defined]
                self._elsewhere[event.worker_id] = f"{event.provider}:{event.worker_type}"  # type: ignore[attr-defined]
        elif isinstance(event, RunStarted):
            facts = RunFacts(
                run_id=self._run_id, commit=event.commit, branch=event.branch, started_at=round(self._epoch_s, 3)
            )
            self._store.begin(facts)

    def flush(self) -> None:
        if self._events and self._elapsed_s >= self._due_s:
            self._write()

    def close(self) -> None:
        self._write()
        summary = self._summary()
        if summary.finished and summary.tests:
            self._store.record_run(summary.branch, past_run(summary, self._suite))
            if self._keep is not None:
                self._keep(self._store.trends(summary.branch))
        self._store.close()

    def _write(self) -> None:
        self._due_s = self._elapsed_s + self._every_s
        finished, self._events = self._events, []
        epoch_s = self._epoch_s or 0.0
        self._store.record(self._run_id, [self._sample(event, epoch_s) for event in finished])

    def _sample(self, event: AttemptFinished, epoch_s: float) -> Sample:
        reserved = self._reserved.pop((event.task_id, event.attempt), _NOTHING)
        return Sample(
            task_id=event.task_id,
            usage=event.usage,
            outcome=event.outcome,
            at=round(epoch_s + event.elapsed_s, 3),
            machine=self._elsewhere.get(event.worker_id, self._machine),
            source=self.sources.get(event.task_id, 0),
            attempt=event.attempt,
            reserved_bytes=reserved.memory_bytes,
            reserved_cores=reserved.cpu_cores,
            gpus=int(reserved.gpus),
            death=event.death.value if event.death is not None else "",
        )


def past_run(summary: RunSummary, suite: str) -> PastRun:
    """Return what the history keeps of a run."""
    room = summary.executors * summary.wall_s
    waits = summary.allocations.waits_s
    return PastRun(
        run_id=summary.run_id,
        suite=suite,
        at=summary.started_at,
        commit=summary.commit,
        machine=summary.machine,
        wall_s=summary.wall_s,
        tests=summary.collected,
        bad=summary.bad,
        flaky=summary.flaky,
        slots_busy=round(sum(worker.busy_s for worker in summary.workers) / room, 4) if room else None,
        allocation_s=round(statistics.median_low(waits), 6) if waits else None,
    )
