"""One door to all providers, and the list of every instance that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from drm.cloud_provider_manager.buying import Buying
from drm.cloud_provider_manager.creation import CHILDREN, Creator
from drm.cloud_provider_manager.failover import ErrorClass, classify
from drm.cloud_provider_manager.policy import Policy
from drm.cloud_provider_manager.providers.typed import typed
from drm.cloud_provider_manager.reaping import Reaped, reap
from drm.cloud_provider_manager.tags import OPERATION, OWNER
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import (
    ConfigError,
    DrmError,
    DuplicateError,
    LostError,
    UnauthorisedError,
    UnknownWorkerError,
)
from drm.model.resources import Resources
from drm.ports import Clock, CloudProvider

_PARALLEL_ENDS = 8
_ENDED_AGAIN_AFTER_S = (0.5, 1.5, 4.0)


@dataclass(slots=True)
class _Held:
    """One instance that we asked for. ``until_s`` is None while it lives."""

    request: InstanceRequest
    provider: CloudProvider
    instance: Instance
    since_s: float
    until_s: float | None = None
    asked: InstanceRequest | None = None  # as the caller made it, where it was left open which type it is to be


class CloudProviderManager:
    """Creates and ends workers' instances, whichever provider they come from.

    ``creator`` keeps the budget and the journal (default: neither, for workers of this machine). ``policy``: how
    workers are bought where there are several ways. ``prepare`` makes a request for a machine elsewhere of one for
    this machine (see ``Joining``); ``ended`` is told of each worker whose instance is gone. A provider's errors come
    through typed: those of ``drm.model.errors`` as they are, others as the nearest one.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        creator: Creator | None = None,
        policy: Policy | None = None,
        prepare: Callable[[InstanceRequest], InstanceRequest] = lambda request: request,
        ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._creator = creator or Creator(clock=clock)
        self._buying = Buying(clock, policy or Policy(), self._created)
        self._prepare = prepare
        self._ended = ended
        self._providers: dict[str, CloudProvider] = {}
        self._held: dict[str, _Held] = {}
        self._unsettled: dict[str, InstanceRequest] = {}  # by worker: nobody knows yet what came of it
        self._notices: list[Instance] = []
        self._at_end: list[Callable[[], None]] = []
        self._looks: dict[str, tuple[float, float]] = {}  # by provider: how often, and when next

    def add_provider(self, provider: CloudProvider, *, look_every_s: float = 0.0) -> None:
        """Make a provider known under its ``name``; DuplicateError if another has that name.

        ``look_every_s``: ``poll_lost`` asks it no more often: clouds throttle who asks for lists all the time.
        """
        if self._providers.setdefault(provider.name, provider) is not provider:
            raise DuplicateError(f"provider {provider.name!r} is there already", remedy="give each its own name")
        self._looks[provider.name] = (look_every_s, -math.inf)

    def offer(self, name: str, ways: Sequence[WorkerType]) -> None:
        """Let ``create_worker`` take any of these where a type of that name is asked for: zones, markets, providers."""
        self._buying.ways[name] = tuple(ways)

    def create_worker(self, request: InstanceRequest) -> Instance:
        """Create the instance of a worker at the provider that its type names, or in any of the ways offered for it.

        The same request again returns the same instance. Errors: ConfigError for an
        unknown provider, DuplicateError for a live worker of that id that is not the
        same request, what ``CloudProvider.create`` raises, and ExhaustedError where every
        way has been closed for longer than the policy waits.
        """
        held = self._held.get(request.worker_id)
        if held is not None and held.until_s is None:
            if request in (held.request, held.asked):
                return held.instance
            raise DuplicateError(f"worker {request.worker_id} has an instance already", remedy="terminate it first")
        made = self._settled(request)
        if made is None:
            live = [held.request.worker_type for held in self._held.values() if held.until_s is None]
            made = self._buying.buy(request, live)
        self._held[request.worker_id].asked = request
        return made

    def _settled(self, request: InstanceRequest) -> Instance | None:
        """Ask again what nobody knows the answer of: there may be a machine already, and nothing else is asked for
        before that is known. None where nothing is unknown, or any more."""
        unsettled = self._unsettled.get(request.worker_id)
        if unsettled is None:
            return None
        try:
            made = self._created(unsettled)
        except DrmError as error:
            if classify(error) is ErrorClass.UNKNOWN:
                raise
            made = None
        del self._unsettled[request.worker_id]
        return made

    def _created(self, request: InstanceRequest) -> Instance:
        provider = self._provider(request.worker_type.provider)
        since_s = self._clock.now()
        ready = request if provider.name in CHILDREN else self._prepare(request)
        try:
            instance = self._creator.create(provider, ready)
        except DrmError as error:
            if classify(error) is ErrorClass.UNKNOWN:
                self._unsettled[request.worker_id] = request
            raise
        self._held[request.worker_id] = _Held(request, provider, instance, since_s)
        return instance

    def create_worker_somewhere(self, request: InstanceRequest, offered: Sequence[WorkerType]) -> Instance:
        """Create the worker as one of the types offered, whichever can be had first; see ``Buying.anywhere``."""
        return self._buying.anywhere(request, offered)

    def at_end(self, act: Callable[[], None]) -> None:
        """Let this be done when all instances have been ended."""
        self._at_end.append(act)

    def open_ways(self, offered: Sequence[WorkerType]) -> tuple[WorkerType, ...]:
        """Return those of the types offered that no refusal blocks now, in the order in which they would be tried."""
        return self._buying.open_ways(offered)

    def terminate_worker(self, worker_id: str) -> None:
        """End a worker's instance; return when it is gone. One that is gone already is fine."""
        held = self._known(worker_id)
        if held.until_s is not None:
            return
        with typed(held.provider.name, f"terminate worker {worker_id}"):
            held.provider.terminate(held.instance.instance_id)
        self._close(held, "terminated")

    def get_worker_status(self, worker_id: str) -> Instance:
        """Return what the provider says of a worker's instance now; GONE if it knows none."""
        held = self._known(worker_id)
        if held.until_s is None:
            try:
                with typed(held.provider.name, f"describe worker {worker_id}"):
                    return held.provider.describe(held.instance.instance_id)
            except LostError as error:
                return replace(held.instance, state=InstanceState.GONE, detail=error.message)
        return held.instance

    def get_available_resources(self) -> Mapping[str, Resources]:
        """Return per provider what can still be created."""
        available = {}
        for name, provider in self._providers.items():
            with typed(name, "say what is available"):
                available[name] = provider.available()
        return available

    def instances(self) -> tuple[Instance, ...]:
        """Return the instances that we asked for and that, as far as we know, live; oldest first."""
        return tuple(held.instance for held in self._held.values() if held.until_s is None)

    def type_of(self, worker_id: str) -> WorkerType:
        """Return the type that the worker was created as: its zone, market and price."""
        return self._known(worker_id).request.worker_type

    def held_s(self, worker_id: str) -> float:
        """Return for how many seconds the worker's instance was held, up to now while it lives."""
        held = self._known(worker_id)
        return (self._clock.now() if held.until_s is None else held.until_s) - held.since_s

    def poll_lost(self) -> tuple[Instance, ...]:
        """Return the instances that went away unasked since the last call, each once, state GONE.

        A provider that cannot be asked now is left out this time; ConfigError and UnauthorisedError are raised.
        """
        lost = []
        for provider in self._providers.values():
            every_s, next_s = self._looks[provider.name]
            if self._clock.now() < next_s:
                continue
            self._looks[provider.name] = (every_s, self._clock.now() + every_s)
            mine = [held for held in self._held.values() if held.provider is provider and held.until_s is None]
            if not mine:
                continue
            try:
                with typed(provider.name, "list instances"):
                    listed = {instance.instance_id: instance for instance in provider.list_instances()}
            except (ConfigError, UnauthorisedError):
                raise
            except DrmError:
                continue  # what cannot be seen is not lost
            for held in mine:
                seen = listed.get(held.instance.instance_id)
                if seen is None or seen.state is InstanceState.GONE:
                    lost.append(self._close(held, seen.detail if seen is not None else "the provider lists it no more"))
                else:
                    if seen.notice and not held.instance.notice:
                        self._notices.append(seen)
                    held.instance = seen
        return tuple(lost)

    def take_notices(self) -> tuple[Instance, ...]:
        """Return the instances of which ``poll_lost`` has seen that their provider takes them away, each once."""
        notices, self._notices = self._notices, []
        return tuple(notices)

    def reconcile(self, *, alive: Callable[[str], bool | None], wait: Callable[[float], None]) -> Reaped:
        """Bring journal and providers together, after a crash of a controller: called before anything is created.

        What a controller that is gone has left is ended, entries of what is not there are closed, and what carries
        this process's own name and is not known here is taken in, so that it is counted and ended with the rest.
        ``alive``: see ``reap``; ``wait`` passes time between two looks.
        """
        asked = [each for each in self._providers.values() if each.name not in CHILDREN]
        done = reap(asked, clock=self._clock, alive=alive, wait=wait, journal=self._creator.journal)
        own = self._creator.ownership.owner
        known = {held.instance.instance_id for held in self._held.values()}
        for finding in done.findings:
            seen = finding.instance
            if finding.outcome == "kept" and own and seen.tag(OWNER) == own and seen.instance_id not in known:
                self._adopt(seen)
        return done

    def _adopt(self, seen: Instance) -> None:
        provider = self._provider(seen.provider)
        kind = next((each for each in provider.offerings() if each.name == seen.worker_type), None)
        kind = kind or WorkerType(name=seen.worker_type, capacity=Resources(), provider=seen.provider)
        request = InstanceRequest(
            worker_id=seen.worker_id, worker_type=kind, command=(), token=seen.tag(OPERATION), tags=seen.tags
        )
        self._creator.adopt(request.token, kind)
        self._held[seen.worker_id] = _Held(request, provider, seen, self._clock.now())

    def terminate_all(self) -> None:
        """End every instance, several at a time, and what creates of unknown fate have made.

        A provider that fails is asked again for some seconds; then LostError says that somebody has to ``drm reap``.
        """
        try:
            for pause_s in (*_ENDED_AGAIN_AFTER_S, None):
                try:
                    self._end_all()
                    break
                except DrmError as error:
                    if pause_s is None:
                        raise LostError(f"a machine may be left: {error}", remedy="drm reap ends it") from error
                self._creator.wait(pause_s)
        finally:
            while self._at_end:
                self._at_end.pop()()

    def _end_all(self) -> None:
        try:
            self._creator.end_unknown()
        finally:
            workers = [held.request.worker_id for held in self._held.values() if held.until_s is None]
            with ThreadPoolExecutor(max_workers=_PARALLEL_ENDS) as pool:
                ends = [pool.submit(self.terminate_worker, worker_id) for worker_id in workers]
            for end in ends:
                end.result()

    def _provider(self, name: str) -> CloudProvider:
        provider = self._providers.get(name)
        if provider is None:
            known = ", ".join(sorted(self._providers)) or "none"
            raise ConfigError(f"provider {name!r} is not known", remedy=f"known providers: {known}")
        return provider

    def _known(self, worker_id: str) -> _Held:
        held = self._held.get(worker_id)
        if held is None:
            raise UnknownWorkerError(f"no instance was created for worker {worker_id!r}")
        return held

    def _close(self, held: _Held, detail: str) -> Instance:
        held.until_s = self._clock.now()
        self._ended(held.request.worker_id)
        self._creator.ended(held.instance.tag(OPERATION) or held.request.token, detail)
        held.instance = replace(held.instance, state=InstanceState.GONE, detail=detail)
        return held.instance
