"""The history file: SQLite in WAL mode, one row per attempt. Errors are ``sqlite3.Error``, as they come."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from drm.history import trends
from drm.history.flakiness import flaky_rates
from drm.history.retention import Retention, prune, transaction
from drm.history.samples import is_sound
from drm.history.schema import PATIENCE_S, SCHEMA_VERSION, open_for_reading, raise_to_current, version_of, write_ahead
from drm.model.errors import ConfigError
from drm.model.samples import Risk, RunFacts, Sample
from drm.model.trends import KEPT_RUNS, PastRun, Trends
from drm.past import OUTCOMES, Attempts, Row

_NEWEST = """
SELECT outcome, wall_s, cpu_s, peak_rss_bytes, at, machine, attempts.source, death, reserved_bytes, gpu_bytes
FROM attempts WHERE test = (SELECT id FROM tests WHERE task_id = ?) ORDER BY id DESC LIMIT ?
"""
_LATEST = """
SELECT outcome, wall_s, cpu_s, peak_rss_bytes, at, machine, attempts.source, death, reserved_bytes, gpu_bytes,
    tests.task_id
FROM attempts JOIN tests ON tests.id = attempts.test
WHERE attempts.id > (SELECT max(id) FROM attempts) - ? ORDER BY attempts.id
"""
_OF_RUN = """
SELECT outcome, wall_s, cpu_s, peak_rss_bytes, at, machine, attempts.source, death, reserved_bytes, gpu_bytes,
    tests.task_id
FROM attempts JOIN tests ON tests.id = attempts.test
WHERE run = (SELECT max(id) FROM runs WHERE origin = '' AND id IN (SELECT run FROM attempts)) ORDER BY attempts.id
"""
_KNOW = """
INSERT INTO tests (task_id, source) VALUES (?, ?) ON CONFLICT (task_id)
DO UPDATE SET source = excluded.source WHERE excluded.source NOT IN (0, source)
"""
_INSERT = """
INSERT INTO attempts (test, run, outcome, wall_s, cpu_s, peak_rss_bytes, at, machine,
                      attempt, reserved_bytes, reserved_cores, gpus, gpu_bytes, death, source)
