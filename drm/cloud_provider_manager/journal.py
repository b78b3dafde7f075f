"""The journal of instances: what is asked for is written down before it is asked, and crossed out when it is gone.

It is a table of its own in the history's file, which a run has anyway. It is written with synchronous=FULL: an
intent that could be lost with the machine's power would be none. Only one process writes at a time (SQLite's lock).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drm.model.cluster import InstanceRequest
from drm.model.errors import ConfigError, DrmError

__all__ = ["Entry", "Journal"]

_TABLE = """
CREATE TABLE IF NOT EXISTS instance_journal (
    token TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    worker_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    zone TEXT NOT NULL,
    type TEXT NOT NULL,
    market TEXT NOT NULL,
    asked_at REAL NOT NULL,
    instance_id TEXT NOT NULL DEFAULT '',
    closed_at REAL,
    outcome TEXT NOT NULL DEFAULT ''
) STRICT
"""
_OPEN = """
SELECT token, run_id, worker_id, provider, zone, type, market, asked_at, instance_id
FROM instance_journal WHERE closed_at IS NULL ORDER BY asked_at, token
"""
_KEPT_S = 30 * 86400.0  # closed entries; open ones stay until somebody finds out what came of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An instance that was asked for and that is not known to be gone. ``asked_at``: seconds since the epoch.

    ``instance_id`` is empty while nobody knows whether there is one: the fate of the create is unknown.
    """

    token: str
    run_id: str
    worker_id: str
    provider: str
    zone: str
    type_name: str
    market: str
    asked_at: float
    instance_id: str = ""


class Journal:
    """The journal in ``path``, made where it is not there. ConfigError where it cannot be: then nothing is created."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._said("opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Workers are ended in threads; the lock keeps to one at a time.
            self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            with self._said("opened"):
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute(_TABLE)
        except BaseException:
            self._connection.close()
            raise

    def asked(self, request: InstanceRequest, *, run_id: str, at: float) -> None:
        """Write down that this will be asked for; durable on return. The same token again changes nothing."""
        asked = request.worker_type
        values = (request.token, run_id, request.worker_id, asked.provider, asked.zone, asked.name, asked.market, at)
        self._write(
            "INSERT INTO instance_journal (token, run_id, worker_id, provider, zone, type, market, asked_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (token) DO NOTHING",
            values,
        )

    def made(self, token: str, instance_id: str) -> None:
        """Write down which instance it is."""
        self._write("UPDATE instance_journal SET instance_id = ? WHERE token = ?", (instance_id, token))

    def closed(self, token: str, outcome: str, *, at: float) -> None:
        """Write down that there is no such instance, and why: refused, terminated, never made."""
        self._write(
            "UPDATE instance_journal SET closed_at = ?, outcome = ? WHERE token = ? AND closed_at IS NULL",
            (at, outcome, token),
        )
        self._write("DELETE FROM instance_journal WHERE closed_at < ?", (at - _KEPT_S,))

    def open_entries(self) -> tuple[Entry, ...]:
        """Return what may still be there, oldest first, of every run."""
        names = ("token", "run_id", "worker_id", "provider", "zone", "type_name", "market", "asked_at", "instance_id")
        with self._lock, self._said("read"):
            rows = self._connection.execute(_OPEN).fetchall()
        return tuple(Entry(**dict(zip(names, row, strict=True))) for row in rows)

    def close(self) -> None:
        self._connection.close()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock, self._said("written"):
            self._connection.execute(statement, values)

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            kind = ConfigError if what == "opened" else DrmError
            raise kind(
                f"the journal of instances in {self._path} cannot be {what} ({error})",
                remedy="without it no instance is created, because a crash would leave it running; make it writable",
            ) from error
