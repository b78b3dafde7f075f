"""The embedded engine: workers on this machine.

One worker may live in this very process (its zygote is a fork of the controller, so nothing is
collected twice); others are processes that join over a Unix socket in a folder only this user can enter.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from drm.engines.silence import SILENT_S, Silence
from drm.model.cluster import WorkerType
from drm.model.death import DeathKind
from drm.model.errors import LostError
from drm.model.observations import Observation, WorkerLeft
from drm.worker.agent import Agent
from drm.worker.channel import Channel
from drm.worker.launchers import Launcher
from drm.worker.protocol import joined_message, observation
from drm.worker.suite import Suite

_SEND_TIMEOUT_S = 10.0
_BUSY = 4  # messages in one round
_GATHER_S = 0.002
_LONGEST_FOLDER = 80  # of the 104 bytes that every system has for the path of a socket


def _socket_folder() -> Path:
    """Make a folder of mode 0700, so that only this user gets in, with a name that a socket's path has room for."""
    folder = Path(tempfile.mkdtemp(prefix="drm-"))
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="drm-", dir="/tmp"))
    return folder


class EmbeddedEngine:
    """Implements ``drm.ports.Engine`` with agents in and beside this process."""

    def __init__(
        self,
        *,
        suite: Suite,
        start_method: str = "fork",
        given: Callable[[str], dict[str, Any]] = lambda executor_id: {"workerid": executor_id},
        silent_s: float = SILENT_S,
    ) -> None:
        """``given``: returns what a new executor is to find in its ``workerinput``.

        ``silent_s``: a worker process from which nothing is heard for so many seconds is lost.
        """
        self._silence = Silence(silent_s)
        self._suite = suite
        self._given = given
        self._start_method = start_method
        self._selector = selectors.DefaultSelector()
        self._observations: list[Observation] = []
        self._busy = False
        self._agents: dict[str, Agent] = {}
        self._channels: dict[str, Channel] = {}
        self._expected: dict[str, WorkerType] = {}
        self._listener: socket.socket | None = None
        self._folder: Path | None = None
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, self._drain_wake)

    # -- joining

    def add_local_worker(self, worker_id: str, worker_type: WorkerType, launcher: Launcher) -> None:
        """Start a worker inside this process."""
        joined = joined_message(worker_type.capacity, worker_type.labels, worker_type.name, os.getpid())
        agent = Agent(
            launcher,
            self._selector,
            lambda message: self._take(worker_id, message),
            joined,
            worker_type.capacity.memory_bytes,
        )
        self._agents[worker_id] = agent
        agent.start()

    def listen(self) -> Path:
        """Let worker processes join; return the folder of the socket."""
        self._folder = _socket_folder()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / "coordinator.sock"))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        return self._folder

    def join_command(self, worker_id: str, worker_type: WorkerType) -> tuple[tuple[str, ...], Mapping[str, str]]:
        self._expected[worker_id] = worker_type
        address = f"unix:{self._folder}/coordinator.sock"
        command = (sys.executable, "-m", "drm.worker", "--coordinator", address, "--worker-id", worker_id)
        root = str(Path(__file__).resolve().parents[2])  # found also where drm is not installed
        path = os.environ.get("PYTHONPATH")
        return command, {"PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}

    def _accept(self) -> None:
        assert self._listener is not None
        with suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            channel = Channel(sock, send_timeout_s=_SEND_TIMEOUT_S)
            self._selector.register(channel, selectors.EVENT_READ, lambda: self._greet(channel))

    def _greet(self, channel: Channel) -> None:
        """Let a worker in that was asked for; turn away anybody else."""
        try:
            messages = channel.receive()
        except LostError:
            messages, channel.closed = [], True
        if not messages and not channel.closed:
            return
        self._selector.unregister(channel)
        name, worker_id = messages[0] if messages and len(messages[0]) == 2 else ("", "")
        worker_type = self._expected.pop(worker_id, None) if name == "hello" else None
        if worker_type is None:
            channel.close()
            return
        amounts = worker_type.capacity
        limits = [amounts.cpu_cores, amounts.memory_bytes, amounts.gpus, sorted(worker_type.labels), worker_type.name]
        with suppress(LostError):  # then its closed channel is seen below
            channel.send(["suite", self._suite.to_json(), self._start_method, *limits])
        self._channels[worker_id] = channel
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._hear(worker_id, channel))

    # -- listening

    def _hear(self, worker_id: str, channel: Channel) -> None:
        self._silence.heard(worker_id, time.monotonic())
        try:
            for message in channel.receive():
                self._take(worker_id, message)
        except LostError as error:
            self._take(worker_id, ["left", f"it sent nonsense: {error}"])
        if channel.closed:
            self._take(worker_id, ["left", "its connection closed"])

    def _take(self, worker_id: str, message: list[Any]) -> None:
        if message[0] == "left":
            self._forget(worker_id)
        try:
            self._observations.append(observation(worker_id, message))
        except LostError as error:
            self._forget(worker_id)
            self._observations.append(WorkerLeft(worker_id=worker_id, reason=str(error)))

    def _miss(self) -> None:
        """Give up workers that say nothing; after reading what has arrived, for this process may have slept itself."""
        for worker_id in self._silence.silent(time.monotonic()):
            self._take(worker_id, ["left", f"nothing was heard of it for {self._silence.limit_s:g} s"])

    def _forget(self, worker_id: str) -> None:
        self._silence.forget(worker_id)
        agent = self._agents.pop(worker_id, None)
        if agent is not None:
            agent.close()
        channel = self._channels.pop(worker_id, None)
        if channel is not None:
            self._selector.unregister(channel)
            channel.close()

    def poll(self, timeout_s: float) -> list[Observation]:
        if self._busy and timeout_s:
            # Messages come thick: let some gather. Nobody waits in the selector meanwhile, which spares
            # every executor the cost of waking this process once per test.
            time.sleep(_GATHER_S)
        patience_s = min((timeout_s, *(agent.due_in_s() for agent in self._agents.values())))
        for key, _ in self._selector.select(0 if self._observations else patience_s):
            key.data()
        self._miss()
        for agent in list(self._agents.values()):
            agent.tick()
        seen, self._observations = self._observations, []
        self._busy = len(seen) >= _BUSY
        return seen

    def wake(self) -> None:
        """Make ``poll`` return now; may be called from a signal handler."""
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
        if worker_id in self._agents:
            self._take(worker_id, ["left", "released"])
        else:
            self._command(worker_id, ["release"])

    def _command(self, worker_id: str, message: list[Any]) -> None:
        agent = self._agents.get(worker_id)
        if agent is not None:
            agent.command(message)
            return
        channel = self._channels.get(worker_id)
        if channel is not None:
            try:
                channel.send(message)
            except LostError as error:
                self._take(worker_id, ["left", str(error)])

    def close(self) -> None:
        """End every worker; nothing that ran on them is left when this returns."""
        for worker_id in [*self._agents, *self._channels]:
            if worker_id in self._channels:
                self._command(worker_id, ["release"])
            self._forget(worker_id)
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._selector.close()
        self._wake.close()
        self._waker.close()
