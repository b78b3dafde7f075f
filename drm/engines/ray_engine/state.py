"""What a coordinator leaves on its host for ``drm run``, ``drm workers`` and ``drm drain``: a folder of small files.

``coordinator.json``: where it is, by which boot of a host, for several may share a home, and the hash of its token.
``alive``, ``run``: files that the coordinator and the run that is connected hold locked, so that the kernel tells when
they are gone. ``machines.json``: which machines are there, by the coordinator. ``workers.json``: what is given out and
used on them, by the run. ``drain/NAME``: a machine that is to leave.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from drm.cluster_trust import COORDINATOR, default_folder, environment
from drm.engines.ray_engine.tables import Machine, WorkerRow, remove, write_json
from drm.model.errors import ConfigError

__all__ = [
    "CoordinatorState",
    "check_name",
    "folder_of",
    "parse_address",
    "running_coordinators",
]

_TRACES = ("coordinator.json", "machines.json", "workers.json", "drain")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOCK_S = 0.5  # who looks whether a file is locked has it locked too, for a moment
_LOOK_S = 0.01
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,60}[A-Za-z0-9])?")


def parse_address(text: str, what: str = "--coordinator") -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; ConfigError where it is none."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or not 0 < int(found[2]) < 65536:
        raise ConfigError(f"{what}: {text!r} is no address", remedy="write HOST:PORT, as drm coordinator prints it")
    return found[1], int(found[2])


def check_name(text: str, what: str) -> str:
    """Return the name of a worker; ConfigError for one that no label of Ray can hold."""
    if not _NAME.fullmatch(text):
        raise ConfigError(
            f"{what}: {text!r} is no name of a worker",
            remedy="use at most 62 letters, digits, dots, dashes and underscores, a letter or digit first and last",
        )
    return text


class CoordinatorState:
    """One coordinator, as others on its host see it."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.host = str(facts["host"])
        self.port = int(facts["port"])
        self._boot = facts.get("boot")
        self._token = facts.get("token")
        self._claim: IO[str] | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def join_line(self) -> str:
        return f"drm worker --coordinator {self.address}"

    @staticmethod
    def trust() -> dict[str, str]:
        """Return what Ray's processes on this host need in their environment to be let in."""
        return environment(default_folder() / COORDINATOR)

    @staticmethod
    def found_by() -> dict[str, str]:
        """Return the environment in which another process finds the same credentials."""
        return {"DRM_CLUSTER_FOLDER": str(default_folder())}

    # -- the coordinator's side

    @classmethod
    @contextmanager
    def living(cls, host: str, port: int, token: bytes = b"") -> Iterator[CoordinatorState]:
        """Hold what tells others that a coordinator with this token lives here; take its traces away at the end.

        ConfigError where another has this address: nothing of its is touched.
        """
        folder = folder_of(host, port)
        alive = _lock(folder / "alive")
        if alive is None:
            raise ConfigError(
                f"a coordinator of this user is at {host}:{port} already", remedy="end it, or give another --port"
            )
        with alive:
            for name in _TRACES:
                remove(folder / name)
            facts = {"host": host, "port": port, "boot": _boot_id(), "token": _hash(token)}
            write_json(folder / "coordinator.json", facts)
            try:
                yield cls(folder, facts)
            finally:
                for name in (*_TRACES, "run", "alive"):
                    remove(folder / name)
                with suppress(OSError):
                    folder.rmdir()

    # -- the others' side

    @classmethod
    def of(cls, address: str) -> CoordinatorState:
        """Return the coordinator of this host at an address; ConfigError where there is none."""
        host, port = parse_address(address)
        found = [state for state in running_coordinators() if state.port == port]
        if not found:
            raise ConfigError(
                f"no coordinator of this user runs on this host at port {port}",
                remedy=f"run this on the host of {host}, where drm coordinator runs",
            )
        wanted = (host,) if host != "localhost" else ("127.0.0.1", *(state.host for state in found))
        named = [state for each in wanted for state in found if state.host == each]
        if not named:
            where = " and ".join(state.address for state in found)
            raise ConfigError(
                f"the coordinator on this host is at {where}, not at {address}",
                remedy=f"give --coordinator {found[0].address}, or run this on the host of {host}",
            )
        return named[0]

    def is_alive(self) -> bool:
        """Tell whether the coordinator's process is there, on this host."""
        return self._boot == _boot_id() and _is_locked(self.folder / "alive")

    def knows(self, token: bytes) -> bool:
        """Tell whether it was started with this token."""
        return self._token == _hash(token)

    def has_run(self) -> bool:
        """Tell whether a run is connected."""
        return _is_locked(self.folder / "run")

    def claim(self) -> None:
        """Be the run of this coordinator; ConfigError where another is."""
        self._claim = _lock(self.folder / "run")
        if self._claim is None:
            raise ConfigError(
                f"another run uses the coordinator at {self.address}",
                remedy="wait for its end, or start a second coordinator with another --port",
            )

    def give_up(self) -> None:
        if self._claim is not None:
            remove(self.folder / "workers.json")
            self._claim.close()
            self._claim = None

    def draining(self) -> frozenset[str]:
        """Return the workers that were asked to leave."""
        with suppress(OSError):
            return frozenset(entry.name for entry in os.scandir(self.folder / "drain"))
        return frozenset()

    def ask_to_leave(self, name: str) -> None:
        (self.folder / "drain").mkdir(exist_ok=True)
        (self.folder / "drain" / name).touch()

    def ask_no_more(self, name: str) -> None:
        remove(self.folder / "drain" / name)

    def note_machines(self, machines: Iterable[Machine]) -> None:
        """Write down which machines are there."""
        write_json(self.folder / "machines.json", [asdict(machine) for machine in machines])

    def machines(self) -> list[Machine]:
        """Return the machines that are there, by name."""
        try:
            listed = json.loads((self.folder / "machines.json").read_text(encoding="utf-8"))
            found = [Machine(**{**each, "labels": tuple(each["labels"])}) for each in listed]
        except (OSError, ValueError, TypeError, KeyError):
            return []
        return sorted(found, key=lambda machine: machine.name)

    def rows(self) -> dict[str, WorkerRow]:
        """Return what the run that is connected says of its workers, by name; empty while there is none."""
        if not self.has_run():
            return {}
        try:
            listed = json.loads((self.folder / "workers.json").read_text(encoding="utf-8"))
            return {row["name"]: WorkerRow(**row) for row in listed}
        except (OSError, ValueError, TypeError, KeyError):
            return {}