VALUES ((SELECT id FROM tests WHERE task_id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_FEW, _PRUNED_EVERY = 1000, 10


class Database:
    """Implements ``HistoryStore`` on one connection.

    WAL with synchronous=NORMAL: a process killed at any instruction loses at most the
    batch it was writing, a machine that loses power at most the last batches; the
    file stays sound (https://www.sqlite.org/wal.html). ConfigError for a file that a
    newer version wrote, and for one without a history that may only be read. An older one is raised to this version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._connection = (
            open_for_reading(path) if read_only else sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)
        )
        self._recorded = self._run = 0
        self._knows_sources = True
        try:
            self._prepare(path, read_only=read_only)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, path: Path, *, read_only: bool) -> None:
        version = version_of(self._connection)
        if version > SCHEMA_VERSION:
            raise ConfigError(
                f"{path} was written by a newer drm (format {version}, this one knows {SCHEMA_VERSION})",
                remedy="upgrade drm, or move the file away",
            )
        if read_only:
            if version == 0:  # its making failed: there is nothing to read
                raise ConfigError(f"{path} holds no history", remedy="delete it")
            self._knows_sources = version >= 3
            return
        write_ahead(self._connection, PATIENCE_S)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if version < SCHEMA_VERSION:
            raise_to_current(self._connection)
        else:
            self._connection.execute("SELECT source FROM attempts LIMIT 1").fetchone()

    @property
    def connection(self) -> sqlite3.Connection:
        """For the other modules of this package: what they ask and change is theirs to know."""
        return self._connection

    def begin(self, facts: RunFacts) -> None:
        """Note what is known of a run; its attempts come with ``record``."""
        self._connection.execute(
            "INSERT INTO runs (run_id, revision, begun_on, begun_at, origin) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (run_id) DO UPDATE SET revision = excluded.revision, begun_on = excluded.begun_on,"
            " begun_at = excluded.begun_at, origin = excluded.origin",
            (facts.run_id, _text(facts.commit), _text(facts.branch), facts.started_at, facts.origin),
        )

    def record(self, run_id: str, samples: Iterable[Sample]) -> None:
        """Insert the samples in one transaction; those that cannot have been measured are left out."""
        rows = [sample for sample in samples if is_sound(sample)]
        if not rows:
            return
        connection = self._connection
        with transaction(connection):
            connection.execute("INSERT OR IGNORE INTO runs (run_id) VALUES (?)", (run_id,))
            (run,) = connection.execute("SELECT id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            connection.executemany(_KNOW, ((_text(row.task_id), row.source) for row in rows))
            connection.executemany(_INSERT, (_values(row, run) for row in rows))
        self._recorded += len(rows)
        self._run = run

    def record_run(self, branch: str, run: PastRun) -> None:
        """Keep what the run came to."""
        with transaction(self._connection):
            trends.write_run(self._connection, branch, run)

    def trends(self, branch: str, *, last: int = KEPT_RUNS) -> Trends:
        """Return the last runs of each suite of the branch, and the tests that were flaky in them."""
        if version_of(self._connection) < trends.SINCE:  # an older file that may only be read
            return Trends(branch=branch)
        return trends.read_trends(self._connection, branch, last)

    def samples(self, task_ids: Sequence[str], *, last: int = 20) -> Mapping[str, Sequence[Sample]]:
        """Return the newest attempts per test, oldest first; tests never seen are left out."""
        last = max(0, last)
        latest, is_all = self._latest(last * len(task_ids)) if len(task_ids) > 1 else ({}, False)
        found = {}
        for task_id in task_ids:
            rows = latest.get(_text(task_id), [])
            if len(rows) > last:
                rows = rows[-last:] if last else []
            if len(rows) < last and not is_all:
                newest = self._connection.execute(self._query(_NEWEST), (_text(task_id), last)).fetchall()
                rows = [row for row in reversed(newest) if row[0] in OUTCOMES]
            if rows:
                found[task_id] = Attempts(task_id, rows)
        return found

    def _query(self, text: str) -> str:
        """Return the query as the file's format allows: one that may only be read can be older."""
        return (
            text
            if self._knows_sources
            else text.replace("attempts.source, death, reserved_bytes, gpu_bytes", "0, '', 0, 0")
        )

    def _latest(self, rows: int) -> tuple[dict[str, list[Row]], bool]:
        """Return the file's newest rows by test, oldest first, and whether these are all that there are.

        A suite that is run again and again finds nearly all it asks for there, in one query instead of
        one for each test.
        """
        latest: dict[str, list[Row]] = {}
        for row in self._connection.execute(self._query(_LATEST), (rows,)):
            if row[0] in OUTCOMES:
                known = latest.get(row[-1])
                if known is None:
                    latest[row[-1]] = [row]
                else:
                    known.append(row)
        (newest, oldest) = self._connection.execute(
            "SELECT (SELECT max(id) FROM attempts), (SELECT min(id) FROM attempts)"
        ).fetchone()
        return latest, newest is None or oldest > newest - rows

    def task_ids(self) -> list[str]:
        """Return every test of which attempts are kept, in the order in which they were first seen."""
        return [task_id for (task_id,) in self._connection.execute("SELECT task_id FROM tests ORDER BY id")]

    def risks(self) -> Mapping[str, Risk]:
        """Return, by test of which an outcome is kept, how likely it fails."""
        rates = flaky_rates(self._connection) if self._knows_sources else []
        return {
            rate.task_id: Risk(chance=rate.risk, failed_last=rate.failed_last, has_failed=rate.bad > 0)
            for rate in rates
        }

    def last_run(self) -> list[Sample]:
        """Return the attempts of the newest run that was recorded here, as far as they are kept."""
        rows = self._connection.execute(_OF_RUN).fetchall() if self._knows_sources else []
        return [sample for row in rows for sample in Attempts(row[-1], [row])]

    def namesakes(self, sources: Mapping[str, int]) -> Mapping[str, str]:
        """Return what tests never seen were called before, where that is beyond doubt."""
        if not (sources and self._knows_sources):
            return {}
        seen = set(self.task_ids())
        fresh = {task_id: source for task_id, source in sources.items() if source and _text(task_id) not in seen}
        claimed = Counter(fresh.values())
        found = {}
        for task_id, source in fresh.items():
            rows = self._connection.execute("SELECT task_id FROM tests WHERE source = ? LIMIT 2", (source,)).fetchall()
            if claimed[source] == 1 and len(rows) == 1 and rows[0][0] not in sources:
                found[task_id] = str(rows[0][0])
        return found

    def prune(self, retention: Retention | None = None) -> int:
        """Leave out what is past retention; return how many attempts that were."""
        removed = prune(self._connection, retention or Retention())
        self._recorded = 0
        return removed

    def close(self) -> None:
        """Prune (after a long run only every tenth time: it reads the whole file), then close: the WAL is folded in."""
        try:
            if 0 < self._recorded <= _FEW or (self._recorded and self._run % _PRUNED_EVERY == 0):
                self.prune()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._connection.close()


def _text(task_id: str) -> str:
    """Return the id as SQLite can hold it: a nodeid may carry bytes that are no UTF-8."""
    return task_id if task_id.isascii() else task_id.encode("utf-8", "backslashreplace").decode("utf-8")


def _values(sample: Sample, run: int) -> tuple[object, ...]:
    usage = sample.usage
    outcome = sample.outcome.value if sample.outcome is not None else None
    return (
        _text(sample.task_id),
        run,
        outcome,
        float(usage.wall_s),
        float(usage.cpu_s),
        int(usage.peak_rss_bytes),
        float(sample.at),
        sample.machine,
        sample.attempt,
        int(sample.reserved_bytes),
        float(sample.reserved_cores),
        sample.gpus,
        int(usage.gpu_bytes),
        sample.death,
        sample.source,
    )
