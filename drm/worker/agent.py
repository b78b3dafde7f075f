"""The agent: supervises the executors of one worker and tells what it sees.

The same code serves the embedded engine, inside the controller, and a worker
process, whose main loop passes messages on (``drm.worker.__main__``).
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from drm.model.errors import LostError
from drm.worker import probe
from drm.worker.channel import Channel
from drm.worker.launchers import Launcher, SpawnLauncher, signal_name
from drm.worker.memory import MemoryWatch, with_children
from drm.worker.protocol import sample_message

_SAMPLE_S = 1.0
_DEAF_S = 2.0
_SEND_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Executor:
    channel: Channel
    pid: int = 0
    cpu_s: float = 0.0
    kill_reason: str = ""
    stopping: bool = False
    deaf_since: float | None = None  # its channel is closed; its end should follow at once


class Agent:
    """Carries out commands and emits messages; both are lists whose first item is a name.

    Commands: ["spawn", id, workerinput], ["run", id, batch, next task, budget, gpus, cores], ["stop", id],
    ["kill", id, reason],
    ["interrupt", id]. Messages: ``joined`` once executors can be spawned; what they send, with the
    executor's id put second; ["ready", id, pid], ["exited", id, death or None], ["sample", cores, bytes],
    ["memory", ...], ["left", reason].
    """

    def __init__(
        self,
        launcher: Launcher,
        selector: selectors.BaseSelector,
        emit: Callable[[list[Any]], None],
        joined: list[Any],
        memory_limit: int,
    ) -> None:
        self._joined = joined
        self._memory = MemoryWatch(memory_limit)
        self._held_bytes = 0
        self._launcher = launcher
        self._selector = selector
        self._emit = emit
        self._executors: dict[str, _Executor] = {}
        self._sampled_at = self._watched_at = time.monotonic()

    def start(self) -> None:
        self._launcher.start(self._selector, self._on_launcher)

    @property
    def executors(self) -> int:
        return len(self._executors)

    def command(self, message: list[Any]) -> None:
        """Carry out one command. One for an executor that is gone does nothing: its exit is being told."""
        name, executor_id, *rest = message
        if name == "spawn":
            self._spawn(executor_id, *rest)
            return
        executor = self._executors.get(executor_id)
        if executor is None:
            return
        if name == "kill":
            executor.kill_reason = executor.kill_reason or rest[0]
            self._launcher.signal(executor_id, signal.SIGKILL)
        elif name == "interrupt":
            executor.stopping = True
            self._launcher.signal(executor_id, signal.SIGINT)
        else:
            executor.stopping = executor.stopping or name == "stop"
            try:
                executor.channel.send([name, *rest])
            except LostError as error:
                if not executor.channel.closed:  # alive and not reading
                    self.command(["kill", executor_id, f"it took no message: {error}"])

    def _spawn(self, executor_id: str, given: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        executor = _Executor(Channel(ours, send_timeout_s=_SEND_TIMEOUT_S))
        self._executors[executor_id] = executor
        self._selector.register(executor.channel, selectors.EVENT_READ, lambda: self._receive(executor_id))
        self._launcher.spawn(executor_id, theirs)
        theirs.close()
        with suppress(LostError):  # it is gone already, which is told
            executor.channel.send(["given", given])

    def _receive(self, executor_id: str) -> None:
        executor = self._executors.get(executor_id)
        if executor is None:
            return
        try:
            for _, *messages in executor.channel.receive():
                for name, *rest in messages:
                    self._emit([name, executor_id, *rest])
        except (LostError, TypeError, ValueError) as error:
            executor.channel.closed = True
            self.command(["kill", executor_id, f"it sent nonsense: {error}"])
        if executor.channel.closed and executor.deaf_since is None:
            executor.deaf_since = time.monotonic()
            self._unregister(executor)

    def _unregister(self, executor: _Executor) -> None:
        if executor.channel.fileno() in self._selector.get_map():
            self._selector.unregister(executor.channel)

    def _on_launcher(self, message: list[Any]) -> None:
        name, *rest = message
        if name == "spawned":
            executor_id, pid = rest
            if executor_id in self._executors:
                self._executors[executor_id].pid = pid
                self._emit(["ready", executor_id, pid])
        elif name == "exited":
            self._exited(*rest)
        elif name == "collected":
            self._held_bytes = self._memory.scan()
            self._emit([*self._joined, self._held_bytes])
        else:
            for executor_id in list(self._executors):
                self._receive(executor_id)
                self._forget(executor_id)
            self._emit(["left", rest[0]])

    def _exited(self, executor_id: str, status: int, peak_kib: int) -> None:
        executor = self._executors.get(executor_id)
        if executor is None:
            return
        self._receive(executor_id)  # what it sent before it died comes first
        self._forget(executor_id)
        code = os.waitstatus_to_exitcode(status)
        if code == 0 and executor.stopping:
            self._emit(["exited", executor_id, None])
            return
        death = {
            "reason": executor.kill_reason,
            "exit_code": code if code >= 0 else None,
            "signal": signal_name(-code) if code < 0 else None,
            "peak_rss_bytes": peak_kib * 1024,
        }
        self._emit(["exited", executor_id, death])

    def _forget(self, executor_id: str) -> None:
        executor = self._executors.pop(executor_id)
        self._unregister(executor)
        executor.channel.close()

    def due_in_s(self) -> float:
        """Return the seconds until ``tick`` has something to do."""
        return max(0.0, self._watched_at + self._memory.interval_s - time.monotonic()) if self._executors else _SAMPLE_S

    def tick(self) -> None:
        """Watch memory and sample usage, each when it is time; call it at least every ``due_in_s`` seconds."""
        if isinstance(self._launcher, SpawnLauncher):
            self._launcher.poll()
        now = time.monotonic()
        if now - self._watched_at >= self._memory.interval_s:
            self._watched_at = now
            self._watch_memory()
            self._watch_channels(now)
        if now - self._sampled_at >= _SAMPLE_S:
            self._sample(now - self._sampled_at)
            self._sampled_at = now

    def _watch_channels(self, now: float) -> None:
        """Kill an executor whose channel has closed and that goes on: a test closed its descriptors."""
        for executor_id, executor in self._executors.items():
            if executor.deaf_since is not None and now - executor.deaf_since > _DEAF_S:
                self.command(["kill", executor_id, "its connection was closed, by a test that closes descriptors"])

    def _watch_memory(self) -> None:
        residents = self._residents()
        if residents:
            self._emit(sample_message(self._memory.sample(residents)))

    def _residents(self) -> dict[str, int]:
        return {name: with_children(executor.pid) for name, executor in self._executors.items() if executor.pid}

    def _sample(self, elapsed_s: float) -> None:
        cores = 0.0
        for executor in self._executors.values():
            if executor.pid:
                used = probe.cpu_seconds(executor.pid)
                cores += max(0.0, used - executor.cpu_s) / elapsed_s
                executor.cpu_s = used
        memory = max(0, self._memory.used_bytes(self._residents()) - self._held_bytes)
        self._emit(["sample", round(cores, 3), memory])

    def close(self) -> None:
        """End everything by force; returns when no process is left."""
        self._launcher.close()
        for executor_id in list(self._executors):
            self._forget(executor_id)
