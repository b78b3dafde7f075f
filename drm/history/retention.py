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
# By the attempts' own clock: a machine whose clock is wrong today empties no file.
_AGED = "DELETE FROM attempts WHERE at < (SELECT max(at) FROM attempts WHERE run < (SELECT max(run) FROM attempts)) - ?"
_ORPHANS = (
    "DELETE FROM tests WHERE id NOT IN (SELECT test FROM attempts)",
    "DELETE FROM runs WHERE id NOT IN (SELECT run FROM attempts) AND id NOT IN (SELECT run FROM run_facts)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Keep this many attempts per test, and those of this many days before the last run but one."""

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
