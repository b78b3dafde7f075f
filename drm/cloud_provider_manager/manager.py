"""One door to all providers, and the list of every instance that was asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from drm.cloud_provider_manager.budget import BudgetError
from drm.cloud_provider_manager.creation import Creator, token_of
from drm.cloud_provider_manager.failover import Blocks, Candidate, ErrorClass, candidates, classify, exhausted
from drm.cloud_provider_manager.providers.typed import typed
from drm.cloud_provider_manager.tags import OPERATION
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import ConfigError, DrmError, DuplicateError, LostError, UnauthorisedError, UnknownWorkerError
from drm.model.resources import Resources
from drm.ports import Clock, CloudProvider

_PARALLEL_ENDS = 8


@dataclass(slots=True)
class _Held:
    """One instance that we asked for. ``until_s`` is None while it lives."""

    request: InstanceRequest
    provider: CloudProvider
    instance: Instance
    since_s: float
    until_s: float | None = None


class CloudProviderManager:
    """Creates and ends workers' instances, whichever provider they come from.

    ``creator`` keeps the budget and the journal (default: neither, for workers of this machine). A provider's
    errors come through typed: those of ``drm.model.errors`` as they are, others as the nearest one.
    """

    def __init__(self, *, clock: Clock, creator: Creator | None = None) -> None:
        self._clock = clock
        self._creator = creator or Creator(clock=clock)
        self._blocks = Blocks()
        self._providers: dict[str, CloudProvider] = {}
        self._held: dict[str, _Held] = {}
        self._notices: list[Instance] = []

    def add_provider(self, provider: CloudProvider) -> None:
        """Make a provider known under its ``name``; DuplicateError if another has that name."""
        if self._providers.setdefault(provider.name, provider) is not provider:
            raise DuplicateError(f"provider {provider.name!r} is there already", remedy="give each its own name")

    def create_worker(self, request: InstanceRequest) -> Instance:
        """Create the instance of a worker at the provider that its type names.

        The same request again returns the same instance. Errors: ConfigError for an
        unknown provider, DuplicateError for a live worker of that id that is not the
        same request, and what ``CloudProvider.create`` raises.
        """
        held = self._held.get(request.worker_id)
        if held is not None and held.until_s is None:
            if held.request == request:
                return held.instance
            raise DuplicateError(f"worker {request.worker_id} has an instance already", remedy="terminate it first")
        provider = self._provider(request.worker_type.provider)
        since_s = self._clock.now()
        instance = self._creator.create(provider, request)
        self._held[request.worker_id] = _Held(request=request, provider=provider, instance=instance, since_s=since_s)
        return instance

    def create_worker_somewhere(self, request: InstanceRequest, offered: Sequence[WorkerType]) -> Instance:
        """Create the worker as one of the types offered, whichever can be had first: zone, type, market, region,
        provider (see ``failover``). The request's own type is not looked at.

        Each way has a token of its own. Errors: CapacityError that says why each way is closed and when the first
        opens; ConfigError and UnauthorisedError at once, because going elsewhere would hide them; UnknownFateError
        at once, because the worker may be there already.
        """
        closed: dict[WorkerType, str] = {}
        while True:
            now_s = self._clock.now()
            ways = candidates(offered, self._blocks, now_s=now_s)
            way = next((each.worker_type for each in ways if not each.why_not and each.worker_type not in closed), None)
            if way is None:
                shown = [_closed(each, closed.get(each.worker_type, "")) for each in ways]
                raise exhausted(shown, now_s=now_s)
            name = "/".join(filter(None, (way.provider, way.zone, way.name, way.market)))
            token = f"{request.token}/{name}" if request.token else ""
            try:
                made = self.create_worker(dataclasses.replace(request, worker_type=way, token=_short(token)))
            except BudgetError as error:
                closed[way] = error.message
            except DrmError as error:
                if classify(error) in (ErrorClass.UNKNOWN, ErrorClass.CONFIG, ErrorClass.UNAUTHORISED):
                    raise
                self._blocks = self._blocks.after(error, way, now_s=self._clock.now())
            else:
                self._blocks = self._blocks.after_success(way)
                return made

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
                return dataclasses.replace(held.instance, state=InstanceState.GONE, detail=error.message)
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

    def terminate_all(self) -> None:
        """End every instance, several at a time, and what creates of unknown fate have made; then raise the first
        error, if there was one."""
        unsettled = _error_of(lambda _: self._creator.end_unknown())("")
        workers = [held.request.worker_id for held in self._held.values() if held.until_s is None]
        if not workers and unsettled is None:
            return
        with ThreadPoolExecutor(max_workers=max(1, min(_PARALLEL_ENDS, len(workers)))) as pool:
            errors = list(pool.map(_error_of(self.terminate_worker), workers))
        for error in (*errors, unsettled):
            if error is not None:
                raise error

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
        self._creator.ended(held.instance.tag(OPERATION) or held.request.token, detail)
        held.instance = dataclasses.replace(held.instance, state=InstanceState.GONE, detail=detail)
        return held.instance


def _closed(way: Candidate, why_not: str) -> Candidate:
    """Return the way with why it was not taken this time, where no block says it."""
    return dataclasses.replace(way, why_not=why_not, free_at_s=math.inf) if why_not and not way.why_not else way


def _short(token: str) -> str:
    """Return a token of at most 64 characters: what EC2 takes."""
    return token if len(token) <= 64 else token_of(token)


def _error_of(act: Callable[[str], None]) -> Callable[[str], DrmError | None]:
    """Return ``act`` with its error as a value."""

    def attempt(worker_id: str) -> DrmError | None:
        try:
            act(worker_id)
        except DrmError as error:
            return error
        return None

    return attempt
