"""What chaos strikes: a set of workers, how a run is started on it, and what can happen to its workers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from drm.model.events import WorkerReady
from drm.worker.linux import children_of, descendants_of

Heal = Callable[[], None]
_TO_THE_END_S = 1e6
_LOST_AFTER_S = 2  # of silence
_MOST_EXECUTORS = 6
_SPAWNED = "drm.worker.spawned"


@dataclass(frozen=True)
class Victim:
    """A worker that can be struck. ``pid``: of its agent."""

    worker_id: str
    pid: int


@dataclass(frozen=True)
class Outage:
    """How long a fault that can be made good again lasts: drawn between two times.

    ``slower_s``: by how much each test takes longer then, ``until``: up to which share of ended tests faults strike;
    so that the run still goes on when the worker is back.
    """

    name: str
    least_s: float
    most_s: float
    slower_s: float = 0.0
    until: float = 0.9

    @property
    def is_to_the_end(self) -> bool:
        return self.least_s >= _TO_THE_END_S

    def lasts_s(self, rng: random.Random) -> float:
        return rng.uniform(self.least_s, self.most_s)


SHORT = Outage("short", 0.2, 2.5)
TO_THE_END = Outage("to the end", _TO_THE_END_S, _TO_THE_END_S)  # of the run; then it is made good


class Cluster(Protocol):
    """``faults``: by name, what strikes a victim; it returns what makes it good again, where something does.
    ``outages``: the kinds there are of how long that takes; a run has one."""

    name: str
    outages: Sequence[Outage]
    faults: Mapping[str, Callable[[Victim], Heal | None]]

    def __init__(self) -> None: ...

    def why_not(self) -> str:
        """Return why there can be no such cluster here; empty where there can."""
        ...

    def options(self, rng: random.Random) -> list[str]: ...

    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]: ...

    def victims(self, ready: Mapping[str, WorkerReady]) -> list[Victim]: ...

    def leftovers(self) -> dict[int, str]:
        """Return what runs have left where their mark is not seen: processes with their commands."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill(victim: Victim) -> None:
    """The agent dies, and all that it has started with it."""
    send(victim.pid, signal.SIGKILL)


def stop(victim: Victim) -> None:
    """The agent says nothing any more, for good; its executors go on with what they have."""
    send(victim.pid, signal.SIGSTOP)


def pause(victim: Victim) -> Heal:
    """The agent says nothing for a while: shorter or longer than it takes to be given up."""
    send(victim.pid, signal.SIGSTOP)
    return lambda: send(victim.pid, signal.SIGCONT)


def freeze(victim: Victim) -> None:
    """The whole worker stands still, as a machine that swaps or is suspended."""
    for pid in (victim.pid, *descendants_of(victim.pid)):
        send(pid, signal.SIGSTOP)


def executors(victim: Victim) -> None:
    """Its zygote dies, and with it all executors."""
    for pid in children_of(victim.pid):
        send(pid, signal.SIGKILL)


def executors_of(controller: int) -> list[int]:
    """Return the processes that run tests for a controller on its own machine: forks of its zygote, or spawned."""
    found = []
    mine = command_of(controller)
    for child in children_of(controller):
        command = command_of(child)
        if _SPAWNED in command:
            found.append(child)
        elif command == mine:  # the zygote, a fork
            found += children_of(child)
    return found


def command_of(pid: int) -> str:
    """Return a process's command line; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class LocalExecutors:
    """The processes in which ``drm run`` itself runs tests. Each is a victim: one dies, or stands still for good."""

    name = "executors"
    outages: Sequence[Outage] = (SHORT,)
    faults: Mapping[str, Callable[[Victim], Heal | None]] = {"kill": kill, "stop": stop, "pause": pause}

    def why_not(self) -> str:
        return ""

    def options(self, rng: random.Random) -> list[str]:
        return [f"--drm-executors={rng.randint(1, _MOST_EXECUTORS)}"]

    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def victims(self, ready: Mapping[str, WorkerReady]) -> list[Victim]:
        """Return the executors; they are in no event, so they are found below the process that runs them."""
        found = [pid for event in ready.values() for pid in executors_of(event.pid)]
        return [Victim(f"executor{number}", pid) for number, pid in enumerate(found)]

    def leftovers(self) -> dict[int, str]:
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left: each run ends its executors."""


class SocketCluster(LocalExecutors):
    """Local worker processes that ``drm run`` starts by itself, joined over a Unix socket. They cannot be cut off."""

    name = "sockets"
    faults: Mapping[str, Callable[[Victim], Heal | None]] = {
        "kill": kill,
        "stop": stop,
        "pause": pause,
        "freeze": freeze,
        "zygote": executors,
    }

    def options(self, rng: random.Random) -> list[str]:
        most = rng.choice((2, 3, 4))
        return [
            f"--drm-workers=2..{most}",
            "--drm-worker-type=cpu=1",
            "--drm-cpus=4",
            f"--drm-lost-after={_LOST_AFTER_S}",
        ]

    def victims(self, ready: Mapping[str, WorkerReady]) -> list[Victim]:
        return [Victim(event.worker_id, event.pid) for event in ready.values() if event.pid]


def clusters() -> dict[str, type[Cluster]]:
    """Return the kinds of clusters there are, by name."""
    from benchmarks.chaos_ray import RayHosts

    return {SocketCluster.name: SocketCluster, RayHosts.name: RayHosts}
