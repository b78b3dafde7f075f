"""A coordinator and its machines, by the commands, for tests and benchmarks: all on this machine.

The machines are hosts of ``benchmarks.hosts``, or without those processes on the loopback address.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.hosts import Host, Hosts
from drm.cluster_trust import COORDINATOR, WORKER, make_trust
from drm.engines.ray_engine.node import Ports
from drm.model.errors import DrmError
from drm.model.events import AttemptFinished, AttemptStarted, Event
from drm.reporting.ndjson import EventReader
from drm.worker.linux import descendants_of

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Event)

ROOT = Path(__file__).resolve().parents[1]
_START_S = 240.0
_END_S = 60.0
_READY = "run tests on them"


class RayCluster:
    """``machines``: the processes ``drm worker`` by name; ``hosts``: where they are, the coordinator's first."""

    def __init__(self, folder: Path, hosts: Hosts | None = None) -> None:
        self.folder = folder
        self.hosts = hosts
        self.machines: dict[str, subprocess.Popen[Any]] = {}
        self._places: dict[str, int] = {}
        self._ports = _free(20_000 + os.getpid() % 100 * 300) if hosts is None else Ports(first=7410)
        self.host = hosts[0].address if hosts is not None else "127.0.0.1"
        self.address = f"{self.host}:{self._ports.first}"
        self.environment: Mapping[str, str] = {
            "DRM_CLUSTER_FOLDER": str(folder),
            "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")]))),
            "PYTHONUNBUFFERED": "1",
        }
        network = [str(host.address) for host in hosts] if hosts is not None else []
        made = make_trust(folder / "made", coordinator=network, workers=network)
        for path, role in zip(made, (COORDINATOR, WORKER), strict=True):
            path.rename(folder / role)
        self.coordinator = self.start_coordinator()

    def start_coordinator(self) -> subprocess.Popen[Any]:
        """Start it, also again after it ended; return when machines can join."""
        times = self.said("coordinator").count(_READY) + 1
        bind = ("--bind", self.host, "--port", str(self._ports.first))
        self.coordinator = self.start("coordinator", self._host(0), "coordinator", *bind)
        self.wait_for("coordinator", _READY, times=times)
        return self.coordinator

    def _host(self, number: int) -> Host | None:
        return self.hosts[number] if self.hosts is not None else None

    def start(self, log: str, host: Host | None, *words: str) -> subprocess.Popen[Any]:
        """Start a command of drm; its output goes to a file of the folder."""
        command = [sys.executable, "-m", "drm", *words]
        with open(self.folder / f"{log}.log", "ab") as output:
            given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            if host is not None:
                return host.popen(command, env=self.environment, **given)
            environment = {**os.environ, **self.environment}
            return subprocess.Popen(command, env=environment, start_new_session=True, **given)

    def said(self, log: str) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / f"{log}.log").read_text(encoding="utf-8", errors="replace")
        return ""

    def wait_for(self, log: str, words: str, *, times: int = 1) -> None:
        """Wait until a command has said something, so many times."""
        process = self.machines.get(log) or self.coordinator
        deadline = time.monotonic() + _START_S
        while self.said(log).count(words) < times:
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{log} did not say {words!r}: {self.said(log)[-2000:]}")
            time.sleep(0.02)

    def add(self, name: str, *options: str, host: int = 0) -> subprocess.Popen[Any]:
        """Let a machine join; returns at once."""
        words = (
            "worker",
            "--coordinator",
            self.address,
            "--name",
            name,
            *(options or ("--cpus", "2", "--memory", "2GiB")),
        )
        self._places[name] = host
        self.machines[name] = self.start(name, self._host(host), *words)
        return self.machines[name]

    def wait_joined(self, *names: str) -> None:
        for name in names:
            self.wait_for(name, "has joined")

    def command(self, *words: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run a command of drm on the coordinator's host to its end."""
        command = [sys.executable, "-m", "drm", *words]
        host = self._host(0)
        if host is not None:
            return host.run(command, env=self.environment, timeout=timeout)
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def kill_machine(self, name: str) -> None:
        """Kill a machine as when the power goes: with all that runs on its host, or below its process."""
        process = self.machines[name]
        number = self._places[name]
        host = self._host(number)
        if host is not None and number:
            host.kill()
        else:
            for pid in (process.pid, *descendants_of(process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End all of it, the machines first."""
        for process in (*self.machines.values(), self.coordinator):
            if process.poll() is None:
                process.terminate()
        for process in (*self.machines.values(), self.coordinator):
            process.wait(_END_S)


class ClusterRun:
    """A ``drm run`` on a cluster while it goes on, seen by its record in ``record``."""

    def __init__(self, cluster: RayCluster, project: Path, record: Path, *options: str) -> None:
        self.cluster = cluster
        self.record = record
        words = ("run", "--coordinator", cluster.address, f"--drm-report-dir={record}", *options, str(project))
        self._begin(*words)

    def _begin(self, *words: str) -> None:
        host = self.cluster.hosts[0] if self.cluster.hosts is not None else None
        self.process = self.cluster.start("run", host, *words)
        self._reader = EventReader(self.record / "events.ndjson")
        self._events: list[Event] = []

    def resume(self) -> None:
        """Take it up where it was cut short; of the tests that did not run then the record says no more."""
        self._begin("run", "--resume", str(self.record))

    def events(self) -> list[Event]:
        """Return what has been recorded so far."""
        with suppress(DrmError):  # there is no record yet
            self._events += self._reader.read(on_note=lambda _: None)
        return self._events

    def of(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.events() if isinstance(event, kind)]

    def under_way(self, worker_id: str) -> list[str]:
        """Return the tests that are being run on a worker."""
        begun: dict[tuple[str, int], str] = {}
        for event in self.events():
            if isinstance(event, AttemptStarted) and event.worker_id == worker_id:
                begun[event.task_id, event.attempt] = event.task_id
            elif isinstance(event, AttemptFinished):
                begun.pop((event.task_id, event.attempt), None)
        return list(begun.values())

    def wait(self, done: Callable[[], _T], patience_s: float = _START_S) -> _T:
        """Return what ``done`` returns as soon as it is something; RuntimeError where nothing comes of it in time."""
        deadline = time.monotonic() + patience_s
        while not (found := done()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"waited in vain: {self.cluster.said('run')[-3000:]}")
            time.sleep(0.05)
        return found

    def end(self, patience_s: float = _START_S) -> int:
        """Return the exit code, when it has ended."""
        return self.process.wait(patience_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(_END_S)


@contextmanager
def ray_cluster(folder: Path, hosts: Hosts | None = None) -> Iterator[RayCluster]:
    """Start a coordinator; nothing of it is left afterwards, nor of the machines that joined."""
    cluster = RayCluster(folder, hosts)
    try:
        yield cluster
    finally:
        cluster.close()


def _free(first: int) -> Ports:
    while Ports(first=first).taken("127.0.0.1", head=True) is not None:
        first += Ports.COUNT
    return Ports(first=first)
