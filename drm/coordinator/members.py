"""The workers of a pool and the lives they lead: events in, the state machine's instructions carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.policy import ExhaustedError
from drm.coordinator.calls import Calls
from drm.coordinator.eta import Load
from drm.coordinator.recorder import Recorder
from drm.coordinator.starts import Starts
from drm.dynamic_resource_manager.lifecycle import Deadlines, Do, Happened, Life, LifeEvent, Phase, advance
from drm.model import events
from drm.model.cluster import Instance, InstanceRequest, WorkerType
from drm.model.errors import ConfigError, DrmError, LostError, UnauthorisedError, UnknownFateError
from drm.ports import Clock, Engine

__all__ = ["Member", "Members"]

_FAILED_STARTS = 3  # in a row while no worker serves, before the run is given up
_LEAST_LEFT = 0.1  # of a boot that is late


_NOTHING = Load()


@dataclass(slots=True)
class Member:
    """One worker. ``worker_type``: as which it was made, once that is known."""

    worker_type: WorkerType
    request: InstanceRequest
    life: Life
    instance_id: str = ""
    is_asked: bool = False


class Members:
    """Every worker of the pool that is not known to be gone."""

    def __init__(
        self,
        *,
        clock: Clock,
        engine: Engine,
        providers: CloudProviderManager,
        recorder: Recorder,
        calls: Calls,
        limits: Deadlines,
        say: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._engine = engine
        self._providers = providers
        self._recorder = recorder
        self._calls = calls
        self._limits = limits
        self._say = say
        self._members: dict[str, Member] = {}
        self._made: set[str] = set()
        self.starts = Starts()
        self._failed_starts = 0
        self._stops: list[str] = []
        self._closing = False

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[tuple[str, Member]]:
        return iter(tuple(self._members.items()))

    # -- looking

    def of(self, name: str) -> list[Member]:
        return [member for member in self._members.values() if member.worker_type.name == name]

    def leaving(self) -> frozenset[str]:
        """Return the workers that drain and were told to end: nobody can keep them."""
        return frozenset(worker_id for worker_id, member in self._members.items() if member.life.released)

    def pending(self, name: str, boot_s: float) -> tuple[int, float]:
        """Return how many workers of the type are on their way, and the seconds they still take, summed."""
        now = self._clock.now()
        ages = [now - member.life.asked_s for member in self.of(name) if member.life.is_pending]
        return len(ages), sum(max(_LEAST_LEFT * boot_s, boot_s - age) for age in ages)

    def missing_s(self, name: str) -> float:
        """Return for how long the type could not be had at all; 0 where there is one, or none was refused."""
        if any(member.life.phase is not Phase.GONE for member in self.of(name)):
            return 0.0
        return self.starts.failing_s(name, self._clock.now())

    def take_stops(self) -> list[str]:
        """Return the workers whose lease ends, each once."""
        stops, self._stops = self._stops, []
        return stops

    # -- what happens

    def ask(self, worker_id: str, request: InstanceRequest) -> None:
        """Ask for a worker."""
        now = self._clock.now()
        life = Life(asked_s=now, since_s=now)
        self._members[worker_id] = Member(request.worker_type, request, life)
        self._made.add(worker_id)
        self._create(worker_id)

    def tell(self, worker_id: str, kind: Happened, reason: str = "", *, busy: bool = False) -> bool:
        """Take an event; return whether it changed the worker's state."""
        member = self._members.get(worker_id)
        if member is None:
            return False
        return self._take(worker_id, member, LifeEvent(kind=kind, now_s=self._clock.now(), reason=reason, busy=busy))

    def _take(self, worker_id: str, member: Member, happened: LifeEvent) -> bool:
        before = member.life
        member.life, instructions = advance(before, happened, self._limits)
        if member.life.phase is not before.phase:
            self._moved(worker_id, member, before)
        for instruction in instructions:
            self._do(worker_id, member, instruction)
        return member.life.phase is not before.phase

    def tick(self, loads: Mapping[str, Load]) -> None:
        """Let time pass for all."""
        now = self._clock.now()
        ticks = {busy: LifeEvent(kind=Happened.TICK, now_s=now, busy=busy) for busy in (False, True)}
        for worker_id, member in self:
            load = loads.get(worker_id, _NOTHING)
            if load.executors and member.life.hired_s is None:
                self.tell(worker_id, Happened.HIRED)
            self._take(worker_id, member, ticks[load.running > 0])

    def is_welcome(self, worker_id: str) -> bool:
        """Tell whether a worker that joins is one that is waited for, or none of the pool's."""
        member = self._members.get(worker_id)
        return worker_id not in self._made or (member is not None and member.life.phase is Phase.REGISTERED)

    def look_for_losses(self) -> None:
        """Ask the providers which machines are gone."""
        self._calls.start(self._providers.poll_lost, self._lost)

    def _lost(self, answer: tuple[Instance, ...] | DrmError) -> None:
        if isinstance(answer, DrmError):
            if isinstance(answer, (ConfigError, UnauthorisedError)) and not self._closing:
                raise answer
            return
        for instance in answer:
            self.tell(instance.worker_id, Happened.VANISHED, instance.detail or "its instance is gone")

    # -- carrying out

    def _do(self, worker_id: str, member: Member, instruction: Do) -> None:
        if instruction is Do.ASK:
            self._create(worker_id)
        elif instruction is Do.RELEASE:
            self._engine.release(worker_id)
        elif instruction is Do.STOP:
            self._stops.append(worker_id)
        elif instruction is Do.END:
            self._end(worker_id)
        elif instruction is Do.FORGET:
            self._members.pop(worker_id, None)
            if member.life.failed_start and not member.instance_id:
                self._could_not(member, member.life.reason)

    def _create(self, worker_id: str) -> None:
        member = self._members[worker_id]
        if member.is_asked:
            return
        member.is_asked = True
        request = member.request
        self._calls.start(
            lambda: self._providers.create_worker(request), lambda answer: self._created(worker_id, answer)
        )

    def _created(self, worker_id: str, answer: Instance | DrmError) -> None:
        member = self._members.get(worker_id)
        if member is None:
            return
        member.is_asked = False
        if isinstance(answer, UnknownFateError):
            self.tell(worker_id, Happened.FATE_UNKNOWN, answer.message)
        elif isinstance(answer, DrmError):
            self.tell(worker_id, Happened.REFUSED, str(answer))
            alone = isinstance(answer, ExhaustedError) and not len(self)  # nobody runs the tests, and nobody will come
            if (alone or isinstance(answer, (ConfigError, UnauthorisedError))) and not self._closing:
                raise answer  # asking again will not help
        else:
            member.instance_id = answer.instance_id
            member.worker_type = self._providers.type_of(worker_id)
            if member.worker_type.capacity != member.request.worker_type.capacity:  # another one stands in for it
                self._engine.join_command(worker_id, member.worker_type)
            self._recorder.record(
                events.InstanceRequested,
                worker_id=worker_id,
                worker_type=member.worker_type.name,
                provider=member.worker_type.provider,
                usd_per_hour=member.worker_type.usd_per_hour,
            )
            self.tell(worker_id, Happened.CREATED)

    def _end(self, worker_id: str) -> None:
        member = self._members[worker_id]
        if member.is_asked:  # its create has no answer yet, and decides what there is to end
            return
        if not member.instance_id:
            self.tell(worker_id, Happened.ENDED)
            return
        member.is_asked = True
        self._calls.start(
            lambda: self._providers.terminate_worker(worker_id),
            lambda answer: self._ended(worker_id, answer),
            ends=True,
        )

    def _ended(self, worker_id: str, answer: DrmError | None) -> None:
        member = self._members.get(worker_id)
        if member is None:
            return
        member.is_asked = False
        if answer is not None:
            self._say(f"worker {worker_id}: its machine could not be ended yet ({answer.message})")
            self.tell(worker_id, Happened.END_FAILED, answer.message)
            return
        held_s = self._clock.now() - member.life.asked_s
        self._recorder.record(
            events.InstanceReleased,
            worker_id=worker_id,
            instance_id=member.instance_id,
            held_s=round(held_s, 3),
            cost_usd=member.worker_type.usd_per_hour * held_s / 3600,
        )
        self.tell(worker_id, Happened.ENDED)

    # -- what follows from a change of state

    def _moved(self, worker_id: str, member: Member, before: Life) -> None:
        life, name = member.life, member.worker_type.name
        if life.phase is Phase.REGISTERED:
            latency_s = life.since_s - life.asked_s
            self.starts.took(name, latency_s)
            self._failed_starts = 0
            self._recorder.record(
                events.InstanceReady,
                worker_id=worker_id,
                instance_id=member.instance_id,
                latency_s=round(latency_s, 3),
            )
        elif life.phase is Phase.GONE and member.instance_id:
            self.starts.room_is_free()
            if not life.expected and not self._closing:
                self._recorder.record(
                    events.InstanceLost, worker_id=worker_id, instance_id=member.instance_id, reason=life.reason
                )
                if before.phase in (Phase.REQUESTED, Phase.ALLOCATED):
                    self._could_not(member, life.reason)
                    self._count_failure(worker_id, life.reason)

    def _could_not(self, member: Member, reason: str) -> None:
        """A worker of the type could not be had: leave the type alone for a while, longer each time."""
        name = member.worker_type.name
        if self.starts.failed(name, reason, self._clock.now()):
            self._say(f"no {name} worker could be had: {reason}")

    def _count_failure(self, worker_id: str, reason: str) -> None:
        serving = (Phase.REGISTERED, Phase.READY)
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS and not any(each.life.phase in serving for _, each in self):
            raise LostError(
                f"{self._failed_starts} workers in a row did not start, the last ({worker_id}) because {reason}",
                remedy="look at what they printed above, or run with --drm-executors instead of --drm-workers",
            )

    def close(self) -> None:
        """End every machine; none is left when this returns."""
        self._closing = True
        self._calls.close()
        try:
            self._providers.terminate_all()
        finally:
            left = {instance.worker_id for instance in self._providers.instances()}
            for worker_id, member in self:
                member.life = replace(member.life, phase=Phase.GONE, expected=True)
                if member.instance_id and worker_id not in left:
                    self._ended(worker_id, None)
