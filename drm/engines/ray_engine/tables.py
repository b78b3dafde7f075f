"""What is known of a coordinator's machines and of a run's workers, and the files that hold it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drm.model.events import Event, UtilizationSampled, WorkerReady

__all__ = ["Machine", "WorkerRow", "WorkerTable", "remove", "write_json"]

_WRITE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that has joined. ``heard_at``: seconds since the epoch, by the clock of the coordinator's host."""

    name: str
    address: str = ""
    cpu_cores: float = 0.0
    memory_bytes: int = 0
    gpus: float = 0.0
    labels: tuple[str, ...] = ()
    heard_at: float = 0.0
    leaving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """What a run says of a worker: cores and bytes."""

    name: str
    reserved_cores: float = 0.0
    reserved_bytes: int = 0
    used_cores: float = 0.0
    used_bytes: int = 0
    executors: int = 0
    running: int = 0


class WorkerTable:
    """A sink that keeps ``workers.json`` as the run's events have it. ``held``: returns the workers that it has."""

    def __init__(self, folder: Path, held: Callable[[], Collection[str]]) -> None:
        self._file = folder / "workers.json"
        self._held = held
        self._rows: dict[str, dict[str, Any]] = {}
        self._written: list[dict[str, Any]] | None = None
        self._written_s = float("-inf")

    def emit(self, event: Event) -> None:
        if isinstance(event, WorkerReady):
            self._rows[event.worker_id] = asdict(WorkerRow(name=event.worker_id))
        elif isinstance(event, UtilizationSampled) and event.worker_id in self._rows:
            self._rows[event.worker_id] |= {
                "reserved_cores": event.reserved.cpu_cores,
                "reserved_bytes": event.reserved.memory_bytes,
                "used_cores": event.used.cpu_cores,
                "used_bytes": event.used.memory_bytes,
                "executors": event.executors,
                "running": event.running,
            }

    def flush(self) -> None:
        now = time.monotonic()
        if now - self._written_s >= _WRITE_S:
            self._written_s = now
            with suppress(OSError):  # a table that is old costs no test
                held = self._held()
                rows = [dict(row) for name, row in self._rows.items() if name in held]
                if rows != self._written:
                    write_json(self._file, rows)
                    self._written = rows

    def close(self) -> None:
        remove(self._file)


def write_json(path: Path, value: Any) -> None:
    """Write a file that only this user reads, at once whole."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(value) + "\n", encoding="utf-8")
    fresh.replace(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder of files; nothing happens where there is none."""
    with suppress(OSError):
        if path.is_dir():
            for entry in path.iterdir():
                entry.unlink()
            path.rmdir()
        else:
            path.unlink()
