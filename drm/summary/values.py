"""What a run came to, as one frozen value: reports, badges and the closing lines read only this.

``fold`` makes it from events. All times are seconds since RunStarted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from drm.model.death import DeathKind
from drm.model.plan import ScalingDecision
from drm.model.resources import ZERO, Resources
from drm.model.units import format_bytes
from drm.model.work import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRecord:
    """One collected test. ``wall_s``, ``cpu_s`` and ``peak_rss_bytes`` are its last attempt's."""

    __test__: ClassVar[bool] = False  # the name begins with "Test": this is no test class
    AS_COLUMNS: ClassVar[bool] = True  # many of them are written as one list per field
    task_id: str
    outcome: Outcome
    component: str
    attempts: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    worker_id: str = ""
    executor_id: str = ""
    started_s: float | None = None
    finished_s: float | None = None
    flaky: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """An attempt that something outside the test ended: its executor or worker died, or a limit was hit.

    ``is_charged``: it counted against the test; else it was the victim of something else.
    """

    task_id: str
    attempt: int
    worker_id: str
    at_s: float
    cause: str
    death: DeathKind | None = None
    is_charged: bool = True
    peak_rss_bytes: int = 0

    def describe(self) -> str:
        """Return the cause, with the memory where the cause does not speak of it."""
        known = not self.peak_rss_bytes or "memory" in self.cause
        return self.cause if known else f"{self.cause}, peak memory {format_bytes(self.peak_rss_bytes)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRecord:
    """One attempt that got its resources, and what came of it.

    ``test``: its place in the run's tests. ``at_s``: when it got them and started; ``waited_s``: from discovery, or
    from the end of the attempt before. ``finished_s`` and ``outcome`` are None for one that runs, and ``outcome`` for
    one that ended without. ``expected_s``: the forecast seconds, None where nothing was known of the test.
    """

    AS_COLUMNS: ClassVar[bool] = True
    test: int
    attempt: int
    worker_id: str
    executor_id: str
    at_s: float
    waited_s: float
    finished_s: float | None = None
    outcome: Outcome | None = None
    reserved_cpu_cores: float = 0.0
    reserved_memory_bytes: int = 0
    reserved_gpus: float = 0.0
    expected_s: float | None = None
    wall_s: float = 0.0
    peak_rss_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRecord:
    """A test that fitted no worker to the end: when that was found, after what wait, and why."""

    task_id: str
    reason: str
    at_s: float = 0.0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocations:
    """How tests got their resources.

    ``granted``: attempts in order of starting. ``refusals``: the tests that fitted no worker to the end.
    ``reserved_*`` and ``used_*`` are sums over attempts of amount times seconds.
    """

    granted: tuple[AllocationRecord, ...] = ()
    refusals: tuple[RefusalRecord, ...] = ()
    reserved_cpu_s: float = 0.0
    used_cpu_s: float = 0.0
    reserved_byte_s: float = 0.0
    used_byte_s: float = 0.0

    @property
    def waits_s(self) -> tuple[float, ...]:
        """Return per test that started its wait from discovery to its first start, in order of starting."""
        return tuple(record.waited_s for record in self.granted if record.attempt == 1)

    @property
    def placed(self) -> int:
        """Return how many tests were started."""
        return len({record.test for record in self.granted})

    def wait_s(self, quantile: float) -> float:
        """Return the waiting time that this share of the placed tests did not exceed (nearest rank)."""
        ordered = sorted(self.waits_s)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0

    @property
    def success_rate(self) -> float | None:
        """Return placed / (placed + refused), None when nothing was asked."""
        asked = self.placed + len(self.refusals)
        return self.placed / asked if asked else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRecord:
    """A decision and what came of it.

    ``changed``: the workers it asked for or let go. ``done``: how many of them came, or went. ``latency_s``: from the
    decision until the last of them had; None while one has not. ``cost_usd``: of the workers it asked for, so far;
    None for a decision that asked for none.
    """

    elapsed_s: float
    decision: ScalingDecision
    outcome: str = ""
    changed: tuple[str, ...] = ()
    done: int = 0
    latency_s: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """``busy_s``: sum of the wall times of the attempts that ran on it. ``lost_s``: when it went unasked;
    ``gone_s``: when it went, asked or not. ``away``: from when to when it was lost, each time that it came back; the
    reason is that of the last loss, ``requeued`` of all. ``gpu_memory_bytes``: of all its gpus."""

    worker_id: str
    worker_type: str = ""
    capacity: Resources = ZERO
    labels: tuple[str, ...] = ()
    gpu_memory_bytes: int = 0
    ready_s: float | None = None
    gone_s: float | None = None
    lost_s: float | None = None
    lost_reason: str = ""
    requeued: int = 0
    away: tuple[tuple[float, float], ...] = ()
    attempts: int = 0
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """One instance, from its request to its end. Times are seconds since the run began."""

    worker_id: str
    worker_type: str = ""
    provider: str = ""
    usd_per_hour: float = 0.0
    instance_id: str = ""
    requested_s: float | None = None
    latency_s: float | None = None
    released_s: float | None = None
    lost_reason: str = ""
    held_s: float = 0.0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilizationSeries:
    """One worker over time, in columns of equal length; those of gpus are empty where nothing of a gpu was seen."""

    worker_id: str
    elapsed_s: tuple[float, ...] = ()
    reserved_cpu_cores: tuple[float, ...] = ()
    used_cpu_cores: tuple[float, ...] = ()
    reserved_memory_bytes: tuple[int, ...] = ()
    used_memory_bytes: tuple[int, ...] = ()
    reserved_gpus: tuple[float, ...] = ()
    used_gpus: tuple[float, ...] = ()
    used_gpu_memory_bytes: tuple[int, ...] = ()
    executors: tuple[int, ...] = ()
    running: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run, finished or not (``finished``: RunFinished was seen).

    ``counts`` has a number for every outcome; they sum to ``collected``. ``resumed_at``: when it last went on.
    ``doubts``: what in the account does not add up; empty unless DRM has an error.
    ``planned_s`` and ``lower_bound_s`` are the first plan's makespan and the bound no plan can beat.
    """

    run_id: str = ""
    command: tuple[str, ...] = ()
    machine: str = ""
    platform: str = ""
    python: str = ""
    drm_version: str = ""
    cpu_cores: float = 0.0
    memory_bytes: int = 0
    commit: str = ""
    branch: str = ""
    started_at: str = ""
    resumed_at: str = ""
    wall_s: float = 0.0
    finished: bool = False
    reason: str = ""
    tests: tuple[TestRecord, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    doubts: tuple[str, ...] = ()
    executors: int = 0
    interruptions: tuple[Interruption, ...] = ()
    allocations: Allocations = Allocations()
    scaling: tuple[ScalingRecord, ...] = ()
    workers: tuple[WorkerRecord, ...] = ()
    instances: tuple[InstanceRecord, ...] = ()
    utilization: tuple[UtilizationSeries, ...] = ()
    forecast_methods: tuple[tuple[str, int], ...] = ()
    planned_s: float = 0.0
    lower_bound_s: float = 0.0

    @property
    def collected(self) -> int:
        return len(self.tests)

    def count(self, outcome: Outcome) -> int:
        """Return how many tests ended so."""
        return dict(self.counts).get(outcome.value, 0)

    @property
    def bad(self) -> int:
        """Return how many tests failed or had an error."""
        return self.count(Outcome.FAILED) + self.count(Outcome.ERROR)

    @property
    def flaky(self) -> int:
        """Return how many tests came out well only when they were tried again."""
        return sum(test.flaky for test in self.tests)

    @property
    def cost_usd(self) -> float:
        return sum(instance.cost_usd for instance in self.instances)
