"""One door to all providers, and the list of every instance that was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from drm.model.cluster import Instance, InstanceRequest, InstanceState
from drm.model.errors import (
    ConfigError,
    DrmError,
    DuplicateError,
    LostError,
    ThrottledError,
    UnauthorisedError,
    UnknownWorkerError,
)
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

    ``clock`` only measures how long instances are held. A provider's errors come
    through typed: those of ``drm.model.errors`` as they are, others as the nearest one.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._providers: dict[str, CloudProvider] = {}
        self._held: dict[str, _Held] = {}

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
        with _typed(provider.name, f"create worker {request.worker_id}"):
            instance = provider.create(request)
        self._held[request.worker_id] = _Held(request=request, provider=provider, instance=instance, since_s=since_s)
        return instance

    def terminate_worker(self, worker_id: str) -> None:
        """End a worker's instance; return when it is gone. One that is gone already is fine."""
        held = self._known(worker_id)
        if held.until_s is not None:
            return
        with _typed(held.provider.name, f"terminate worker {worker_id}"):
            held.provider.terminate(held.instance.instance_id)
        self._close(held, "terminated")

    def get_worker_status(self, worker_id: str) -> Instance:
        """Return what the provider says of a worker's instance now; GONE if it knows none."""
        held = self._known(worker_id)
        if held.until_s is None:
            try:
                with _typed(held.provider.name, f"describe worker {worker_id}"):
                    return held.provider.describe(held.instance.instance_id)
            except LostError as error:
                return dataclasses.replace(held.instance, state=InstanceState.GONE, detail=error.message)
        return held.instance

    def get_available_resources(self) -> Mapping[str, Resources]:
        """Return per provider what can still be created."""
        available = {}
        for name, provider in self._providers.items():
            with _typed(name, "say what is available"):
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

        A provider that asks to be called less often is left out this time.
        """
        lost = []
        for provider in self._providers.values():
            mine = [held for held in self._held.values() if held.provider is provider and held.until_s is None]
            if not mine:
                continue
            try:
                with _typed(provider.name, "list instances"):
                    listed = {instance.instance_id: instance for instance in provider.list_instances()}
            except ThrottledError:
                continue
            for held in mine:
                seen = listed.get(held.instance.instance_id)
                if seen is None or seen.state is InstanceState.GONE:
                    lost.append(self._close(held, seen.detail if seen is not None else "the provider lists it no more"))
                else:
                    held.instance = seen
        return tuple(lost)

    def terminate_all(self) -> None:
        """End every instance, several at a time; then raise the first error, if there was one."""
        workers = [held.request.worker_id for held in self._held.values() if held.until_s is None]
        if not workers:
            return
        with ThreadPoolExecutor(max_workers=min(_PARALLEL_ENDS, len(workers))) as pool:
            errors = list(pool.map(_error_of(self.terminate_worker), workers))
        for error in errors:
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
        held.instance = dataclasses.replace(held.instance, state=InstanceState.GONE, detail=detail)
        return held.instance


def _error_of(act: Callable[[str], None]) -> Callable[[str], DrmError | None]:
    """Return ``act`` with its error as a value."""

    def attempt(worker_id: str) -> DrmError | None:
        try:
            act(worker_id)
        except DrmError as error:
            return error
        return None

    return attempt


@contextmanager
def _typed(provider: str, what: str) -> Iterator[None]:
    """Raise what is no DrmError as the nearest one."""
    try:
        yield
    except DrmError:
        raise
    except PermissionError as error:
        raise UnauthorisedError(f"provider {provider} may not {what} ({error})") from error
    except OSError as error:
        raise LostError(f"provider {provider} could not {what} ({error})") from error
    except Exception as error:
        raise DrmError(f"provider {provider} could not {what} ({type(error).__name__}: {error})") from error
