"""What the history keeps, and what it leaves out in time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from drm.history import trends
from drm.history.samples import KEPT_PER_TEST

_DAY_S = 86400.0
_OVERFULL = "SELECT test FROM attempts GROUP BY test HAVING count(*) > ?"
_TRIM = """
DELETE FROM attempts WHERE test = ?
AND id <= (SELECT id FROM attempts WHERE test = ? ORDER BY id DESC LIMIT 1 OFFSET ?)
"""
# By the attempts' own clock, and by the earliest of three runs: one whose clock was years ahead empties no file.
_AGED = """
DELETE FROM attempts WHERE at < (
    SELECT min(newest) FROM (
        SELECT max(at) AS newest FROM attempts WHERE run IN (
            SELECT id FROM runs WHERE id < (SELECT max(run) FROM attempts) ORDER BY id DESC LIMIT 3
        ) GROUP BY run
    )
) - ?
"""
_ORPHANS = (
    "DELETE FROM tests WHERE id NOT IN (SELECT test FROM attempts)",
    # One of the newest may be a run that goes on, and has no attempts yet.
    (
        "DELETE FROM runs WHERE id NOT IN (SELECT run FROM attempts) AND id NOT IN (SELECT run FROM run_facts)"
        " AND id <= (SELECT max(id) FROM runs) - 1000"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Keep this many attempts per test, and those of this many days before the three runs that came before the last."""

    per_test: int = KEPT_PER_TEST
    days: float = 365.0


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of what is done inside, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def prune(connection: sqlite3.Connection, retention: Retention) -> int:
    """Delete what is past retention, and tests and runs of which nothing is left; return how many attempts."""
    before = connection.total_changes
    with transaction(connection):
        over = connection.execute(_OVERFULL, (retention.per_test,)).fetchall()
        connection.executemany(_TRIM, ((test, test, retention.per_test) for (test,) in over))
        connection.execute(_AGED, (retention.days * _DAY_S,))
        removed = connection.total_changes - before
        trends.forget_old_runs(connection)
        if removed:
            for statement in _ORPHANS:
                connection.execute(statement)
    return removed
