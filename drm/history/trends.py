"""What the history file keeps of whole runs, and which tests were flaky in them. Errors are ``sqlite3.Error``."""

from __future__ import annotations

import sqlite3

from drm.model.trends import KEPT_RUNS, FlakyTest, PastRun, Trends

__all__ = ["ALLOCATION", "SCHEMA", "SINCE", "forget_old_runs", "read_trends", "write_run"]

SINCE = 2  # the format that has them
SCHEMA = """
CREATE TABLE IF NOT EXISTS run_facts (
    run INTEGER PRIMARY KEY REFERENCES runs (id),
    branch TEXT NOT NULL,
    suite TEXT NOT NULL,
    at TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    wall_s REAL NOT NULL,
    tests INTEGER NOT NULL,
    bad INTEGER NOT NULL,
    flaky INTEGER NOT NULL,
    slots_busy REAL
) STRICT;
CREATE INDEX IF NOT EXISTS run_facts_of_branch ON run_facts (branch, run);
CREATE VIEW IF NOT EXISTS newest_runs AS
SELECT *, row_number() OVER (PARTITION BY branch, suite ORDER BY run DESC) AS place FROM run_facts;
CREATE INDEX IF NOT EXISTS attempts_bad ON attempts (run, test) WHERE outcome IN ('failed', 'error');
"""
ALLOCATION = "ALTER TABLE run_facts ADD COLUMN allocation_s REAL;"  # since format 4
_HAS_ALLOCATION = "SELECT count(*) FROM pragma_table_info('run_facts') WHERE name = 'allocation_s'"
_INSERT = """
INSERT OR REPLACE INTO run_facts
(run, branch, suite, at, commit_id, machine, wall_s, tests, bad, flaky, slots_busy, allocation_s)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_RUNS = """
SELECT run_id, suite, at, commit_id, machine, wall_s, tests, bad, flaky, slots_busy, allocation_s
FROM newest_runs JOIN runs ON runs.id = run WHERE branch = ? AND place <= ? ORDER BY run
"""
_FLAKY = """
WITH recent AS (SELECT run FROM newest_runs WHERE branch = ? AND place <= ?),
    failed AS (SELECT DISTINCT test, run FROM attempts
        WHERE outcome IN ('failed', 'error') AND run IN recent),
    flaky AS (SELECT failed.test AS test, count(DISTINCT failed.run) AS times, max(passed.at) AS last_at
        FROM failed JOIN attempts AS passed
        ON passed.test = failed.test AND passed.run = failed.run AND passed.outcome = 'passed'
        GROUP BY failed.test)
SELECT task_id, (SELECT count(DISTINCT run) FROM attempts WHERE test = flaky.test AND run IN recent), times, last_at
FROM flaky JOIN tests ON tests.id = flaky.test ORDER BY times DESC, task_id LIMIT 100
"""
_FORGET = "DELETE FROM run_facts WHERE run IN (SELECT run FROM newest_runs WHERE place > ?)"


def write_run(connection: sqlite3.Connection, branch: str, run: PastRun) -> None:
    """Keep the run, in place of what was known of the same."""
    connection.execute("INSERT OR IGNORE INTO runs (run_id) VALUES (?)", (run.run_id,))
    (number,) = connection.execute("SELECT id FROM runs WHERE run_id = ?", (run.run_id,)).fetchone()
    facts = (run.suite, run.at, run.commit, run.machine, run.wall_s, run.tests, run.bad, run.flaky)
    connection.execute(_INSERT, (number, branch, *facts, run.slots_busy, run.allocation_s))


def read_trends(connection: sqlite3.Connection, branch: str, last: int) -> Trends:
    """Return the last runs of each suite of the branch, and the tests that were flaky in them."""
    (has_allocation,) = connection.execute(_HAS_ALLOCATION).fetchone()
    query = _RUNS if has_allocation else _RUNS.replace("allocation_s", "NULL")  # an older file that is only read
    rows = connection.execute(query, (branch, last)).fetchall()
    names = ("run_id", "suite", "at", "commit", "machine", "wall_s", "tests", "bad", "flaky")
    runs = tuple(
        PastRun(**dict(zip(names, row, strict=False)), slots_busy=row[-2], allocation_s=row[-1]) for row in rows
    )
    flaky = tuple(
        FlakyTest(task_id=task_id, runs=runs_of, flaky=times, rate=round(times / runs_of, 4), last_at=last_at)
        for task_id, runs_of, times, last_at in connection.execute(_FLAKY, (branch, last))
    )
    return Trends(branch=branch, runs=runs, flaky=flaky)


def forget_old_runs(connection: sqlite3.Connection) -> None:
    """Keep the facts of the newest 30 runs of each suite of each branch."""
    connection.execute(_FORGET, (KEPT_RUNS,))
