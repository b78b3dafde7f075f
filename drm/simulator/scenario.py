"""What is to be simulated, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from drm.coordinator.retries import RetryPolicy
from drm.dynamic_resource_manager import ScalingSettings
from drm.model.cluster import WorkerType
from drm.model.resources import Requirements


@dataclass(frozen=True, slots=True, kw_only=True)
class TestClass:
    """Tests that ask for the same. ``weight``: their share of all. Seconds are lognormal: ``seconds`` is the median,
    ``sigma`` the deviation of the logarithm (0: all the same). ``peak_bytes``: what they really hold."""

    __test__ = False

    name: str
    requirements: Requirements
    weight: float = 1.0
    seconds: float = 1.0
    sigma: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """``tests`` made up by chance, in modules of ``per_module``. ``arrivals``: (seconds from the start, tests) each
    time some are submitted, in order; empty: all at the start."""

    tests: int
    classes: tuple[TestClass, ...]
    per_module: int = 40
    arrivals: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Tests that have run: of a history (.db), a record (events.ndjson) or a table (.csv). ``record`` adds to a history
    what its tests had reserved. ``match``: the nodeids that take part."""

    path: Path
    record: Path | None = None
    match: str = "*"

    def takes(self, task_id: str) -> bool:
        return fnmatchcase(task_id, self.match)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the tests of these nodeids ask for, whatever the workload says: ``changes`` as the drm marker takes them."""

    match: str
    changes: Mapping[str, object]

    def is_for(self, task_id: str) -> bool:
        return fnmatchcase(task_id, self.match)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """Workers of one type. ``count``: least and most of them (None: they share the pool). ``start_s``: from asking for
    one until it has joined, give or take ``jitter`` of it. ``limit``: there are no more to be had."""

    worker_type: WorkerType
    count: tuple[int, int] | None = None
    start_s: float = 1.0
    jitter: float = 0.0
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, as shares of attempts (of instances: ``start_failures``).

    ``stragglers`` take ``straggler_factor`` times as long. ``worker_life_s``: the mean time until a worker is lost
    (exponential; None: it stays).
    """

    failures: float = 0.0
    crashes: float = 0.0
    stragglers: float = 0.0
    straggler_factor: float = 8.0
    start_failures: float = 0.0
    worker_life_s: float | None = None

    @property
    def of_attempts(self) -> bool:
        return bool(self.failures or self.crashes or self.stragglers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the predictor knows before the run: of which share of the tests, and how wrong (deviation of the logarithm
    of the seconds)."""

    known: float = 1.0
    error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """``value_of_time``: goes into ``scaling`` where it is given."""

    scaling: ScalingSettings = field(default_factory=ScalingSettings)
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    file_order: bool = False
    timeout_factor: float | None = None
    speculate: bool = False
    value_of_time: float | None = None

    def __post_init__(self) -> None:
        if self.value_of_time is not None:
            object.__setattr__(self, "scaling", replace(self.scaling, value_of_time=self.value_of_time))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One simulated run. ``pool``: least and most workers of the types without a count of their own."""

    name: str
    seed: int
    workload: Synthetic | Recorded
    workers: tuple[WorkerSpec, ...]
    pool: tuple[int, int] = (0, 0)
    rules: tuple[Rule, ...] = ()
    knowledge: Knowledge = field(default_factory=Knowledge)
    faults: Faults = field(default_factory=Faults)
    policies: Policies = field(default_factory=Policies)
    counted: Mapping[str, int] = field(default_factory=dict)
    executor_start_s: float = 0.02
    sample_s: float | None = None

    @property
    def worker_types(self) -> tuple[WorkerType, ...]:
        return tuple(spec.worker_type for spec in self.workers)

    @property
    def type_workers(self) -> dict[str, tuple[int, int]]:
        """Return the bounds of the types that have their own."""
        return {spec.worker_type.name: spec.count for spec in self.workers if spec.count is not None}
