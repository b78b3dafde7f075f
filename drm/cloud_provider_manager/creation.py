"""One create, from the intent to an instance: budget, journal, tags, and the fate of an answer that was lost."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from drm.cloud_provider_manager.budget import Budget, Commitment
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.providers.typed import typed
from drm.cloud_provider_manager.tags import EXPIRES, OPERATION, OWNER, RUN
from drm.model.cluster import Instance, InstanceRequest, WorkerType
from drm.model.errors import DrmError, LostError, ThrottledError, UnauthorisedError, UnknownFateError
from drm.ports import Clock, CloudProvider

__all__ = ["CHILDREN", "Creator", "Ownership", "short_token", "token_of"]

_ASKED_AGAIN_AFTER_S = (1.0, 3.0, 9.0)
CHILDREN = frozenset({"local", "simulated"})  # of this process: nothing of them is left when it is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """What instances made here are known by. ``owner``: the controller's process (``owner.this_process``).

    ``lease_s``: after so long nobody should need an instance any more.
    """

    run_id: str = ""
    owner: str = ""
    lease_s: float = 7200.0

    def tags(self, now: float) -> tuple[tuple[str, str], ...]:
        """Return the tags of an instance that is asked for now, in seconds since the epoch."""
        given = ((RUN, self.run_id), (OWNER, self.owner), (EXPIRES, str(int(now + self.lease_s))))
        return tuple((name, value) for name, value in given if value)


@dataclass(slots=True, kw_only=True)
class Creator:
    """Creates instances so that each is written down before it is asked for, and none passes the budget.

    Without a ``budget`` nothing is capped; without a ``journal`` nothing is written down: both are for workers of
    this machine. ``wait`` passes time between two questions after the fate of a create.
    """

    clock: Clock
    ownership: Ownership = field(default_factory=Ownership)
    journal: Journal | None = None
    budget: Budget | None = None
    wait: Callable[[float], None] = time.sleep
    _held: dict[str, Commitment] = field(default_factory=dict)
    _unknown: dict[str, CloudProvider] = field(default_factory=dict)

    def check(self, worker_type: WorkerType) -> None:
        """Raise BudgetError or ConfigError where the budget forbids one more of this type."""
        if self.budget is not None:
            held = tuple(self._held.values())
            self.budget.check(worker_type, held, now_s=self.clock.now(), lease_s=self.ownership.lease_s)

    def create(self, provider: CloudProvider, request: InstanceRequest) -> Instance:
        """Create an instance; the errors of ``CloudProvider.create``, and those of ``check``.

        Where an answer is lost the same request is made again: with its token that makes no second instance. When
        nothing tells, UnknownFateError: the entry of the journal stays open, and the budget counts the instance.
        """
        now_s, utc = self.clock.now(), self.clock.utc().timestamp()
        own = self.ownership
        request = dataclasses.replace(
            request,
            token=request.token or token_of(own.run_id, own.owner, request.worker_id, str(len(self._held))),
            tags=tuple({**dict(own.tags(utc)), **dict(request.tags)}.items()),
        )
        is_counted = request.token in self._unknown
        if not is_counted:
            self.check(request.worker_type)
        journal = self.journal if provider.name not in CHILDREN else None
        if journal is not None:
            journal.asked(request, run_id=own.run_id, at=utc)
        if not is_counted:
            price = request.worker_type.usd_per_hour
            self._held[request.token] = Commitment(usd_per_hour=price, since_s=now_s, lease_end_s=now_s + own.lease_s)
        try:
            instance = self._settled(provider, request)
        except UnknownFateError:
            self._unknown[request.token] = provider
            raise
        except DrmError as error:
            self._unknown.pop(request.token, None)
            self._end(request.token, at_s=now_s)
            if journal is not None:
                journal.closed(request.token, f"refused: {type(error).__name__}", at=self.clock.utc().timestamp())
            raise
        self._unknown.pop(request.token, None)
        if journal is not None:
            journal.made(request.token, instance.instance_id)
        return instance

    def adopt(self, token: str, worker_type: WorkerType) -> None:
        """Count an instance that is there already and is ours: from now on, until a lease from now ends."""
        now_s = self.clock.now()
        self._held.setdefault(
            token,
            Commitment(
                usd_per_hour=worker_type.usd_per_hour, since_s=now_s, lease_end_s=now_s + self.ownership.lease_s
            ),
        )

    def end_unknown(self) -> None:
        """End what creates of unknown fate have made, where it has come to light; what has not stays open."""
        for token, provider in tuple(self._unknown.items()):
            with typed(provider.name, "list instances"):
                made = [each for each in provider.list_instances() if each.tag(OPERATION) == token]
            for instance in made:
                with typed(provider.name, f"terminate {instance.instance_id}"):
                    provider.terminate(instance.instance_id)
                self.ended(token, "ended: its create had no answer")
                del self._unknown[token]

    def ended(self, token: str, outcome: str) -> None:
        """Note that the instance is gone: it costs no more."""
        self._end(token, at_s=self.clock.now())
        if self.journal is not None:
            self.journal.closed(token, outcome, at=self.clock.utc().timestamp())

    def _end(self, token: str, *, at_s: float) -> None:
        known = self._held.get(token)
        if known is not None and known.ended_s is None:
            self._held[token] = dataclasses.replace(known, ended_s=at_s)

    def _settled(self, provider: CloudProvider, request: InstanceRequest) -> Instance:
        """Ask until there is an answer. Once one was lost, only what tells counts: to be throttled, or not let in, says
        nothing of what the first question came to."""
        what = f"create worker {request.worker_id}"
        lost: UnknownFateError | None = None
        for pause_s in (*_ASKED_AGAIN_AFTER_S, None):
            try:
                with typed(provider.name, what, creates=True):
                    return provider.create(request)
            except UnknownFateError as error:
                lost = error
            except (ThrottledError, LostError, UnauthorisedError):
                if lost is None and request.token not in self._unknown:
                    raise
            if pause_s is not None:
                self.wait(pause_s)
        raise lost or UnknownFateError(f"provider {provider.name} did not tell what came of it to {what}")


def token_of(*parts: str) -> str:
    """Return a token that the same parts always give: 32 hexadecimal digits, which every provider takes."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def short_token(token: str) -> str:
    """Return a token of at most 64 characters: what EC2 takes."""
    return token if len(token) <= 64 else token_of(token)