def folder_of(host: str, port: int) -> Path:
    """Return where the coordinator at this address keeps its state."""
    return default_folder() / f"{port}-{host.replace(':', '.')}"


def running_coordinators() -> list[CoordinatorState]:
    """Return those of this user on this host."""
    found = []
    with suppress(OSError):
        for folder in sorted(default_folder().glob("[0-9]*")):
            with suppress(OSError, ValueError, KeyError):
                state = CoordinatorState(folder, json.loads((folder / "coordinator.json").read_text(encoding="utf-8")))
                if state.is_alive():
                    found.append(state)
    return found


def _hash(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()  # of 256 random bits: nobody finds them by it


def _boot_id() -> str:
    """Return what no other host has, nor this one after it was started again; empty where that cannot be known."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _lock(path: Path) -> IO[str] | None:
    """Return the file, locked until it is closed; None where another holds it. It is made where it is missing."""
    deadline = time.monotonic() + _LOCK_S
    while time.monotonic() <= deadline:
        # Who had it may remove it and its folder between any two of these lines; what is locked then tells nobody.
        with suppress(BlockingIOError, FileNotFoundError, FileExistsError), ExitStack() as held:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = held.enter_context(open(path, "a", encoding="ascii"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                held.pop_all()
                return file
        time.sleep(_LOOK_S)
    return None


def _is_locked(path: Path) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # it is locked, or that cannot be known now: nobody is given up for that
        return True
    return False
