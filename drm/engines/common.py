"""What every engine shares: commands to workers as messages, and their messages as observations."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from drm.model.cluster import WorkerType
from drm.model.death import DeathKind
from drm.model.errors import LostError
from drm.model.observations import Observation, WorkerLeft
from drm.worker.protocol import BY_EXECUTORS, observation
from drm.worker.suite import Suite

_BUSY = 4  # messages in one round
_GATHER_S = 0.002


class Link(Protocol):
    """A connection to the worker process of one worker."""

    def send(self, message: list[Any]) -> None:
        """Send a message, at most once; LostError where that is not possible any more."""
        ...

    def close(self) -> None: ...


class MessagingEngine:
    """The part of ``drm.ports.Engine`` that is the same wherever workers are: they differ in their ``Link``.

    ``given``: returns what a new executor is to find in its ``workerinput``.
    """

    def __init__(
        self,
        *,
        suite: Suite,
        start_method: str = "fork",
        given: Callable[[str], dict[str, Any]] = lambda executor_id: {"workerid": executor_id},
    ) -> None:
        self._suite = suite
        self._start_method = start_method
        self._given = given
        self._selector = selectors.DefaultSelector()
        self._observations: list[Observation] = []
        self._busy = False
        self._links: dict[str, Link] = {}
        self._expected: dict[str, WorkerType] = {}
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, self._drain_wake)

    # -- joining

    @property
    def machines(self) -> tuple[WorkerType, ...]:
        """The machines that joined by themselves, each as a worker type of its own."""
        return ()

    def listen(self) -> Path:
        """Let workers join; return the folder that they need to see, where they are on this machine."""
        raise NotImplementedError

    def join_command(self, worker_id: str, worker_type: WorkerType) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Return the command, and the environment to add, by which a machine joins as this worker."""
        raise NotImplementedError

    def _greeting(self, worker_type: WorkerType) -> list[Any]:
        """Return the message that tells a worker process what it is and which suite to collect."""
        amounts = worker_type.capacity
        limits = [amounts.cpu_cores, amounts.memory_bytes, amounts.gpus, sorted(worker_type.labels), worker_type.name]
        return ["suite", self._suite.to_json(), self._start_method, *limits]

    # -- listening

    def _take(self, worker_id: str, message: list[Any]) -> None:
        if message[0] == "left":
            self._forget(worker_id)
        try:
            self._observations.append(observation(worker_id, message))
        except LostError as error:
            if message[0] in BY_EXECUTORS and len(message) > 1 and isinstance(message[1], str):
                self.kill(worker_id, message[1], DeathKind.CRASH, str(error))  # a test may have written it
                return
            self._forget(worker_id)
            self._observations.append(WorkerLeft(worker_id=worker_id, reason=str(error)))

    def _forget(self, worker_id: str) -> None:
        """Close the connection to a worker, which ends what is left of it."""
        link = self._links.pop(worker_id, None)
        if link is not None:
            link.close()

    def _patience_s(self) -> float:
        """Return the seconds after which ``_tick`` wants to be called, whether something happens or not."""
        return float("inf")

    def _tick(self) -> None:
        """Do what is due; called once per ``poll``."""

    def poll(self, timeout_s: float) -> list[Observation]:
        if self._busy and timeout_s:
            # Messages come thick: let some gather. Nobody waits in the selector meanwhile, which spares
            # every executor the cost of waking this process once per test.
            time.sleep(_GATHER_S)
        for key, _ in self._selector.select(0 if self._observations else min(timeout_s, self._patience_s())):
            key.data()
        self._tick()
        seen, self._observations = self._observations, []
        self._busy = len(seen) >= _BUSY
        return seen

    def wake(self) -> None:
        """Make ``poll`` return now; may be called from a signal handler, and from any thread."""
        with suppress(BlockingIOError, OSError):
            self._waker.send(b"x")

    def _drain_wake(self) -> None:
        with suppress(BlockingIOError):
            self._wake.recv(4096)

    # -- commands

    def spawn(self, worker_id: str, executor_id: str) -> None:
        self._command(worker_id, ["spawn", executor_id, self._given(executor_id)])

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
        self._command(worker_id, ["run", executor_id, batch, next_task, budget_s, gpus, cores])

    def stop(self, worker_id: str, executor_id: str) -> None:
        self._command(worker_id, ["stop", executor_id])

    def interrupt(self, worker_id: str, executor_id: str) -> None:
        self._command(worker_id, ["interrupt", executor_id])

    def kill(self, worker_id: str, executor_id: str, kind: DeathKind, reason: str) -> None:
        self._command(worker_id, ["kill", executor_id, kind, reason])

    def evict(self, worker_id: str, executor_id: str, kind: DeathKind, reason: str) -> None:
        self._command(worker_id, ["evict", executor_id, kind, reason])

    def release(self, worker_id: str) -> None:
        self._command(worker_id, ["release"])

    def _command(self, worker_id: str, message: list[Any]) -> None:
        link = self._links.get(worker_id)
        if link is not None:
            try:
                link.send(message)
            except LostError as error:
                self._take(worker_id, ["left", str(error)])

    # -- ending

    def close(self) -> None:
        """End every worker."""
        for worker_id in list(self._links):
            self._command(worker_id, ["release"])
            self._forget(worker_id)
        self._selector.close()
        self._wake.close()
        self._waker.close()


def own_code() -> Mapping[str, str]:
    """Return the environment in which another process on this machine finds this very copy of the package."""
    root = str(Path(__file__).resolve().parents[2])  # found also where drm is not installed
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}
