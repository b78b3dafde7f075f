"""What happened in a run, in the past tense: the record that everything else is made from.

Only the coordinator makes and numbers events. One event is one line of
``events.ndjson``: ``{"event": "TestFinished", "seq": 7, "at": ..., ...}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from drm.model.death import DeathKind
from drm.model.plan import Refusal, ScalingDecision
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``seq`` counts from 1 without gaps, ``at`` is UTC in ISO 8601, ``elapsed_s`` runs from RunStarted."""

    __test__: ClassVar[bool] = False  # several names begin with "Test": these are no test classes
    seq: int
    at: str
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    run_id: str
    format_version: int
    command: tuple[str, ...]
    rootdir: str
    drm_version: str
    python: str
    platform: str
    machine: str
    cpu_cores: float
    memory_bytes: int
    commit: str = ""
    branch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """Another coordinator goes on with the run, after the first was killed. The time in between does not count."""

    run_id: str
    finished: int
    unfinished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestsDiscovered(Event):
    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastMade(Event):
    tasks: int
    wall_s: float
    longest_s: float
    longest_task: str
    methods: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade(Event):
    allocated: int
    refusals: tuple[Refusal, ...]
    makespan_s: float
    lower_bound_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingDecided(Event):
    """``outcome``: what came of it at once, in words. ``requested``: the workers that were asked for."""

    decision: ScalingDecision
    outcome: str = ""
    requested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRequested(Event):
    worker_id: str
    worker_type: str
    provider: str
    usd_per_hour: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceReady(Event):
    worker_id: str
    instance_id: str
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLost(Event):
    worker_id: str
    instance_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceReleased(Event):
    worker_id: str
    instance_id: str
    held_s: float
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReady(Event):
    """``gpu_memory_bytes``: of all its gpus together; 0 where it has none."""

    worker_id: str
    worker_type: str
    capacity: Resources
    labels: tuple[str, ...] = ()
    pid: int = 0
    gpu_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost(Event):
    worker_id: str
    reason: str
    requeued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerNoticed(Event):
    """The provider has said that it takes the worker's machine away: it is given no more work."""

    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilizationSampled(Event):
    """What a worker has given out and what is used. ``gpu_memory_bytes``: used on all its gpus together."""

    worker_id: str
    reserved: Resources
    used: Resources
    executors: int
    running: int
    gpu_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """``expected_s``: the seconds that were forecast for it; None where nothing was known of the test."""

    task_id: str
    attempt: int
    worker_id: str
    executor_id: str
    reserved: Resources
    expected_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished(Event):
    """``outcome`` is empty when the attempt ended without one, through no fault of the test.

    ``death`` and ``cause`` say what ended it from outside, where something did.
    """

    task_id: str
    attempt: int
    worker_id: str
    executor_id: str
    outcome: Outcome | None
    usage: Usage
    cause: str = ""
    death: DeathKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFinished(Event):
    """The one final outcome of a test. ``message``: the first line that explains a bad one.

    ``retry_due``: the run was stopped before another attempt that the test was to have; a resumed run makes it.
    """

    task_id: str
    outcome: Outcome
    attempts: int
    wall_s: float
    flaky: bool = False
    message: str = ""
    retry_due: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TeardownFailed(Event):
    """A module or session fixture failed to tear down after ``task_id``, the last test that used it, had ended.

    pytest counts such a test twice, as passed and as an error; DRM's accounting makes it an error.
    """

    task_id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested(Event):
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The accounting: ``counts`` per outcome sums to ``collected``."""

    collected: int
    counts: tuple[tuple[str, int], ...]
    wall_s: float
    reason: str = ""


EVENT_TYPES: dict[str, type[Event]] = {cls.__name__: cls for cls in Event.__subclasses__()}


def utc_text(moment: datetime) -> str:
    """Return a UTC time as events write it: milliseconds and ``Z``."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
