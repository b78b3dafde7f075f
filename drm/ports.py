"""The doors between the deciding code, the coordinator and the outside world.

A component that needs another is given it through one of these protocols;
``session.py`` does the wiring.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from drm.model.cluster import Instance, InstanceRequest, WorkerType
from drm.model.death import DeathKind
from drm.model.events import Event
from drm.model.observations import Observation
from drm.model.resources import Resources
from drm.model.samples import Risk, RunFacts, Sample
from drm.model.trends import KEPT_RUNS, PastRun, Trends
from drm.model.work import Forecast, Outcome, Task, Usage


class Clock(Protocol):
    """Time as an argument, so that tests and the simulator supply their own."""

    def now(self) -> float:
        """Return seconds that only go forward; the origin means nothing."""
        ...

    def utc(self) -> datetime:
        """Return the time of day, in UTC."""
        ...


class EventSink(Protocol):
    """A consumer of events. One that raises is dropped and said so; it never stops a run."""

    def emit(self, event: Event) -> None: ...

    def flush(self) -> None:
        """Make what was emitted durable, as far as the sink is; called after every round of the loop."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """Runs executors on workers. Commands return at once; what comes of them is polled.

    An unknown worker or executor is not an error: it died in the meantime, and the
    observation of that is on its way. What is sent is delivered at most once.
    """

    def poll(self, timeout_s: float) -> list[Observation]:
        """Return what happened, waiting at most ``timeout_s`` seconds for something."""
        ...

    def wake(self) -> None:
        """Make a waiting ``poll`` return; may be called from a signal handler."""
        ...

    def join_command(self, worker_id: str, worker_type: WorkerType) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Return the command, and the environment to add, by which a machine joins as this worker."""
        ...

    def spawn(self, worker_id: str, executor_id: str) -> None: ...

    def send(
        self,
        worker_id: str,
        executor_id: str,
        batch: Sequence[tuple[str, int]],
        next_task: str | None,
        budget_s: float,
        gpus: Sequence[int],
        cores: float,
    ) -> None:
        """Give the executor (task, attempt) pairs to run in order.

        ``next_task`` is the test it will probably run afterwards: fixtures that it
        shares stay set up. Past ``budget_s`` seconds the executor returns what it has not started.
        ``gpus``: the worker's devices, by number, that are reserved for the batch. ``cores``: those too.
        """
        ...

    def stop(self, worker_id: str, executor_id: str) -> None:
        """Let the executor finish its test, tear down its fixtures and end."""
        ...

    def interrupt(self, worker_id: str, executor_id: str) -> None:
        """Break off the test that runs, as Ctrl-C does; fixtures are torn down."""
        ...

    def kill(self, worker_id: str, executor_id: str, kind: DeathKind, reason: str) -> None:
        """End the executor and its children now; ``kind`` and ``reason`` come back in its Death."""
        ...

    def evict(self, worker_id: str, executor_id: str, kind: DeathKind, reason: str) -> None:
        """End the executor by degrees: its stacks are written down, then SIGTERM, then as ``kill`` does."""
        ...

    def release(self, worker_id: str) -> None:
        """Ask the agent of this worker to end."""
        ...

    def close(self) -> None:
        """End everything. Leaves no process and no file."""
        ...


class Surface(Protocol):
    """What a run is for: it is told what tests reported, in the order they ended, and may ask to stop."""

    def deliver(self, task_id: str, executor_id: str, reports: list[Any], flaky: str) -> None:
        """Take a test's phase reports. ``flaky``: what went wrong before it came out well; empty if nothing did."""
        ...

    def deliver_failure(self, task_id: str, executor_id: str, message: str, wall_s: float) -> None:
        """Take a test that has no report: it ended with its executor, or never ran (then ``executor_id`` is empty)."""
        ...

    def deliver_late(self, task_id: str, executor_id: str, report: Any) -> None:
        """Take the report of a teardown that failed after its test was delivered: a text where its process died."""
        ...

    def deliver_warning(self, data: dict[str, Any]) -> None: ...

    def settle(self) -> None:
        """Show what was told so far; called when nothing more is told for now."""
        ...

    def show_line(self, executor_id: str, test: str, line: str) -> None:
        """Show a line that a test has just written."""
        ...

    def executor_starts(self, executor_id: str) -> dict[str, Any]:
        """Return what an executor about to be started is to find in ``config.workerinput``."""
        ...

    def executor_ended(self, executor_id: str, output: dict[str, Any], error: str) -> None:
        """Take what an executor left in ``config.workeroutput``; ``error`` says how it died, if it did."""
        ...

    def stop_wanted(self) -> str:
        """Return why the run should stop (-x, --maxfail, a plugin), or an empty string."""
        ...

    def say(self, line: str) -> None:
        """Show one line to the person."""
        ...

    def show_status(self, status: Status) -> None:
        """Show how the run goes; called a few times a second."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a run goes. ``reserved`` and ``capacity`` are sums over ready workers; ``eta_s`` is None when unknown;
    ``held``: a worker starts no further test for want of memory."""

    workers: int
    executors: int
    running: int
    reserved: Resources
    capacity: Resources
    finished: int
    total: int
    failed: int
    eta_s: float | None
    held: bool = False


