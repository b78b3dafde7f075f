"""The pool of separate workers: growing and shrinking it by the manager's decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.policy import ExhaustedError
from drm.coordinator.recorder import Recorder
from drm.coordinator.settings import RunSettings
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.model import events
from drm.model.cluster import InstanceRequest, WorkerState, WorkerType
from drm.model.errors import DrmError, LostError
from drm.model.observations import WorkerNoticed
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.work import Task
from drm.ports import Clock, Engine
from drm.resource_optimizer import ResourceOptimizer

_EVERY_S = 0.25
_S_PER_TEST = (
    40e-6  # a decision takes a tenth of that per waiting test: deciding shall take a tenth of the time at most
)
_FAILED_STARTS = 3  # in a row, before the run is given up


@dataclass(slots=True)
class _Member:
    worker_type: WorkerType
    instance_id: str
    asked_s: float
    ready: bool = False
    noticed: bool = False  # its machine will be taken away: its drain is never cancelled


@dataclass(slots=True)
class _Note:
    """The last decision per worker type, so that only news is recorded."""

    seen: dict[str, tuple[object, ...]] = field(default_factory=dict)

    def is_news(self, decision: ScalingDecision) -> bool:
        shape = (decision.action, decision.trigger.code, decision.workers, decision.wanted, decision.granted)
        if (
            decision.action in (ScalingAction.HOLD, ScalingAction.DENIED)
            and self.seen.get(decision.worker_type) == shape
        ):
            return False
        self.seen[decision.worker_type] = shape
        return True


class WorkerPool:
    """Separate workers from providers. With no worker types it does nothing."""

    def __init__(
        self,
        *,
        settings: RunSettings,
        clock: Clock,
        engine: Engine,
        manager: DynamicResourceManager,
        optimizer: ResourceOptimizer,
        providers: CloudProviderManager,
        recorder: Recorder,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._engine = engine
        self._manager = manager
        self._optimizer = optimizer
        self._providers = providers
        self._recorder = recorder
        self._members: dict[str, _Member] = {}
        self._made = 0
        self._failed_starts = 0
        self._next_s = self._next_decision_s = float("-inf")
        self._note = _Note()

    @property
    def workers(self) -> int:
        """Workers that are there or coming."""
        return len(self._members)

    def evaluate(self, waiting: Callable[[], Sequence[Task]]) -> tuple[str, ...]:
        """Ask for a decision per worker type and carry it out; return the workers to drain.

        ``waiting`` gives the tests that wait, with forecasts as of now; it is called when a decision is due.
        """
        now = self._clock.now()
        if not self._settings.worker_types or now < self._next_s:
            return ()
        self._next_s = now + _EVERY_S
        self._look_for_losses(now)
        if now < self._next_decision_s:
            return ()
        tests = waiting()
        self._next_decision_s = now + _S_PER_TEST * len(tests)
        drain: list[str] = []
        rows = self._optimizer.get_scaling_recommendations(
            tests, self._manager.snapshot(now), self._settings.worker_types
        )
        for worker_type, queue in rows:
            here = [member for member in self._members.values() if member.worker_type.name == worker_type.name]
            pending = sum(not member.ready for member in here)
            least, most, of_pool = self._bounds(worker_type.name, len(here))
            decision = self._manager.evaluate_scaling(
                worker_type,
                queue,
                now_s=now,
                pending=pending,
                minimum=least,
                maximum=most,
                total_workers=of_pool,
            )
            outcome = ""
            requested: list[str] = []
            if decision.action is ScalingAction.UP:
                requested, outcome = self._grow(worker_type, decision.granted - decision.workers)
            elif decision.action is ScalingAction.DOWN:
                drain += decision.remove
                outcome = f"draining {', '.join(decision.remove)}"
            if self._note.is_news(decision):
                self._recorder.record(
                    events.ScalingDecided, decision=decision, outcome=outcome, requested=tuple(requested)
                )
        return tuple(drain)

    def _bounds(self, name: str, here: int) -> tuple[int, int, int]:
        """Return the least and most workers of the pool that a type belongs to, and how many there are."""
        own = self._settings.type_workers
        if name in own:
            return *own[name], here
        return *self._settings.workers, sum(each.worker_type.name not in own for each in self._members.values())

    def _grow(self, worker_type: WorkerType, count: int) -> tuple[list[str], str]:
        """Ask for workers; return their ids and what came of it. A provider's refusal is an outcome, not an error."""
        asked: list[str] = []
        refusal = ""
        for _ in range(count):
            worker_id = f"w{self._made}"
            command, environment = self._engine.join_command(worker_id, worker_type)
            request = InstanceRequest(
                worker_id=worker_id,
                worker_type=worker_type,
                command=command,
                environment=tuple(environment.items()),
                token=f"{self._settings.run_id}/{worker_id}",
                tags=(("drm-run", self._settings.run_id),),
            )
            self._made += 1
            try:
                instance = self._providers.create_worker(request)
            except ExhaustedError:
                if not self._members:  # nobody is left to run the tests, and nobody will come
                    raise
                refusal = "refused: every way to get a worker is closed"
                break
            except DrmError as error:
                refusal = f"refused: {error.message}"
                break
            self._members[worker_id] = _Member(worker_type, instance.instance_id, self._clock.now())
            self._recorder.record(
                events.InstanceRequested,
                worker_id=worker_id,
                worker_type=worker_type.name,
                provider=worker_type.provider,
                usd_per_hour=worker_type.usd_per_hour,
            )
            asked.append(worker_id)
        return asked, "; ".join(filter(None, (f"requested {', '.join(asked)}" if asked else "", refusal)))

    def joined(self, worker_id: str) -> None:
        member = self._members.get(worker_id)
        if member is not None:
            member.ready = True
            self._failed_starts = 0
            latency = self._clock.now() - member.asked_s
            self._recorder.record(
                events.InstanceReady,
                worker_id=worker_id,
                instance_id=member.instance_id,
                latency_s=round(latency, 3),
            )

    def noticed(self, worker_id: str) -> None:
        """The provider will take the worker's machine away."""
        member = self._members.get(worker_id)
        if member is not None:
            member.noticed = True

    def notices(self) -> tuple[WorkerNoticed, ...]:
        """Return what providers say of machines that they will take away, each once."""
        if not self._settings.worker_types:
            return ()
        return tuple(
            WorkerNoticed(worker_id=each.worker_id, reason=each.notice) for each in self._providers.take_notices()
        )

    def drained(self, worker_id: str) -> None:
        """The worker has nothing left to do: let it go."""
        self._engine.release(worker_id)

    def left(self, worker_id: str, reason: str, *, expected: bool) -> None:
        """A worker is gone: end its instance, whatever is left of it."""
        member = self._members.pop(worker_id, None)
        if member is None:
            return
        self._providers.terminate_worker(worker_id)
        held = self._clock.now() - member.asked_s
        if not expected:
            self._recorder.record(
                events.InstanceLost, worker_id=worker_id, instance_id=member.instance_id, reason=reason
            )
            if not member.ready:
                self._count_failure(worker_id, reason)
        self._recorder.record(
            events.InstanceReleased,
            worker_id=worker_id,
            instance_id=member.instance_id,
            held_s=round(held, 3),
            cost_usd=member.worker_type.usd_per_hour * held / 3600,
        )

    def _look_for_losses(self, now: float) -> None:
        """Find instances that ended before their worker joined, or that take too long to join."""
        for instance in self._providers.poll_lost():
            if not self._is_ready(instance.worker_id):  # a worker that had joined is missed by the engine
                self.left(instance.worker_id, instance.detail or "its instance is gone", expected=False)
        for worker_id, member in tuple(self._members.items()):
            if not member.ready and now - member.asked_s > self._settings.start_s:
                self.left(worker_id, f"it did not join within {self._settings.start_s:g} s", expected=False)

    def _is_ready(self, worker_id: str) -> bool:
        member = self._members.get(worker_id)
        return member is not None and member.ready

    def _count_failure(self, worker_id: str, reason: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            raise LostError(
                f"{self._failed_starts} workers in a row did not start, the last ({worker_id}) because {reason}",
                remedy="look at what they printed above, or run with --drm-executors instead of --drm-workers",
            )

    def set_state(self, worker_id: str, state: WorkerState) -> None:
        self._manager.set_worker_state(worker_id, state, now_s=self._clock.now())

    def close(self) -> None:
        """End every instance; none is left when this returns."""
        for worker_id in tuple(self._members):
            self.left(worker_id, "the run ended", expected=True)
        self._providers.terminate_all()
