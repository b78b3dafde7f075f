"""Chaos on a Ray cluster: a coordinator and machines that are hosts of their own, and can be cut off."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from benchmarks.chaos_clusters import SHORT, TO_THE_END, Heal, Outage, Victim, command_of, send
from benchmarks.hosts import Host, Hosts, why_not
from benchmarks.ray_cluster import RayCluster
from drm.model.events import WorkerReady

_MACHINES = 3
LABELLED = "m1"  # the machine that carries the label "gpu"
_JOIN_S = 300.0  # a busy machine starts three of Ray's in minutes
# A worker gets nothing new after 3.5 s of silence, ends what it runs after 8 s, and counts as lost after 9 s; a machine
# that is back within 30 s joins again.
_AT_THE_LEASE = Outage("about the lease", 6.0, 9.0, slower_s=0.8, until=0.35)
_BEYOND_IT = Outage("beyond the lease", 10.0, 20.0, slower_s=2.2, until=0.35)
_OF_A_RUN = "drm.worker"  # agents, zygotes and executors have it in their command line


class RayHosts:
    """Three machines, each on a host of its own; one that ended is started again before the next run, or amid this."""

    name = "ray"
    outages = (SHORT, _AT_THE_LEASE, _BEYOND_IT, TO_THE_END)

    def __init__(self) -> None:
        self.faults: Mapping[str, Callable[[Victim], Heal | None]] = {
            "kill": self._kill,
            "power": self._power,
            "partition": self._partition,
            "freeze": self._freeze,
            "agent": self._agent,
        }
        self._hosts: Hosts | None = None
        self._cluster: Any = None
        self._joined: dict[str, int] = {}
        self._folder = Path()

    def why_not(self) -> str:
        if find_spec("ray") is None:
            return "Ray is not installed (pip install 'drm-testing[ray]')"
        return why_not()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self._hosts = Hosts(_MACHINES + 1)
        try:
            self._cluster = RayCluster(self._folder, self._hosts)
            # Machines load the same plugins as the runs: none by themselves.
            self._cluster.environment = {**self._cluster.environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
            self._gather()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._hosts is not None
        try:
            if self._cluster is not None:
                self._cluster.close()
        finally:
            self._hosts.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _host(self, name: str) -> Host:
        assert self._hosts is not None
        return self._hosts[int(name[1:])]

    def _start(self, name: str) -> None:
        """Start the machine's ``drm worker`` unless it runs."""
        process = self._cluster.machines.get(name)
        if process is None or process.poll() is not None:
            self._joined[name] = self._times_joined(name)
            words = ("--cpus", "1", "--memory", "2GiB", *(("--label", "gpu") if name == LABELLED else ()))
            self._cluster.add(name, *words, host=int(name[1:]))

    def _times_joined(self, name: str) -> int:
        """Count its joinings; one that comes back too soon is told that one of its name has joined already."""
        return int(self._cluster.said(name).count(f"drm: {name} has joined "))

    def _gather(self) -> None:
        """Wait until every machine is there."""
        names = [f"m{number}" for number in range(1, _MACHINES + 1)]
        deadline = time.monotonic() + _JOIN_S
        while True:
            for name in names:
                self._host(name).heal()
                self._start(name)
            listed = self._cluster.command("workers").stdout
            if all(name in listed for name in names) and all(
                self._times_joined(name) > self._joined[name] for name in names
            ):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the machines do not join: {listed}")
            time.sleep(0.2)

    def options(self, rng: random.Random) -> list[str]:
        self._gather()
        return [f"--drm-coordinator={self._cluster.address}"]

    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        changes = {**environment, **self._cluster.environment, "PYTHONPATH": environment["PYTHONPATH"]}
        given: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        return self._host("m0").popen(command, env=changes, **given)

    def victims(self, ready: Mapping[str, WorkerReady]) -> list[Victim]:
        return [
            Victim(name, process.pid)
            for name, process in self._cluster.machines.items()
            if name in ready and process.poll() is None
        ]

    def leftovers(self) -> dict[int, str]:
        """Return what runs have left on the machines."""
        found = {}
        for name in self._cluster.machines:
            for pid in self._host(name).pids():
                command = command_of(pid)
                if f"-m {_OF_A_RUN} " in command:
                    found[pid] = f"{name}: {command}"
        return found

    # -- faults

    def _kill(self, victim: Victim) -> Heal:
        """``drm worker`` dies, and with it all that it has started."""
        send(victim.pid, signal.SIGKILL)
        return lambda: self._start(victim.worker_id)

    def _power(self, victim: Victim) -> Heal:
        """Every process of the host dies at once."""
        host = self._host(victim.worker_id)
        host.send(signal.SIGKILL, host.pids())
        return lambda: self._start(victim.worker_id)

    def _partition(self, victim: Victim) -> Heal:
        self._host(victim.worker_id).partition()
        return self._host(victim.worker_id).heal

    def _freeze(self, victim: Victim) -> Heal:
        host = self._host(victim.worker_id)
        pids = host.pids()
        host.send(signal.SIGSTOP, pids)
        return lambda: host.send(signal.SIGCONT, pids)

    def _agent(self, victim: Victim) -> None:
        """The processes that run tests die, all of them."""
        host = self._host(victim.worker_id)
        host.send(signal.SIGKILL, [pid for pid in host.pids() if f"-m {_OF_A_RUN} " in command_of(pid)])


__all__ = ["LABELLED", "RayHosts"]
