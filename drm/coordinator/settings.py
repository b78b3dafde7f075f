"""How a run is to go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from drm.coordinator.retries import RetryPolicy
from drm.dynamic_resource_manager.lifecycle import Deadlines
from drm.model.cluster import WorkerType
from drm.model.resources import Resources
from drm.resource_optimizer.kinds import QueueSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """``executors``: processes per worker, least and most. ``workers``: separate workers, least and most, of
    ``worker_types`` (none: only those the engine has by itself). ``joins``: workers come and go by themselves, too.
    ``type_workers``: least and most of a type by its name; such types are pools of their own, the others share
    ``workers``.

    ``grace_s``: how long executors may tear down when a run is cut short; ``teardown_s``: at its normal end.
    ``start_s``: how long a worker may take to join. ``retries``: when tests are tried again. ``timeout_factor``:
    how many times as long as when it was slow a test may take (None: as long as it likes). ``max_failures``: bad
    tests after which no other is begun (0: no limit); the surface ends the run.
    ``excused``: tests that fail no run, whatever becomes of them.
    ``counted``: resources of the whole run, by name. ``file_order``: tests are begun in the order of collection.
    ``speculate``: a straggler may be started a second time although it is not declared idempotent.
    ``lease_s``: for which machines are rented (infinite: they are there anyway). ``look_s``: how often providers are
    asked which machines are gone. ``no_capacity_s``: how long a type of worker that is needed may be missing.
    ``stranded_s``: how long tests wait, where workers come and go by themselves, for one that can run them.
    ``workers_before``: how many another coordinator of the run has asked for; names go on after theirs.
    ``shows_status``: the surface wants to be told how the run goes, a few times a second.
    ``records_plan``: somebody will read how all tests would be laid out, which decides nothing and takes a moment.
    """

    run_id: str
    executors: tuple[int, int]
    workers: tuple[int, int] = (0, 0)
    worker_types: tuple[WorkerType, ...] = ()
    joins: bool = False
    type_workers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    grace_s: float = 5.0
    teardown_s: float = 300.0
    start_s: float = 300.0
    lease_s: float = math.inf
    look_s: float = 0.25
    no_capacity_s: float = 600.0
    stranded_s: float = math.inf
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_factor: float | None = None
    max_failures: int = 0
    excused: frozenset[str] = frozenset()
    counted: Mapping[str, int] = field(default_factory=dict)
    file_order: bool = False
    speculate: bool = False
    workers_before: int = 0
    shows_status: bool = True
    records_plan: bool = True

    @property
    def deadlines(self) -> Deadlines:
        """Return how long a worker may be in each state of its life."""
        return Deadlines(
            allocated_s=self.start_s,
            registered_s=self.start_s,
            draining_s=self.teardown_s,
            lease_s=self.lease_s,
            lease_margin_s=min(300.0, self.lease_s / 4),
        )

    @property
    def has_pool(self) -> bool:
        """Whether workers are machines or processes of their own, of which one may be lost."""
        return bool(self.worker_types) or self.joins

    def for_queue(self, largest: Resources) -> QueueSettings:
        """Return what the queue is to know; ``largest``: the greatest amounts any worker has."""
        per_worker = max(1, int(largest.cpu_cores)) if self.has_pool else self.executors[1]
        shared = any(each.name not in self.type_workers for each in self.worker_types)
        most = sum(bounds[1] for bounds in self.type_workers.values()) + (self.workers[1] if shared else 0)
        workers = max(1, most)
        return QueueSettings(
            largest=largest,
            executors=per_worker * workers,
            workers=workers,
            counted=self.counted,
            file_order=self.file_order,
        )
