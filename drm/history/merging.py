"""Taking what another history file holds into this one. Errors are ``sqlite3.Error``, and ConfigError."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from drm.history.database import Database
from drm.history.retention import transaction
from drm.model.errors import ConfigError

_OF_ATTEMPT = (
    "outcome, wall_s, cpu_s, peak_rss_bytes, at, machine, attempt, reserved_bytes, reserved_cores, gpus, gpu_bytes, "
    "death, source"
)
_TAKE = (
    "INSERT OR IGNORE INTO main.tests (task_id, source) SELECT task_id, source FROM other.tests",
    """
INSERT OR IGNORE INTO main.runs (run_id, revision, begun_on, begun_at, origin)
SELECT run_id, revision, begun_on, begun_at, origin FROM other.runs ORDER BY id
""",
    """
INSERT INTO main.attempts (test, run, OF_ATTEMPT)
SELECT test.id, run.id, new.outcome, new.wall_s, new.cpu_s, new.peak_rss_bytes, new.at, new.machine, new.attempt,
    new.reserved_bytes, new.reserved_cores, new.gpus, new.gpu_bytes, new.death, new.source
FROM other.attempts AS new
JOIN other.tests AS their_test ON their_test.id = new.test JOIN main.tests AS test USING (task_id)
JOIN other.runs AS their_run ON their_run.id = new.run JOIN main.runs AS run USING (run_id)
WHERE NOT EXISTS (SELECT 1 FROM main.attempts AS old
    WHERE old.test = test.id AND old.run = run.id AND old.attempt = new.attempt AND old.at = new.at)
ORDER BY new.at, new.id
""".replace("OF_ATTEMPT", _OF_ATTEMPT),
    """
INSERT OR IGNORE INTO main.run_facts
(run, branch, suite, at, commit_id, machine, wall_s, tests, bad, flaky, slots_busy, allocation_s)
SELECT run.id, branch, suite, facts.at, commit_id, machine, wall_s, tests, bad, flaky, slots_busy, allocation_s
FROM other.run_facts AS facts JOIN other.runs AS their_run ON their_run.id = facts.run
JOIN main.runs AS run ON run.run_id = their_run.run_id
""",
)
# Which attempts are the newest is told by their numbers.
_SORT = tuple(
    statement.replace("OF_ATTEMPT", _OF_ATTEMPT)
    for statement in (
        "CREATE TEMP TABLE sorted AS SELECT test, run, OF_ATTEMPT FROM main.attempts ORDER BY at, id",
        "DELETE FROM main.attempts",
        "INSERT INTO main.attempts (test, run, OF_ATTEMPT) SELECT test, run, OF_ATTEMPT FROM sorted ORDER BY rowid",
        "DROP TABLE sorted",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What was taken over, and how many attempts were there already."""

    tests: int
    runs: int
    attempts: int
    present: int


def merge(into: Database, path: Path) -> Merged:
    """Take over what ``path`` holds and ``into`` does not: doing so again changes nothing.

    The other file is only read; one of an older version is raised in a copy. ConfigError where it holds no history
    that can be read.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", remedy="name a history that a run has left")
    with tempfile.TemporaryDirectory(prefix="drm-merge-") as folder:
        copy = Path(folder, "history.db")
        try:
            _copy(path, copy)
            Database(copy).abandon()
        except sqlite3.Error as error:
            raise ConfigError(f"{path} is no history that can be read ({error})", remedy="leave it out") from error
        return _take(into.connection, copy)


def sort_by_time(connection: sqlite3.Connection) -> None:
    """Number the attempts anew, the oldest first; to be called inside a transaction."""
    for statement in _SORT:
        connection.execute(statement)


def _copy(path: Path, copy: Path) -> None:
    """Copy the database with what its WAL holds; the file may be in use."""
    source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    target = sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()


def _take(connection: sqlite3.Connection, copy: Path) -> Merged:
    connection.execute("ATTACH DATABASE ? AS other", (str(copy),))
    try:
        (theirs,) = connection.execute("SELECT count(*) FROM other.attempts").fetchone()
        (first,) = connection.execute("SELECT min(at) FROM other.attempts").fetchone()
        (newest,) = connection.execute("SELECT max(at) FROM main.attempts").fetchone()
        with transaction(connection):
            tests, runs, attempts, _ = (connection.execute(statement).rowcount for statement in _TAKE)
            if attempts and newest is not None and first < newest:
                sort_by_time(connection)
    finally:
        connection.execute("DETACH DATABASE other")
    return Merged(tests=tests, runs=runs, attempts=attempts, present=theirs - attempts)
