"""The history file's format: what each version added. A new file is made by the same steps as an old one is raised."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from drm.history import trends

SCHEMA_VERSION = 4
PATIENCE_S = 5.0  # with others that write

_V1 = """
CREATE TABLE tests (
    id INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    test INTEGER NOT NULL REFERENCES tests (id),
    run INTEGER NOT NULL REFERENCES runs (id),
    outcome TEXT,
    wall_s REAL NOT NULL,
    cpu_s REAL NOT NULL,
    peak_rss_bytes INTEGER NOT NULL,
    at REAL NOT NULL,
    machine TEXT NOT NULL
) STRICT;
CREATE INDEX attempts_of_test ON attempts (test, id);
"""
# revision, begun_on, begun_at: the run's commit, branch and time.
# source: a hash of what the test's function is compiled to; 0 where it is not known.
_V3 = """
ALTER TABLE runs ADD COLUMN revision TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN begun_on TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN begun_at REAL NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE tests ADD COLUMN source INTEGER NOT NULL DEFAULT 0;
CREATE INDEX tests_of_source ON tests (source) WHERE source != 0;
ALTER TABLE attempts ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE attempts ADD COLUMN reserved_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN reserved_cores REAL NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN gpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN gpu_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN death TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN source INTEGER NOT NULL DEFAULT 0;
"""
STEPS = (_V1, trends.SCHEMA, _V3, trends.ALLOCATION)


def version_of(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a connection that writes nothing; sqlite3.Error where nothing can be read.

    ``immutable`` reads where nothing may be written beside the file either, and does not see what others write.
    """
    try:
        return _opened(path, "mode=ro")
    except sqlite3.Error:
        return _opened(path, "mode=ro&immutable=1")


def _opened(path: Path, how: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=PATIENCE_S, isolation_level=None)
    try:
        version_of(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def write_ahead(connection: sqlite3.Connection, patience_s: float) -> None:
    """Have the file in WAL mode. SQLite does not wait for others to let it change that, so they are waited for here."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
        else:
            return


def raise_to_current(connection: sqlite3.Connection) -> None:
    """Carry out the steps that the file lacks, all or none of them, whoever else does the same at the same time."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(version_of(connection), SCHEMA_VERSION):
            for statement in STEPS[number].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
