"""The actor on each machine: passes messages between the controller and the machine's worker process, and no more.

The worker process is the one of the embedded engine (``python -m drm.worker``): its zygote must have no threads,
and an actor's process has many.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from drm.engines.ray_engine.relay import CHUNK_BYTES, Inbox, Outbox, Pace
from drm.worker.lease import Heard

NODE_VARIABLE = "DRM_NODE"  # what ``drm worker`` tells of the machine, as JSON
_MOST_KEPT_BYTES = 32 * 2**20
_LOOK_S = 0.5
_END_S = 5.0
_TAIL_BYTES, _TAIL_LINES = 4096, 20


def worker_environment(environment: Mapping[str, str], names: list[str]) -> dict[str, str]:
    """Return the environment as it was before Ray added to it. ``names``: of the variables that there were."""
    kept = set(names)
    return {name: value for name, value in environment.items() if name in kept}


class NodeAgent:
    """An asynchronous actor; one per worker and run. Ends its worker when the controller is silent for ``lease_s``."""

    def __init__(self, lease_s: float) -> None:
        self._heard = Heard(lease_s)
        self._node: dict[str, Any] = json.loads(os.environ.get(NODE_VARIABLE, "{}"))
        self._in, self._out, self._pace = Inbox(), Outbox(), Pace()
        self._more, self._room = asyncio.Event(), asyncio.Event()
        self._reader = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._socket: socket.socket | None = None
        self._to_write: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = ""

    async def describe(self) -> dict[str, Any]:
        """Return what ``drm worker`` said of the machine; empty where Ray was started by other means."""
        return self._node

    async def open(self, worker_id: str) -> int:
        """Start the worker process; return its pid. A second call changes nothing."""
        if self._process is None:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            self._socket = ours
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - read at the end
            names = self._node.get("environment", list(os.environ))
            command = (sys.executable, "-m", "drm.worker", "--coordinator", f"fd:{theirs.fileno()}")
            self._process = subprocess.Popen(
                [*command, "--worker-id", worker_id],
                pass_fds=(theirs.fileno(),),
                env=worker_environment(os.environ, names) | self._heard.environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
            theirs.close()
            self._heard.note(self._heard.stamp())
            self._tasks = [asyncio.create_task(each) for each in (self._fetch(), self._bring(), self._watch())]
        return self._process.pid

    # -- to the worker

    async def write(self, number: int, data: bytes) -> int:
        """Pass the piece on, unless it was passed on before; return how many have been."""
        if self._in.accept(number):
            self._to_write.put_nowait(data)
        return self._in.last

    async def _bring(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # it has ended, which is told
            while True:
                await loop.sock_sendall(self._socket, await self._to_write.get())

    # -- from the worker

    async def read(self, heard: int, wait_s: float, stamp: float) -> tuple[int, bytes, str, float]:
        """Return the piece after ``heard`` as (number, bytes, "", stamp), as soon as there is one; (heard, b"", "",
        stamp) after ``wait_s`` without; at last (heard, b"", why it ended, and what it printed, stamp).

        ``stamp``: that of the answer before, 0 at first. A new call takes the place of the one before. This long poll
        is a third faster here than a stream of Ray's, and is a sign of life both ways.
        """
        self._heard.note(stamp)
        self._out.acknowledged(heard)
        self._room.set()
        self._reader += 1
        me = self._reader
        self._more.set()  # for the call before
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while me == self._reader and not self._ended and not self._out.has_after(heard):
                    self._more.clear()
                    await self._more.wait()
        if me != self._reader:
            return heard, b"", "", stamp
        if self._out.has_after(heard):
            if (pause_s := self._pace.wait_s(time.monotonic())) > 0:
                await asyncio.sleep(pause_s)
            number, data = self._out.after(heard)
            self._pace.gone(time.monotonic(), len(data))
            return number, data, "", self._heard.stamp()
        return heard, b"", self._ended, self._heard.stamp()

    async def _fetch(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(self._socket, CHUNK_BYTES)
            except OSError:
                data = b""
            if not data:
                break
            self._out.put(data)
            self._more.set()
            while self._out.kept_bytes > _MOST_KEPT_BYTES:
                self._room.clear()
                await self._room.wait()
        await self._finish("its worker process ended")

    # -- the end

    async def _watch(self) -> None:
        """End the worker when the controller has been silent for too long."""
        while not self._ended:
            await asyncio.sleep(_LOOK_S)
            if self._heard.is_over:
                await asyncio.sleep(_LOOK_S)  # this process itself may have stood still: what came meanwhile is heard
                if self._heard.is_over:
                    await self._finish(f"nothing was heard of the controller for {self._heard.lease_s:g} s")

    async def _finish(self, reason: str) -> None:
        if self._ended:
            return
        code = await self._end_worker()
        self._ended = "\n".join((f"{reason} ({code})", *self._last_words()))
        self._more.set()

    async def _end_worker(self) -> str:
        """End the worker process, all that it started with it; return how it ended."""
        process = self._process
        if process is None:
            return "it was not started"
        if self._socket is not None:
            self._socket.close()
        deadline = time.monotonic() + _END_S
        while process.poll() is None and time.monotonic() < deadline:  # its connection is closed: it ends by itself
            await asyncio.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = await asyncio.to_thread(process.wait)  # in a moment, unless the kernel holds it
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def _last_words(self) -> list[str]:
        """Return the last lines that the worker process printed."""
        assert self._log is not None
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _TAIL_BYTES))
        lines = self._log.read().decode(errors="replace").split("\n")
        return [line.rstrip() for line in lines if line.strip()][-_TAIL_LINES:]

    async def close(self) -> None:
        """End the worker; return when nothing of it is left."""
        await self._finish("it was told to")
