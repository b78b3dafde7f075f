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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from drm.engines.common import MessagingEngine, own_code
from drm.engines.silence import SILENT_S, Silence
from drm.model.cluster import WorkerType
from drm.model.errors import LostError
from drm.worker.agent import Agent
from drm.worker.channel import Channel
from drm.worker.launchers import Launcher
from drm.worker.protocol import joined_message

_SEND_TIMEOUT_S = 10.0
_LONGEST_FOLDER = 80  # of the 104 bytes that every system has for the path of a socket


def _socket_folder() -> Path:
    """Make a folder of mode 0700, so that only this user gets in, with a name that a socket's path has room for."""
    folder = Path(tempfile.mkdtemp(prefix="drm-"))
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="drm-", dir="/tmp"))
    return folder


class _Local:
    """The link to an agent inside this process."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def send(self, message: list[Any]) -> None:
        self.agent.command(message)

    def close(self) -> None:
        self.agent.close()


class _Joined:
    """The link to a worker process that has joined."""

    def __init__(self, channel: Channel, selector: selectors.BaseSelector) -> None:
        self._channel = channel
        self._selector = selector

    def send(self, message: list[Any]) -> None:
        self._channel.send(message)

    def close(self) -> None:
        self._selector.unregister(self._channel)
        self._channel.close()


class EmbeddedEngine(MessagingEngine):
    """Implements ``drm.ports.Engine`` with agents in and beside this process.

    ``silent_s``: a worker process from which nothing is heard for so many seconds, and no answer either, is lost.
    """

    def __init__(self, *, silent_s: float = SILENT_S, **given: Any) -> None:
        super().__init__(**given)
        self._silence = Silence(silent_s)
        self._listener: socket.socket | None = None
        self._folder: Path | None = None

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
        self._links[worker_id] = _Local(agent)
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
        return command, own_code()

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
        is_named = name == "hello" and isinstance(worker_id, str)
        worker_type = self._expected.pop(worker_id, None) if is_named else None
        if worker_type is None:
            channel.close()
            return
        with suppress(LostError):  # then its closed channel is seen below
            channel.send(self._greeting(worker_type))
        self._links[worker_id] = _Joined(channel, self._selector)
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._hear(worker_id, channel))

    # -- listening

    def _hear(self, worker_id: str, channel: Channel) -> None:
        self._silence.heard(worker_id, time.monotonic())
        try:
            for message in channel.receive():
                if message != ["here"]:
                    self._take(worker_id, message)
        except LostError as error:
            self._take(worker_id, ["left", f"it sent nonsense: {error}"])
        if channel.closed:
            self._take(worker_id, ["left", "its connection closed"])

    def _miss(self) -> None:
        """Ask workers that say nothing, and give up those that do not answer; after reading what has arrived."""
        now = time.monotonic()
        for worker_id in self._silence.to_ask(now):
            self._command(worker_id, ["ask"])
        for worker_id in self._silence.lost(now):
            self._take(worker_id, ["left", f"nothing was heard of it for {self._silence.limit_s:g} s"])

    def _forget(self, worker_id: str) -> None:
        self._silence.forget(worker_id)
        super()._forget(worker_id)

    def _local(self) -> list[Agent]:
        return [link.agent for link in self._links.values() if isinstance(link, _Local)]

    def _patience_s(self) -> float:
        of_agents = min((agent.due_in_s() for agent in self._local()), default=float("inf"))
        return min(of_agents, self._silence.due_in_s(time.monotonic()))

    def _tick(self) -> None:
        self._miss()
        for agent in self._local():
            agent.tick()

    # -- ending

    def release(self, worker_id: str) -> None:
        if isinstance(self._links.get(worker_id), _Local):
            self._take(worker_id, ["left", "released"])
        else:
            super().release(worker_id)

    def close(self) -> None:
        """End every worker; nothing that ran on them is left when this returns."""
        for worker_id, link in list(self._links.items()):
            if isinstance(link, _Local):
                self._forget(worker_id)
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
        for worker_id in list(self._links):
            self._command(worker_id, ["release"])
            self._forget(worker_id)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        super().close()