class CloudProvider(Protocol):
    """Where instances come from: local processes, containers, clouds.

    Each error has a class that says what to do. CapacityError: there is none of this type, zone and market now;
    ask elsewhere. QuotaError: a limit of the account, or the one set for this provider, is reached. ThrottledError:
    ask later. UnauthorisedError, ConfigError: asking again will not help. UnknownFateError: the call may have been
    carried out. LostError: there is no such instance, or the provider cannot be reached and was not asked.
    A provider never asks again by itself where that could create a second instance.
    Nothing secret is in a message.
    """

    name: str

    def create(self, request: InstanceRequest) -> Instance:
        """Ask for an instance; return it PENDING or RUNNING, without waiting for its worker.

        It carries the request's tags, and DRM's own, from the moment it exists. With a token seen before it is the
        instance of the first call, also for another process. After an error other than UnknownFateError there is
        no instance; after that one the same request again tells, or ``list_instances``.
        """
        ...

    def terminate(self, instance_id: str) -> None:
        """End an instance, whoever asked for it; return when it is gone and costs nothing.

        One that is gone already is fine; LostError for an id never seen.
        """
        ...

    def describe(self, instance_id: str) -> Instance:
        """Return an instance as it is now, GONE if it has ended; LostError for an id never seen."""
        ...

    def list_instances(self) -> tuple[Instance, ...]:
        """Return every instance that is not gone and carries DRM's tags, whoever asked for it.

        One that ``create`` has just returned is among them, however late the provider's own list is.
        """
        ...

    def offerings(self) -> tuple[WorkerType, ...]:
        """Return the worker types that can be created, with price and capacity."""
        ...

    def available(self) -> Resources:
        """Return what can still be created: the capacity or quota that nothing has booked."""
        ...


class HistoryStore(Protocol):
    """Past attempts. Written by the controller only."""

    def begin(self, facts: RunFacts) -> None:
        """Note what is known of a run whose attempts follow."""
        ...

    def record(self, run_id: str, samples: Iterable[Sample]) -> None: ...

    def samples(self, task_ids: Sequence[str], *, last: int = 20) -> Mapping[str, Sequence[Sample]]:
        """Return the newest attempts per test, oldest first; tests never seen are left out."""
        ...

    def record_run(self, branch: str, run: PastRun) -> None:
        """Keep what a run came to."""
        ...

    def trends(self, branch: str, *, last: int = KEPT_RUNS) -> Trends:
        """Return the last runs of each suite of the branch, oldest first, and the tests that were flaky in them."""
        ...

    def task_ids(self) -> list[str]:
        """Return every test of which attempts are kept, in the order in which they were first seen."""
        ...

    def risks(self) -> Mapping[str, Risk]:
        """Return, by test of which an outcome is kept, how likely it fails."""
        ...

    def namesakes(self, sources: Mapping[str, int]) -> Mapping[str, str]:
        """Return, for tests never seen, the one other test that was compiled to the same: what it was called before.

        ``sources``: hash by test, of all that are to run. Where several were, or that one is to run too, there is none.
        """
        ...

    def close(self) -> None: ...


class Forecaster(Protocol):
    """What the optimizer asks of the predictor."""

    def predict_resource_requirements(self, tasks: Sequence[Task]) -> list[Forecast]: ...

    def record_task_execution(self, task_id: str, usage: Usage, outcome: Outcome | None) -> None: ...
