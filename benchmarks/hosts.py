"""Several hosts on one machine: network namespaces on one bridge, for tests and benchmarks.

Each host has its own interfaces, addresses and ports, and can be cut off. The bridge lies in a namespace of its
own, so that two sets of hosts never meet and nothing shows on the machine itself. Disk, process table and
user are shared. Where namespaces cannot be made, hosts are addresses of the loopback interface: ``why_not`` says why,
and such hosts cannot be cut off.
"""

from __future__ import annotations

import atexit
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

_NETNS = Path("/run/netns")
_NAME = re.compile(r"drm(\d+)x\d+[a-z]\d*")
_FAKETIME = "libfaketime.so.1"
_END_S = 10.0
_counter = itertools.count()


@cache
def why_not() -> str:
    """Return why no namespaces can be made here; empty where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nsenter"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (apt-get install iproute2 util-linux)"
    sweep()
    probe = f"drm{os.getpid()}x{next(_counter)}p"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces are not allowed here ({done.stderr.strip()})"
    inside = ["nsenter", f"--net={_NETNS / probe}", "ip", "link", "add", "br0", "type", "bridge"]
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return f"bridges are not allowed here ({done.stderr.strip()})" if done.returncode else ""


def sweep() -> None:
    """Remove the hosts of processes that were killed before they could do so themselves."""
    with suppress(OSError):
        for entry in _NETNS.iterdir():
            found = _NAME.fullmatch(entry.name)
            if found and not Path("/proc", found[1]).exists():
                _remove(entry.name)


@cache
def faketime() -> Path | None:
    """Return the library that shifts the clocks of a process; None where it is not installed (libfaketime)."""
    return next((path for root in ("/usr/lib", "/usr/local/lib") for path in Path(root).rglob(_FAKETIME)), None)


@dataclass(frozen=True)
class Host:
    """One host. ``namespace`` is empty for one that is only an address of the loopback interface."""

    name: str
    address: str
    namespace: str = ""
    port: tuple[str, str] = ("", "")  # of the bridge: its namespace and interface
    skew_s: float = 0.0
    _processes: list[subprocess.Popen[Any]] = field(default_factory=list, compare=False, repr=False)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs ``command`` on this host."""
        enter = ["nsenter", f"--net={_NETNS / self.namespace}", "--"] if self.namespace else []
        return [*enter, *command]

    def environment(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process on this host: its time of day is off by ``skew_s``."""
        environment = {**os.environ, **(changes or {})}
        if self.skew_s:
            library = faketime()
            if library is None:
                raise RuntimeError("clocks cannot be shifted without libfaketime (apt-get install libfaketime)")
            shift = {"FAKETIME": f"{self.skew_s:+g}", "FAKETIME_NO_CACHE": "1"}
            environment |= {"LD_PRELOAD": str(library), **shift}
        return environment

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a process here, in a session of its own; ``env``: what to change in the environment."""
        started = subprocess.Popen(self.command(command), env=self.environment(env), start_new_session=True, **options)
        self._processes.append(started)
        return started

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 60.0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end; its output is captured as text."""
        given = {"capture_output": True, "text": True, "check": False, **options}
        return subprocess.run(self.command(command), env=self.environment(env), timeout=timeout, **given)

    def pids(self) -> list[int]:
        """Return the processes on this host; of a loopback host those that were started through it."""
        if self.namespace:
            listed = subprocess.run(
                ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False
            )
            return [int(pid) for pid in listed.stdout.split()]
        return [process.pid for process in self._processes if process.poll() is None]

    def send(self, number: signal.Signals, pids: Sequence[int]) -> None:
        """Send a signal to those of the processes that still run here."""
        for pid in pids:
            _send(pid, number, self.namespace)

    def kill(self) -> None:
        """Kill all that runs here, as when the power goes; returns when nothing is left."""
        deadline = time.monotonic() + _END_S
        while (pids := self.pids()) and time.monotonic() < deadline:
            self.send(signal.SIGKILL, pids)
            for process in self._processes:
                process.poll()  # buries it
            time.sleep(0.01)
        for process in self._processes:
            if not self.namespace:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def partition(self) -> None:
        """Cut this host off: what is sent is lost, connections stay open."""
        self._link("down")

    def heal(self) -> None:
        self._link("up")

    def _link(self, state: str) -> None:
        if not self.namespace:
            raise RuntimeError("a host on the loopback interface cannot be cut off")
        _ip(self.port[0], "link", "set", self.port[1], state)


class Hosts:
    """So many hosts, each reaching all others; a context manager, and nothing of them is left after it.

    ``skews_s``: by how much the time of day of a host is off, by its number.
    """

    def __init__(self, count: int, *, loopback: bool = False, skews_s: Mapping[int, float] | None = None) -> None:
        self.are_real = not loopback and not why_not()
        skews = skews_s or {}
        self._prefix = f"drm{os.getpid()}x{next(_counter)}"
        self._switch = f"{self._prefix}s"
        self.all: tuple[Host, ...] = ()
        atexit.register(self.close)
        try:
            if self.are_real:
                _make(self._switch)
                _ip(self._switch, "link", "add", "br0", "type", "bridge")
                _ip(self._switch, "link", "set", "br0", "up")
            for number in range(count):
                made = self._plug_in(number, skews.get(number, 0.0))
                self.all = (*self.all, made)
        except BaseException:
            self.close()
            raise

    def _plug_in(self, number: int, skew_s: float) -> Host:
        name = f"host{number}"
        if not self.are_real:
            return Host(name, f"127.0.0.{number + 2}", skew_s=skew_s)
        namespace, port, address = f"{self._prefix}h{number}", f"p{number}", f"10.77.0.{number + 1}"
        _make(namespace)
        _ip(namespace, "link", "set", "lo", "up")
        _ip(namespace, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
        _ip(namespace, "address", "add", f"{address}/24", "dev", "eth0")
        _ip(namespace, "link", "set", "eth0", "up")
        _ip(self._switch, "link", "set", port, "master", "br0")
        _ip(self._switch, "link", "set", port, "up")
        return Host(name, address, namespace, (self._switch, port), skew_s)

    def __iter__(self) -> Iterator[Host]:
        return iter(self.all)

    def __getitem__(self, number: int) -> Host:
        return self.all[number]

    def __len__(self) -> int:
        return len(self.all)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs on the hosts and remove them."""
        atexit.unregister(self.close)
        for host in self.all:
            host.kill()
        if self.are_real:
            for name in (*(host.namespace for host in self.all), self._switch):
                _remove(name)
        self.all = ()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Put a disk of a size such as ``4m`` into a folder; RuntimeError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "drm-small", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"no disk can be mounted here ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _ip(namespace: str, *arguments: str) -> None:
    done = subprocess.run(["ip", "-n", namespace, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip -n {namespace} {' '.join(arguments)}: {done.stderr.strip()}")


def _make(namespace: str) -> None:
    subprocess.run(["ip", "netns", "add", namespace], check=True, capture_output=True)


def _remove(namespace: str) -> None:
    if not (_NETNS / namespace).exists():
        return
    listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    for pid in listed.stdout.split():
        _send(int(pid), signal.SIGKILL, namespace)
    subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def _send(pid: int, number: signal.Signals, namespace: str) -> None:
    """Signal a process if it is in the namespace: it may have ended since it was listed, and another have its pid."""
    with suppress(ProcessLookupError, FileNotFoundError):
        process = os.pidfd_open(pid)
        try:
            if not namespace or os.path.samefile(f"/proc/{pid}/ns/net", _NETNS / namespace):
                signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)
