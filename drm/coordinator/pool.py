"""The pool of separate workers: growing and shrinking it by the manager's decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from drm.cloud_provider_manager import CloudProviderManager
from drm.coordinator.calls import Calls, InlineCalls
from drm.coordinator.eta import Load
from drm.coordinator.members import Members
from drm.coordinator.recorder import Recorder
from drm.coordinator.settings import RunSettings
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.dynamic_resource_manager.lifecycle import Happened
from drm.model import events
from drm.model.cluster import InstanceRequest, QueueView, WorkerState, WorkerType
from drm.model.errors import CapacityError
from drm.model.observations import WorkerNoticed
from drm.model.plan import ScalingAction, ScalingDecision, Trigger
from drm.model.work import Task
from drm.ports import Clock, Engine
from drm.resource_optimizer import ResourceOptimizer

__all__ = ["Orders", "WorkerPool"]

_EVERY_S, _PER_BOOT = 0.25, 60  # how often is looked; no more often than so many times in a boot
_S_PER_TEST = (
    40e-6  # a decision takes a tenth of that per waiting test: deciding shall take a tenth of the time at most
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the loop is to do with workers: let them go, or give them tests again."""

    drain: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


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
    """Separate workers from providers. With no worker types it does nothing.

    ``calls``: how providers are called. ``say``: shows a line to the person. CapacityError where a type that is needed
    could not be had for ``no_capacity_s``.
    """

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
        calls: Calls | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._engine = engine
        self._manager = manager
        self._optimizer = optimizer
        self._providers = providers
        self._recorder = recorder
        self._calls = calls or InlineCalls()
        self._members = Members(
            clock=clock,
            engine=engine,
            providers=providers,
            recorder=recorder,
            calls=self._calls,
            limits=settings.deadlines,
            say=say,
        )
        self._ways: dict[str, tuple[WorkerType, ...]] = {}  # by name: the zones and markets where it can be had
        for each in settings.worker_types:
            self._ways[each.name] = (*self._ways.get(each.name, ()), each)
        self._made = settings.workers_before
        self._next_s = self._next_decision_s = self._next_look_s = float("-inf")
        self._note = _Note()

    @property
    def workers(self) -> int:
        """Workers that are there or coming, or not known to be gone."""
        return len(self._members)

    def evaluate(self, waiting: Callable[[], Sequence[Task]], loads: Callable[[], Mapping[str, Load]]) -> Orders:
        """Ask for a decision per worker type and carry it out; return what the loop is to do.

        ``waiting`` gives the tests that wait, with forecasts as of now; it is called when a decision is due. ``loads``:
        what runs, by worker.
        """
        now = self._clock.now()
        self._calls.collect()
        if not self._ways or now < self._next_s:
            return Orders()
        self._next_s = now + max(_EVERY_S, self._shortest_boot_s() / _PER_BOOT)
        busy = loads()
        if now >= self._next_look_s:
            self._next_look_s = now + self._settings.look_s
            self._members.look_for_losses()
        self._members.tick(busy)
        drain, keep = self._members.take_stops(), []
        if now >= self._next_decision_s:
            tests = waiting()
            self._next_decision_s = now + _S_PER_TEST * len(tests)
            missed = 0  # types that tests wait for, and of which none may come while all the others are here
            for worker_type, queue in self._recommended(tests, busy, now):
                decision = self._decided(worker_type, queue, now, room=missed)
                missed += not (decision.workers or decision.granted) and decision.wanted > 0
                self._carry_out(worker_type, decision)
                drain += [each for each in decision.remove if self._members.tell(each, Happened.DRAIN, "not needed")]
                keep += [each for each in decision.keep if self._members.tell(each, Happened.KEEP)]
        self._members.take_stops()  # of those just drained
        return Orders(drain=tuple(drain), keep=tuple(keep))

    def _recommended(
        self, tests: Sequence[Task], busy: Mapping[str, Load], now: float
    ) -> Sequence[tuple[WorkerType, QueueView]]:
        """Return the work by type, first that of types of which there is no worker: what is free is for those.

        What could not be had of late gets none, unless there is nothing else.
        """
        types = [self._cheapest(ways) for ways in self._ways.values()]
        open_types = [each for each in types if self._members.starts.left_alone(each.name, now) is None] or types
        rows = self._optimizer.get_scaling_recommendations(
            tests,
            self._manager.snapshot(now),
            open_types,
            {name: load.left_s for name, load in busy.items()},
            {name: load.awaited_s for name, load in busy.items()},
        )
        shut = [(each, QueueView()) for each in types if each not in open_types]
        present = {member.worker_type.name for _, member in self._members}
        return sorted([*rows, *shut], key=lambda row: row[0].name in present or not row[1].waiting)

    def _shortest_boot_s(self) -> float:
        default_s, starts = self._manager.settings.boot_s, self._members.starts
        return min(starts.boot_s(name, default_s) for name in self._ways)

    def _cheapest(self, ways: Sequence[WorkerType]) -> WorkerType:
        found = self._providers.open_ways(ways) if len(ways) > 1 else ways
        return min(found or ways, key=lambda each: each.usd_per_hour)

    def _decided(self, worker_type: WorkerType, queue: QueueView, now: float, *, room: int) -> ScalingDecision:
        """Return the decision for a type. ``room``: how many below the pool's least it may go, for other types."""
        name = worker_type.name
        boot_s = self._members.starts.boot_s(name, self._manager.settings.boot_s)
        pending, pending_s = self._members.pending(name, boot_s)
        least, most, of_pool = self._bounds(name)
        decision = self._manager.evaluate_scaling(
            worker_type,
            queue,
            now_s=now,
            pending=pending,
            minimum=least if name in self._settings.type_workers else max(0, least - room),
            maximum=most,
            total_workers=of_pool,
            boot_s=boot_s,
            pending_s=pending_s,
            leaving=self._members.leaving(),
        )
        return self._unless_left_alone(decision, now)

    def _unless_left_alone(self, decision: ScalingDecision, now: float) -> ScalingDecision:
        """Deny what was refused a moment ago: asking again at once would be churn."""
        alone = self._members.starts.left_alone(decision.worker_type, now)
        if alone is None or decision.action is not ScalingAction.UP or decision.keep:
            return decision
        until_s, why = alone
        missing_s = self._members.missing_s(decision.worker_type)
        if missing_s > self._settings.no_capacity_s and decision.wanted:
            raise CapacityError(
                f"no {decision.worker_type} worker could be had for {missing_s:.0f} s: {why}",
                remedy="offer other types or zones, or let local workers stand in",
            )
        return replace(
            decision,
            action=ScalingAction.DENIED,
            granted=decision.workers,
            trigger=Trigger(
                code="capacity", metric="missing_s", value=missing_s, threshold=self._settings.no_capacity_s
            ),
            reason=f"{decision.reason}; but none could be had ({why}), asked again in {until_s - now:.0f} s",
            limits_hit=(*decision.limits_hit, "capacity"),
        )

    def _carry_out(self, worker_type: WorkerType, decision: ScalingDecision) -> None:
        outcome, requested = "", list[str]()
        if decision.action is ScalingAction.UP:
            more = decision.granted - decision.workers - len(decision.keep)
            requested, outcome = self._grow(worker_type, more)
            kept = f"keeping {', '.join(decision.keep)}" if decision.keep else ""
            outcome = "; ".join(filter(None, (kept, outcome)))
        elif decision.action is ScalingAction.DOWN:
            outcome = f"draining {', '.join(decision.remove)}"
        if self._note.is_news(decision):
            self._recorder.record(events.ScalingDecided, decision=decision, outcome=outcome, requested=tuple(requested))

    def _bounds(self, name: str) -> tuple[int, int, int]:
        """Return the least and most workers of the pool that a type belongs to, and how many there are."""
        own = self._settings.type_workers
        if name in own:
            return *own[name], len(self._members.of(name))
        return *self._settings.workers, sum(member.worker_type.name not in own for _, member in self._members)

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
            self._members.ask(worker_id, request)
            alone = self._members.starts.left_alone(worker_type.name, self._clock.now())
            if alone is not None:
                refusal = f"refused: {alone[1]}"
                break
            asked.append(worker_id)
        return asked, "; ".join(filter(None, (f"requested {', '.join(asked)}" if asked else "", refusal)))

    # -- what the engine says

    def joined(self, worker_id: str) -> bool:
        """A worker has joined; return False for one that nobody waits for any more: it was told to end."""
        self._members.tell(worker_id, Happened.JOINED)
        if self._members.is_welcome(worker_id):
            return True
        self._engine.release(worker_id)
        return False

    def serves(self, worker_id: str) -> None:
        """An executor of the worker is ready."""
        self._members.tell(worker_id, Happened.SERVES)

    def noticed(self, worker_id: str) -> None:
        """The provider will take the worker's machine away."""
        self._members.tell(worker_id, Happened.NOTICED)

    def notices(self) -> tuple[WorkerNoticed, ...]:
        """Return what providers say of machines that they will take away, each once."""
        if not self._settings.worker_types:
            return ()
        return tuple(
            WorkerNoticed(worker_id=each.worker_id, reason=each.notice) for each in self._providers.take_notices()
        )

    def drained(self, worker_id: str) -> None:
        """The worker has nothing left to do: let it go."""
        self._members.tell(worker_id, Happened.EMPTY)

    def left(self, worker_id: str, reason: str, *, expected: bool) -> None:
        """A worker is gone: end its instance, whatever is left of it."""
        self._members.tell(worker_id, Happened.LEFT, reason, busy=not expected)

    def set_state(self, worker_id: str, state: WorkerState) -> None:
        self._manager.set_worker_state(worker_id, state, now_s=self._clock.now())

    def close(self) -> None:
        """End every instance; none is left when this returns."""
        self._members.close()
