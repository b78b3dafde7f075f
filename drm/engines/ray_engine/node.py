"""Ray on one machine: which processes, where they listen, how they are started and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drm.engines.common import own_code
from drm.engines.ray_engine.agent import NODE_VARIABLE
from drm.engines.ray_engine.environment import HEALTH, ray_environment
from drm.engines.ray_engine.guard import sweep
from drm.engines.ray_engine.membership import HEAD_ROLE, NAME_LABEL, ROLE_LABEL
from drm.model.errors import LostError

__all__ = ["NodeProcess", "NodeSettings", "NotStartedError", "Ports"]

_STORE_BYTES = 80 * 2**20  # near the least that Ray takes: what is sent is small and goes along with the calls
_SHORT = Path("/tmp")  # noqa: S108 - the path of a socket below it has 107 bytes
_START_S = 200.0
_END_S = 20.0  # a guard takes 11 s at most, and what it waits for
_POLL_S = 0.05
_MOST_SAID = 256 * 1024
_READY = "Ray runtime started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where a machine listens: 30 ports in a row from ``first``, all fixed."""

    first: int

    COUNT = 30
    _NAMES = (
        "gcs",
        "door",
        "node manager",
        "object manager",
        "runtime environment agent",
        "metrics agent",
        "agent (http)",
        "metrics",
    )
    _WORKERS = 10

    def rows(self, *, head: bool) -> list[tuple[str, str]]:
        """Return (name, port or range) of each."""
        named = [(name, str(self.first + number)) for number, name in enumerate(self._NAMES) if number > 1 or head]
        return [*named, ("actors and drivers", f"{self.first + self._WORKERS}-{self.first + self.COUNT - 1}")]

    @property
    def door(self) -> int:
        """Where a coordinator checks who wants to join."""
        return self.first + 1

    def options(self, *, head: bool) -> list[str]:
        words = [
            f"--node-manager-port={self.first + 2}",
            f"--object-manager-port={self.first + 3}",
            f"--runtime-env-agent-port={self.first + 4}",
            f"--dashboard-agent-grpc-port={self.first + 5}",
            f"--dashboard-agent-listen-port={self.first + 6}",
            f"--metrics-export-port={self.first + 7}",
            f"--min-worker-port={self.first + self._WORKERS}",
            f"--max-worker-port={self.first + self.COUNT - 1}",
        ]
        return [f"--port={self.first}", *words] if head else words

    def taken(self, host: str, *, head: bool) -> int | None:
        """Return a port of these that somebody listens on; None where all are free."""
        for port in range(self.first + (0 if head else 2), self.first + self.COUNT):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind((host, port))
                except OSError:
                    return port
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """A machine of a cluster. ``coordinator``: whom it joins; empty for the head. ``told``: what its agents find."""

    name: str
    host: str
    ports: Ports
    coordinator: str = ""
    told: Mapping[str, object] | None = None
    trust: Mapping[str, str] | None = None

    @property
    def is_head(self) -> bool:
        return not self.coordinator

    def command(self, temp_dir: Path) -> list[str]:
        labels = f"{NAME_LABEL}={self.name}" + (f",{ROLE_LABEL}={HEAD_ROLE}" if self.is_head else "")
        if self.is_head:
            whose = ["--head", "--include-dashboard=false", "--no-monitor", f"--system-config={json.dumps(HEALTH)}"]
        else:
            whose = [f"--address={self.coordinator}"]
        return [
            *(sys.executable, "-m", "drm.engines.ray_engine.start", "start", "--block", *whose),
            *(f"--node-ip-address={self.host}", *self.ports.options(head=self.is_head)),
            *("--num-cpus=0", "--num-gpus=0", f"--object-store-memory={_STORE_BYTES}", f"--temp-dir={temp_dir}"),
            *("--disable-usage-stats", "--include-log-monitor=false", f"--labels={labels}"),
        ]


class NotStartedError(LostError):
    """Ray ended, or took too long, before the machine was part of the cluster."""


class NodeProcess:
    """One start of a machine: a guard (``guard.py``) and what it guards. Ends with the process that started it."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        sweep(_SHORT)
        self.temp_dir = Path(tempfile.mkdtemp(prefix="drm-", dir=_SHORT))  # nodes of one host share nothing
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - what Ray said is read also when the folder is gone
        names = [name for name in {**os.environ, **own_code()} if not name.startswith("RAY_")]
        told = {**(settings.told or {}), "pid": os.getpid(), "environment": sorted(names)}
        environment = {**os.environ, **own_code(), **ray_environment(settings.trust or {})}
        guard = [sys.executable, "-m", "drm.engines.ray_engine.guard", str(os.getpid()), str(self.temp_dir)]
        self._process = subprocess.Popen(
            [*guard, *settings.command(self.temp_dir)],
            env={**environment, NODE_VARIABLE: json.dumps(told)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def wait_ready(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Return when the machine is part of the cluster; NotStartedError with Ray's words where it ends first.

        ``meanwhile`` is called again and again until then.
        """
        deadline = time.monotonic() + _START_S
        while _READY not in self._said():
            if not self.is_alive():
                raise NotStartedError(f"Ray did not start on {self.settings.host}: {self.last_line()}")
            if time.monotonic() > deadline:
                raise NotStartedError(
                    f"Ray did not start on {self.settings.host} in {_START_S:g} s: {self.last_line()}"
                )
            meanwhile()
            time.sleep(_POLL_S)

    def _said(self, begin: int = 0) -> str:
        return os.pread(self._log.fileno(), _MOST_SAID, begin).decode(errors="replace")

    def last_line(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        lines = [line.strip() for line in self._said(max(0, size - _MOST_SAID)).splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """End all of it; nothing is left when this returns. A guard that does not end in time is killed: then Ray ends
        with it, and its folder is removed by the next start."""
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)  # one that is stopped would take no notice
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
