"""Getting a worker where there are several ways: which is tried, what is left alone, and what follows if all is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from drm.cloud_provider_manager.budget import BudgetError
from drm.cloud_provider_manager.creation import short_token
from drm.cloud_provider_manager.failover import Blocks, ErrorClass, candidates, classify, exhausted
from drm.cloud_provider_manager.policy import Policy, in_order
from drm.model.cluster import Instance, InstanceRequest, WorkerType
from drm.model.errors import CapacityError, DrmError
from drm.ports import Clock

__all__ = ["Buying"]


class Buying:
    """Remembers what was refused. ``create``: creates a worker as the very type that its request names.

    ``ways``: by the name of a type, all in which a worker of that name may be had.
    """

    def __init__(self, clock: Clock, policy: Policy, create: Callable[[InstanceRequest], Instance]) -> None:
        self._clock = clock
        self._policy = policy
        self._create = create
        self._blocks = Blocks()
        self._closed_since_s: float | None = None
        self.ways: dict[str, tuple[WorkerType, ...]] = {}

    def open_ways(self, offered: Sequence[WorkerType]) -> tuple[WorkerType, ...]:
        """Return those of the types offered that no refusal blocks now, in the order in which they would be tried."""
        ways = candidates(offered, self._blocks, now_s=self._clock.now())
        return tuple(way.worker_type for way in ways if not way.why_not)

    def buy(self, request: InstanceRequest, live: Sequence[WorkerType]) -> Instance:
        """Create the worker in one of the ways to have its type, else on this machine, as the policy says.

        ``live``: the types of the workers there are. ExhaustedError where every way has been closed for too long.
        """
        ways = self.ways.get(request.worker_type.name, ())
        if not ways or request.worker_type in self._policy.local:
            return self._create(request)
        try:
            made = self.anywhere(request, in_order(ways, self._policy, live))
        except CapacityError as error:
            for local in self._policy.local:
                with suppress(CapacityError):
                    here = replace(request, worker_type=local, token=short_token(f"{request.token}/local"))
                    return self._create(here)
            now_s = self._clock.now()
            self._closed_since_s = now_s if self._closed_since_s is None else self._closed_since_s
            raise self._policy.exhausted(error, closed_s=now_s - self._closed_since_s) from None
        self._closed_since_s = None
        return made

    def anywhere(self, request: InstanceRequest, offered: Sequence[WorkerType]) -> Instance:
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
                shown = [each.closed_by(closed.get(each.worker_type, "")) for each in ways]
                raise exhausted(shown, now_s=now_s)
            name = "/".join(filter(None, (way.provider, way.zone, way.name, way.market)))
            token = f"{request.token}/{name}" if request.token else ""
            try:
                made = self._create(replace(request, worker_type=way, token=short_token(token)))
            except BudgetError as error:
                closed[way] = error.message
            except DrmError as error:
                if classify(error) in (ErrorClass.UNKNOWN, ErrorClass.CONFIG, ErrorClass.UNAUTHORISED):
                    raise
                self._blocks = self._blocks.after(error, way, now_s=self._clock.now())
            else:
                self._blocks = self._blocks.after_success(way)
                return made
