"""Workers, their types, the instances they run on, and one immutable view of all of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from drm.model.resources import ZERO, Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerType:
    """A kind of worker that can be created: its capacity, labels and price.

    ``zone`` and ``market`` say where and how it is bought; ``usd_per_hour`` is 0
    for machines that are there anyway.
    """

    name: str
    capacity: Resources
    labels: frozenset[str] = frozenset()
    usd_per_hour: float = 0.0
    provider: str = "local"
    zone: str = ""
    market: str = "on-demand"


class WorkerState(str, enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker at one moment. ``free`` is allocatable less reserved, never negative in any amount."""

    worker_id: str
    worker_type: str
    state: WorkerState
    capacity: Resources
    allocatable: Resources
    reserved: Resources = ZERO
    used: Resources = ZERO
    labels: frozenset[str] = frozenset()
    reservations: int = 0
    idle_since_s: float | None = None
    ready_at_s: float | None = None

    @classmethod
    def planned(cls, worker_id: str, worker_type: WorkerType) -> WorkerView:
        """Return a worker of that type as it would be with nothing on it: for plans of what is not there."""
        return cls(
            worker_id=worker_id,
            worker_type=worker_type.name,
            state=WorkerState.READY,
            capacity=worker_type.capacity,
            allocatable=worker_type.capacity,
            labels=worker_type.labels,
        )

    @property
    def free(self) -> Resources:
        return self.allocatable - self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSnapshot:
    """Every worker at one moment; ``now_s`` is the run's clock."""

    now_s: float
    workers: tuple[WorkerView, ...] = ()

    @property
    def ready(self) -> tuple[WorkerView, ...]:
        return tuple(worker for worker in self.workers if worker.state is WorkerState.READY)


class InstanceState(str, enum.Enum):
    """What a provider says of a machine."""

    PENDING = "pending"
    RUNNING = "running"
    TERMINATING = "terminating"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRequest:
    """What to create: a worker of this type that runs ``command`` with ``environment`` added.

    ``token`` makes a repeated request idempotent; ``tags`` are set with the create.
    """

    worker_id: str
    worker_type: WorkerType
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    token: str = ""
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A machine (or process) from a provider.

    ``tags``: all that it carries; ``drm.cloud_provider_manager.tags`` names those of DRM.
    ``created_at``: seconds since the epoch by the provider's clock, None where it does not say.
    ``notice``: why the provider takes it away (a spot interruption, an eviction); empty while it does not.
    """

    instance_id: str
    worker_id: str
    worker_type: str
    provider: str
    state: InstanceState
    detail: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    created_at: float | None = None
    notice: str = ""

    def tag(self, name: str) -> str:
        """Return the value of a tag, empty where it has none of that name."""
        return dict(self.tags).get(name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """The work that waits, as the deciding code sees it: all numbers are sums or maxima over waiting tasks.

    ``runnable`` counts what could run side by side (one per lock and per group),
    ``per_worker`` how many of the waiting tests one worker runs at once, on average (0: not known).
    ``running_s``: what tests that run will still take, summed, and ``longest_running_s``: the last of those that were
    submitted with the newest (0: not known).
    """

    waiting: int = 0
    runnable: int = 0
    running: int = 0
    waiting_s: float = 0.0
    longest_s: float = 0.0
    per_worker: float = 0.0
    running_s: float = 0.0
    longest_running_s: float = 0.0
