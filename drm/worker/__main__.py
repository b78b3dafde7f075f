"""A worker process: ``python -m drm.worker --coordinator unix:PATH --worker-id ID``, or ``fd:NUMBER`` of a socket.

Joins a coordinator, collects the suite once in a zygote, and serves executors until
it is released or the coordinator is gone; then it ends, and everything it started with it.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from drm.model.errors import LostError
from drm.model.resources import Resources
from drm.worker.agent import Agent
from drm.worker.channel import Channel
from drm.worker.launchers import Launcher, SpawnLauncher, ZygoteLauncher
from drm.worker.linux import adopt_orphans, bury_children, wake_when_orphaned
from drm.worker.project import Arrival
from drm.worker.protocol import joined_message
from drm.worker.spawned import environment_for
from drm.worker.suite import Suite, collect_and, items_of, run_zygote

_POLL_S = 0.5
_DYING_S = 2.0


def _connect(address: str) -> Channel:
    scheme, _, path = address.partition(":")
    if scheme == "fd" and path.isdecimal():
        sock = socket.socket(fileno=int(path))
        sock.set_inheritable(False)  # a test's child that lives on shall not hold the connection open
        return Channel(sock)
    if scheme != "unix":
        raise SystemExit(f"drm.worker: {address!r} is no coordinator address; it looks like unix:/path/of/socket")
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except OSError as error:
        _sweep(address)
        raise SystemExit(f"drm.worker: no coordinator listens at {address} ({error.strerror})") from error
    return Channel(sock)


def make_launcher(suite: Suite, start: str) -> Launcher:
    """Return the launcher for a process that has not collected: by fork of a collecting child, or by spawn."""
    if start == "spawn":
        command = (sys.executable, "-m", "drm.worker.spawned")
        return SpawnLauncher(command, lambda executor_id: environment_for(suite, executor_id))

    def fork(control: socket.socket, foreign: socket.socket) -> int:
        pid = os.fork()
        if pid == 0:
            foreign.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

            def loop(session: pytest.Session) -> None:
                from drm.worker.identity import shed_capture

                shed_capture(session.config)
                run_zygote(session, items_of(session), suite, control)

            code = collect_and(suite, suite.identity("zygote"), loop)
            sys.stderr.write(f"drm.worker: collecting the suite ended with exit code {code}\n")
            os._exit(code or 1)
        return pid

    return ZygoteLauncher(fork)


def _sweep(address: str) -> None:
    """Remove the socket of a coordinator that died without doing so itself.

    The kernel may close a dying coordinator's connections before that socket: one that still lets us in is
    given a moment to close it as well.
    """
    if not address.startswith("unix:"):
        return
    path = Path(address.partition(":")[2])
    deadline = time.monotonic() + _DYING_S
    while (left_s := deadline - time.monotonic()) > 0:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(left_s)
            try:
                sock.connect(str(path))
                sock.recv(1)
            except ConnectionRefusedError:  # nobody listens any more
                with suppress(OSError):  # another worker was faster
                    path.unlink()
                    path.parent.rmdir()
                return
            except ConnectionResetError:
                continue
            except OSError:
                return


class _Released(Exception):
    """Time to end."""


class Worker:
    """The agent and its connection."""

    def __init__(self, address: str, worker_id: str) -> None:
        self._address = address
        self._channel = _connect(address)
        self._worker_id = worker_id
        self._selector = selectors.DefaultSelector()
        self._arrival: Arrival | None = None

    def run(self) -> None:
        """Serve until released; LostError when the coordinator is gone."""
        try:
            self._serve()
        finally:
            if self._arrival is not None:
                self._arrival.close()

    def _serve(self) -> None:
        self._channel.send(["hello", self._worker_id])
        message = self._channel.next()
        if message is not None and message[0] == "project":
            self._arrival = Arrival(message[1], self._worker_id)
            message = self._arrival.settle(self._channel)
        if message is None:
            _sweep(self._address)
            raise SystemExit("drm.worker: the coordinator turned this worker away")
        _, suite, start, cpu, memory, gpus, labels, kind = message
        capacity = Resources(cpu_cores=cpu, memory_bytes=memory, gpus=gpus)
        joined = joined_message(capacity, frozenset(labels), kind, os.getpid())
        collected = Suite.from_json(suite)
        if self._arrival is not None:
            collected = self._arrival.moved(collected)
        launcher = make_launcher(collected, start)
        agent = Agent(launcher, self._selector, self._channel.send, joined, capacity.memory_bytes)
        try:
            agent.start()
            self._selector.register(self._channel, selectors.EVENT_READ, lambda: self._obey(agent))
            while True:
                for key, _ in self._selector.select(min(_POLL_S, agent.due_in_s())):
                    key.data()
                if self._channel.has_waiting:
                    self._obey(agent)
                agent.tick()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing may break the burying off
            agent.close()
            bury_children()  # what tests of spawned executors left behind
            self._channel.close()

    def _obey(self, agent: Agent) -> None:
        for message in self._channel.receive():
            if message[0] == "release":
                raise _Released
            if message[0] == "ask":  # nothing was heard from here for a while; there may just be no news
                self._channel.send(["here"])
            else:
                agent.command(message)
        if self._channel.closed:
            raise LostError("the coordinator is gone")


def _end(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Released


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m drm.worker", description="Join a coordinator as a worker.")
    parser.add_argument("--coordinator", required=True, metavar="unix:PATH|fd:NUMBER")
    parser.add_argument("--worker-id", required=True)
    options = parser.parse_args()
    adopt_orphans()
    wake_when_orphaned()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # actors of Ray have SIGINT blocked, and forks inherit that
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal.signal(signal.SIGTERM, _end)
        Worker(options.coordinator, options.worker_id).run()
    except _Released:
        return
    except LostError:
        _sweep(options.coordinator)


if __name__ == "__main__":
    main()
