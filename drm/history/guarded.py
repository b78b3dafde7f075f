"""A history that never stops a run: what goes wrong with its file is said once, and the run goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from drm.history.database import Database
from drm.history.memory import MemoryHistory
from drm.history.schema import SCHEMA_VERSION, open_for_reading, version_of
from drm.history.trends import SINCE, read_trends
from drm.model.errors import ConfigError
from drm.model.samples import Risk, RunFacts, Sample
from drm.model.trends import KEPT_RUNS, PastRun, Trends
from drm.ports import HistoryStore

_Result = TypeVar("_Result")
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BESIDE = ("", "-wal", "-shm")


def open_history(path: Path, *, warn: Callable[[str], None]) -> HistoryStore:
    """Return the history kept in ``path``, made (with its folder) where it is not there.

    Never raises for what is wrong with the file; ``warn`` is given one line instead:
    a damaged file is set aside as ``<name>.damaged-<utc>`` and a fresh one begun; a
    file of a newer version, and one that cannot be opened, is left alone, and this
    run's attempts are kept in memory; a file that cannot be written is still read.
    """
    return GuardedHistory(path, warn)


class GuardedHistory:
    """Implements ``HistoryStore``: hands every call to the file, and changes over when that fails."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._store: HistoryStore = self._open()

    def begin(self, facts: RunFacts) -> None:
        """Note what is known of a run."""
        self._guard(lambda store: store.begin(facts), "written")

    def risks(self) -> Mapping[str, Risk]:
        """Return how likely tests fail."""
        return self._guard(lambda store: store.risks(), "read")

    def namesakes(self, sources: Mapping[str, int]) -> Mapping[str, str]:
        """Return what tests never seen were called before."""
        return self._guard(lambda store: store.namesakes(sources), "read")

    def record(self, run_id: str, samples: Iterable[Sample]) -> None:
        """Keep the samples, in the file if that is possible."""
        rows = tuple(samples)
        self._guard(lambda store: store.record(run_id, rows), "written")

    def samples(self, task_ids: Sequence[str], *, last: int = 20) -> Mapping[str, Sequence[Sample]]:
        """Return the newest attempts per test, oldest first; none where the file cannot be read."""
        return self._guard(lambda store: store.samples(task_ids, last=last), "read")

    def record_run(self, branch: str, run: PastRun) -> None:
        """Keep what the run came to, in the file if that is possible."""
        self._guard(lambda store: store.record_run(branch, run), "written")

    def trends(self, branch: str, *, last: int = KEPT_RUNS) -> Trends:
        """Return the last runs of the branch; none where the file cannot be read."""
        return self._guard(lambda store: store.trends(branch, last=last), "read")

    def task_ids(self) -> list[str]:
        """Return the tests there are; none where the file cannot be read."""
        return self._guard(lambda store: store.task_ids(), "read")

    def close(self) -> None:
        """Close the file; later calls go to memory."""
        store, self._store = self._store, MemoryHistory()
        try:
            store.close()
        except sqlite3.Error as error:
            self._warn(f"history {self._path} could not be tidied up ({error}); what was recorded is kept")

    def _guard(self, act: Callable[[HistoryStore], _Result], what: str) -> _Result:
        try:
            return act(self._store)
        except sqlite3.Error as error:
            self._abandon()
            if _is_damage(error):
                self._store = self._begin_afresh(error)
            else:
                self._store = self._read_only(error) if what == "written" else self._none(what, error)
        try:
            return act(self._store)
        except sqlite3.Error as error:
            self._abandon()
            self._store = self._none(what, error)
            return act(self._store)

    def _abandon(self) -> None:
        if isinstance(self._store, Database):
            with suppress(sqlite3.Error):
                self._store.abandon()

    def _open(self) -> HistoryStore:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return Database(self._path)
        except ConfigError as error:
            self._warn(f"{error}; this run goes on without history")
            return MemoryHistory()
        except sqlite3.Error as error:
            return self._begin_afresh(error) if _is_damage(error) else self._read_only(error)
        except OSError as error:
            return self._read_only(error)

    def _none(self, what: str, error: Exception) -> HistoryStore:
        self._give_up(what, error)
        return MemoryHistory()

    def _read_only(self, error: Exception) -> HistoryStore:
        """Go on with a file that cannot be written as far as it can be read."""
        try:
            store = Database(self._path, read_only=True)
        except (sqlite3.Error, ConfigError, OSError):
            self._give_up("opened", error, "this run goes on without history")
            return MemoryHistory()
        self._give_up("written", error, "it is read, and this run's attempts are not kept")
        return ReadOnlyHistory(store)

    def _give_up(self, what: str, error: Exception, so: str = "this run's attempts are not kept") -> None:
        self._warn(f"history {self._path} cannot be {what} ({error}); {so}; {self._remedy(error)}")

    def _remedy(self, error: Exception) -> str:
        """Say what to do about a file that cannot be opened."""
        folder = self._path.parent
        if folder.exists() and not folder.is_dir():
            return f"move the file {folder} away"
        if self._path.exists() and not self._path.is_file():
            return f"move away what is at {self._path}: it is no file"
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return "wait for the program that keeps it locked, or end it"
        return f"free some space, or see to the permissions of {folder}"

    def _begin_afresh(self, error: Exception) -> HistoryStore:
        """Set the damaged file aside, with what SQLite keeps beside it, and begin another."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = f"{self._path.name}.damaged-{stamp}"
        try:
            for suffix in _BESIDE:
                with suppress(FileNotFoundError):
                    Path(f"{self._path}{suffix}").rename(self._path.with_name(aside + suffix))
            store = Database(self._path)
        except (sqlite3.Error, OSError) as again:
            self._warn(f"history {self._path} is damaged ({error}) and cannot be set aside ({again}); move it away")
            return MemoryHistory()
        self._warn(f"history {self._path} is damaged ({error}); set aside as {aside}, a fresh one is begun")
        return store


class ReadOnlyHistory:
    """Implements ``HistoryStore``: reads the file, keeps nothing in it."""

    def __init__(self, store: Database) -> None:
        self._file = store

    def begin(self, facts: RunFacts) -> None:
        """Leave it: that was said when the file was opened."""

    def risks(self) -> Mapping[str, Risk]:
        return self._file.risks()

    def namesakes(self, sources: Mapping[str, int]) -> Mapping[str, str]:
        return self._file.namesakes(sources)

    def record(self, run_id: str, samples: Iterable[Sample]) -> None:
        """Leave the samples: that was said when the file was opened."""

    def samples(self, task_ids: Sequence[str], *, last: int = 20) -> Mapping[str, Sequence[Sample]]:
        return self._file.samples(task_ids, last=last)

    def record_run(self, branch: str, run: PastRun) -> None:
        """Leave the run: that was said when the file was opened."""

    def trends(self, branch: str, *, last: int = KEPT_RUNS) -> Trends:
        return self._file.trends(branch, last=last)

    def task_ids(self) -> list[str]:
        return self._file.task_ids()

    def close(self) -> None:
        self._file.abandon()


def _is_damage(error: Exception) -> bool:
    """Tell whether the file's content is at fault, not its permissions, its lock or the disk."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    no_table = isinstance(error, sqlite3.OperationalError) and "no such" in str(error)
    return (code & 0xFF) in _DAMAGED or no_table


def past_trends(path: Path, branch: str, *, warn: Callable[[str], None]) -> Trends:
    """Return the last runs of the branch from a file that is only read, also while a run writes to it.

    What is wrong with it is said in a line.
    """
    if not path.exists():
        return Trends(branch=branch)
    try:
        with closing(open_for_reading(path)) as connection:
            version = version_of(connection)
            if version <= SCHEMA_VERSION:  # one of before trends has none
                return read_trends(connection, branch, KEPT_RUNS) if version >= SINCE else Trends(branch=branch)
            why: object = f"it is of format {version}, this drm knows {SCHEMA_VERSION}"
    except (sqlite3.Error, OSError) as error:
        why = error
    warn(f"history {path} cannot be read ({why}); the report goes without trends")
    return Trends(branch=branch)
