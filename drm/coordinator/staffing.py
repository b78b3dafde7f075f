"""How many executors a worker has, and what each may be given: by the books, and by what is really used."""

from __future__ import annotations

from dataclasses import replace

from drm.coordinator.crew import Crew, Executor
from drm.coordinator.foresight import Foresight
from drm.coordinator.memory import MemoryGuard, executors_of
from drm.coordinator.recorder import Recorder
from drm.coordinator.settings import RunSettings
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.dynamic_resource_manager.executors import CrewCase, CrewDecision, CrewSettings, IdleExecutor, decide_crew
from drm.model import events
from drm.model.cluster import WorkerView
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.resources import Resources
from drm.ports import Clock, Engine
from drm.resource_optimizer.kinds import Room
from drm.resource_optimizer.queue import WorkQueue

_SETTINGS = CrewSettings()
_LEAST_CORES = 0.25  # an executor costs memory, however little its tests ask for


class Staffing:
    """Adds executors where resources are free, and names those that are to go."""

    def __init__(
        self,
        *,
        settings: RunSettings,
        clock: Clock,
        engine: Engine,
        manager: DynamicResourceManager,
        queue: WorkQueue,
        crew: Crew,
        memory: MemoryGuard,
        foresight: Foresight,
        recorder: Recorder,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._engine = engine
        self._manager = manager
        self._queue = queue
        self._crew = crew
        self._memory = memory
        self._foresight = foresight
        self._recorder = recorder

    def room(self, worker: WorkerView, executor: Executor | None = None) -> Room | None:
        """Return what may be given out now (to ``executor``), or None where starting is held."""
        free = self._memory.free(worker, executor)
        return _room_of(worker, free) if free is not None else None

    def adjust(self, worker: WorkerView) -> list[Executor]:
        """Add executors to a worker if they have something to do; return those that are to end: idle for nothing, or
        past the turn of what waits, which their successors run."""
        here = self._crew.on(worker.worker_id)
        idle = [executor for executor in here if executor.is_idle]
        least, most = self._bounds(worker)
        if self._crew.none_start and self._crew.running:  # there may be room for more when a test has ended
            least, most = min(least, len(here)), min(most, len(here))
        if not len(self._queue):  # those that run may each be started again, where somebody is idle
            least = max(least, min(most, len(here) - len(idle) + self._crew.spare))
        if (not idle and len(here) >= most) or (not len(self._queue) and (not idle or len(here) <= least)):
            return []
        room = self.room(worker) if idle else None
        past = [executor for executor in idle if room and self._queue.is_past(executor.executor_id, room)]
        idle = [executor for executor in idle if executor not in past]
        decision = decide_crew(self._case(worker, here, idle, least, most), _SETTINGS)
        for _ in range(decision.hire):
            self._hire(worker.worker_id)
        if decision.action is not ScalingAction.HOLD and least < most:
            self._record(worker, len(here), decision)
        return past + [executor for executor in idle if executor.executor_id in decision.dismiss]

    def _bounds(self, worker: WorkerView) -> tuple[int, int]:
        if self._settings.has_pool:  # separate workers: one per core, or per part of one that tests ask for
            cores = worker.allocatable.cpu_cores
            return 1, max(1, int(cores / min(1.0, max(_LEAST_CORES, self._queue.least_cores()))))
        return self._settings.executors

    def _hire(self, worker_id: str) -> None:
        executor = self._crew.hire(worker_id)
        try:
            self._engine.spawn(worker_id, executor.executor_id)
        except BaseException:  # raised by a plugin that was asked what to give it
            self._crew.dismiss(executor.executor_id)
            raise

    def _case(self, worker: WorkerView, here: list[Executor], idle: list[Executor], least: int, most: int) -> CrewCase:
        now = self._clock.now()
        starting = sum(not executor.ready for executor in here)
        room = self.room(worker)
        startable = self._queue.startable(room, most=most) if room else 0
        short = bool(len(self._queue)) and not startable and self._is_short(worker)
        if short:
            self._foresight.look_again()
        return CrewCase(
            least=least,
            most=most,
            busy=len(here) - len(idle) - starting,
            starting=starting,
            idle=tuple(
                IdleExecutor(
                    executor_id=executor.executor_id,
                    idle_s=now - executor.idle_since_s,
                    grown_bytes=self._memory.grown_bytes(executor),
                    has_group=self._queue.has_group(executor.executor_id),
                )
                for executor in idle
            ),
            waiting=len(self._queue),
            startable=startable,
            short=short,
        )

    def _is_short(self, worker: WorkerView) -> bool:
        """Tell whether something that waits could start if only there were more memory."""
        plenty = replace(self._manager.free(worker.worker_id), memory_bytes=worker.capacity.memory_bytes)
        return self._queue.startable(_room_of(worker, plenty), most=1) > 0

    def _record(self, worker: WorkerView, present: int, decision: CrewDecision) -> None:
        then = present + decision.hire - len(decision.dismiss)
        self._recorder.record(
            events.ScalingDecided,
            decision=ScalingDecision(
                action=decision.action,
                worker_type=executors_of(worker.worker_id),
                workers=present,
                wanted=then,
                granted=then,
                trigger=decision.trigger,
                reason=decision.reason,
                remove=decision.dismiss,
            ),
        )


def _room_of(worker: WorkerView, free: Resources) -> Room:
    whole = replace(worker.allocatable, memory_bytes=worker.capacity.memory_bytes)  # it may be had alone
    return Room(free=free, whole=whole, labels=worker.labels)
