"""What workers, engines and providers tell the coordinator. They carry no number and no time: it adds those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from drm.model.death import Death
from drm.model.memory import MemorySample
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Something seen on one worker."""

    __test__: ClassVar[bool] = False
    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJoined(Observation):
    """An agent is up and its zygote has collected the suite: executors can be started on it.

    ``held_bytes``: memory that it and the zygote hold, which tests cannot have. ``gpu_memory_bytes``: of its gpus.
    """

    capacity: Resources
    labels: frozenset[str] = frozenset()
    worker_type: str = ""
    pid: int = 0
    held_bytes: int = 0
    gpu_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLeft(Observation):
    """An agent is gone, asked to or not; what ran on it has no outcome."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerNoticed(Observation):
    """The provider has said that it will take the machine away, or probably will; what runs may still end."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSuspected(Observation):
    """An agent is silent. What runs on it goes on; it gets nothing new until it is heard again, or has left."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHeard(Observation):
    """An agent that was silent answers again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSampled(Observation):
    """What executors use now: cores busy since the last sample; memory, less what the worker held when it joined.

    Of its gpus, how many are busy and how much of their memory is used, by whomever.
    """

    used: Resources
    gpu_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySampled(Observation):
    """How much memory is left; comes ten times a second, more often when it is little."""

    sample: MemorySample


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorReady(Observation):
    executor_id: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSettled(Observation):
    """The executor is about to run its first test, and holds ``base_bytes`` (resident) so far."""

    executor_id: str
    base_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBegan(Observation):
    executor_id: str
    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Observation):
    """``message`` is one line on a bad outcome. ``reports`` are pytest's phase reports as
    ``drm.worker.reports`` encodes them; there are none where the worker did not find the test."""

    executor_id: str
    task_id: str
    attempt: int
    outcome: Outcome
    message: str
    reports: list[Any]
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEnded(Observation):
    """The executor waits for work; ``returned`` are tasks of its batch that it did not start."""

    executor_id: str
    returned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TeardownReported(Observation):
    """A fixture of wider scope was torn down with an error after its last test had been reported."""

    executor_id: str
    task_id: str
    message: str
    report: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRecorded(Observation):
    """A Python warning in an executor, for pytest's warnings summary."""

    executor_id: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePrinted(Observation):
    """A line of output, as it was written; ``test`` is empty between tests."""

    executor_id: str
    test: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputGiven(Observation):
    """What plugins in an executor that ends leave for the controller (``config.workeroutput``)."""

    executor_id: str
    output: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked(Observation):
    """A test asked the whole run to stop: by ``pytest.exit`` (``kind`` is "exit"), KeyboardInterrupt
    ("interrupt"), ``session.shouldstop`` ("stop") or ``session.shouldfail`` ("fail")."""

    executor_id: str
    kind: str
    message: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorExited(Observation):
    """An executor process is gone. ``death`` is None when it was asked to stop and did."""

    executor_id: str
    death: Death | None = None
