"""Real memory, kept beside the books: what may still be given out, when starting is held, who is killed for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from drm.coordinator.crew import Crew, Executor
from drm.coordinator.recorder import Recorder
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.dynamic_resource_manager.memory import (
    Holder,
    MemoryCase,
    MemorySettings,
    MemoryVerdict,
    judge,
    room_bytes,
)
from drm.model import events
from drm.model.cluster import WorkerView
from drm.model.death import DeathKind
from drm.model.memory import MemorySample
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.resources import Resources
from drm.ports import Clock, Engine


@dataclass(slots=True)
class _State:
    """What is known of one worker."""

    sample: MemorySample
    residents: dict[str, int] = field(default_factory=dict)
    held: str = ""  # why starting is held
    killed_s: float = float("-inf")


class MemoryGuard:
    """Asks ``judge`` about every sample and carries out what it says."""

    def __init__(
        self,
        *,
        clock: Clock,
        engine: Engine,
        manager: DynamicResourceManager,
        crew: Crew,
        recorder: Recorder,
        settings: MemorySettings | None = None,
    ) -> None:
        self._clock = clock
        self._engine = engine
        self._manager = manager
        self._crew = crew
        self._recorder = recorder
        self._settings = settings or MemorySettings()
        self._states: dict[str, _State] = {}

    def sampled(self, worker_id: str, sample: MemorySample) -> None:
        """Take a sample in: hold or resume starting, kill if it has come to that."""
        state = self._states.setdefault(worker_id, _State(sample))
        state.sample, state.residents = sample, dict(sample.resident_bytes)
        now = self._clock.now()
        verdict = judge(
            MemoryCase(
                sample=sample,
                holders=self._holders(worker_id),
                free_bytes=self._manager.free(worker_id).memory_bytes,
                held=bool(state.held),
                now_s=now,
                killed_s=state.killed_s,
            ),
            self._settings,
        )
        if verdict.held != bool(state.held):
            state.held = verdict.reason if verdict.held else ""
            self._record(worker_id, verdict)
        hog = self._crew.get(verdict.kill) if verdict.kill is not None else None
        if hog is not None:
            state.killed_s = now
            hog.doomed = True
            self._engine.kill(worker_id, hog.executor_id, DeathKind.MEMORY, verdict.kill_reason)

    def forget(self, worker_id: str) -> None:
        self._states.pop(worker_id, None)

    def held(self, worker_id: str) -> str:
        """Return why starting is held on a worker, or an empty string."""
        state = self._states.get(worker_id)
        return state.held if state is not None else ""

    def grown_bytes(self, executor: Executor) -> int:
        """Return what an executor holds beyond its base, as last seen."""
        state = self._states.get(executor.worker_id)
        resident = state.residents.get(executor.executor_id, 0) if state is not None else 0
        return max(0, resident - executor.base_bytes) if executor.base_bytes else 0

    def free(self, worker: WorkerView, executor: Executor | None = None) -> Resources | None:
        """Return what may be reserved now, for ``executor`` if that is to use it; None while starting is held.

        Where no test runs the next one may have everything: something always runs, whatever was predicted of it.
        """
        books = self._manager.free(worker.worker_id)
        if not any(other.amounts is not None for other in self._crew.on(worker.worker_id)):
            return replace(books, memory_bytes=worker.capacity.memory_bytes)
        state = self._states.get(worker.worker_id)
        if state is None:
            return books
        if state.held:
            return None
        room = room_bytes(state.sample, self._holders(worker.worker_id), self._settings)
        own = self.grown_bytes(executor) if executor is not None else 0
        return books if room + own >= books.memory_bytes else replace(books, memory_bytes=max(0, room + own))

    def _holders(self, worker_id: str) -> tuple[Holder, ...]:
        return tuple(
            Holder(
                executor_id=executor.executor_id,
                running=executor.amounts is not None,
                reserved_bytes=executor.amounts.memory_bytes if executor.amounts is not None else 0,
                grown_bytes=self.grown_bytes(executor),
            )
            for executor in self._crew.on(worker_id)
        )

    def _record(self, worker_id: str, verdict: MemoryVerdict) -> None:
        here = len(self._crew.on(worker_id))
        self._recorder.record(
            events.ScalingDecided,
            decision=ScalingDecision(
                action=ScalingAction.HOLD,
                worker_type=executors_of(worker_id),
                workers=here,
                wanted=here,
                granted=here,
                trigger=verdict.trigger,
                reason=f"{'starting tests is held' if verdict.held else 'tests are started again'}: {verdict.reason}",
                limits_hit=("memory",) if verdict.held else (),
            ),
            outcome="held" if verdict.held else "resumed",
        )


def executors_of(worker_id: str) -> str:
    """Return how decisions about a worker's executors call what they are about."""
    return f"executors of {worker_id}"
