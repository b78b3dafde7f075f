"""Files of older formats: raised with all that is in them, by one of several at a time, or not at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from drm.history import open_history, schema
from drm.history.database import Database
from drm.history.retention import Retention
from drm.model.samples import RunFacts, Sample
from drm.model.work import Outcome, Usage

OLD = Sample(
    task_id="m.py::a", usage=Usage(wall_s=1.0, cpu_s=0.5, peak_rss_bytes=7), outcome=Outcome.PASSED, at=5.0, machine="m"
)


def first_format(path: Path) -> None:
    """Write a file as the first version did."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"BEGIN;{schema.STEPS[0]}PRAGMA user_version = 1;COMMIT;")
    connection.execute("INSERT INTO tests VALUES (1, 'm.py::a')")
    connection.execute("INSERT INTO runs VALUES (1, 'run-1')")
    connection.execute("INSERT INTO attempts VALUES (1, 1, 1, 'passed', 1.0, 0.5, 7, 5.0, 'm')")
    connection.close()


def shape(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    connection.close()
    return [(name, " ".join(sql.split())) for name, sql in rows]


def test_an_old_file_is_raised_and_keeps_what_it_holds(tmp_path: Path) -> None:
    first_format(tmp_path / "old.db")
    with_warning: list[str] = []
    store = open_history(tmp_path / "old.db", warn=with_warning.append)
    assert store.samples(["m.py::a"]) == {"m.py::a": [OLD]}
    store.begin(RunFacts(run_id="run-2", commit="c0ffee", branch="main"))
    store.record("run-2", [OLD])
    assert len(store.samples(["m.py::a"])["m.py::a"]) == 2
    store.close()
    assert with_warning == []
    Database(tmp_path / "new.db").close()
    assert shape(tmp_path / "old.db") == shape(tmp_path / "new.db"), "one format, whichever way it came about"


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.db"
    first_format(path)
    before = shape(path)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS[:-1], schema.STEPS[-1] + "ALTER TABLE nowhere ADD COLUMN x"))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        Database(path)
    assert shape(path) == before
    monkeypatch.undo()
    store = Database(path)
    assert store.samples(["m.py::a"]) == {"m.py::a": [OLD]}
    store.close()


def test_two_may_raise_a_file_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    first_format(path)
    late = sqlite3.connect(path, isolation_level=None)
    Database(path).close()
    schema.raise_to_current(late)  # it had looked before the other was done
    assert schema.version_of(late) == schema.SCHEMA_VERSION
    late.close()


def test_what_a_newer_version_wrote_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    connection.close()
    lines: list[str] = []
    store = open_history(path, warn=lines.append)
    store.record("run", [OLD])
    store.close()
    assert len(lines) == 1
    assert "newer drm" in lines[0]


def test_what_is_old_goes_by_the_clock_of_the_attempts(tmp_path: Path) -> None:
    store = Database(tmp_path / "h.db")
    day = 86400.0
    at = {"ancient": 0.0, "recent": 400 * day, "b": 500 * day, "wrong": 9e9, "c": 510 * day, "wrong too": 9e9}
    for name, when in at.items():
        store.record(name, [Sample(task_id=name, usage=OLD.usage, outcome=Outcome.PASSED, at=when)])
    assert store.prune(Retention(days=365)) == 1
    assert sorted(store.samples(list(at))) == ["b", "c", "recent", "wrong", "wrong too"]
    assert store.connection.execute("SELECT count(*) FROM tests").fetchone() == (5,)
    store.close()


def test_a_run_that_has_begun_is_no_leftover_to_one_that_ends(tmp_path: Path) -> None:
    long = Database(tmp_path / "h.db")
    long.begin(RunFacts(run_id="long", commit="abc", branch="main"))
    short = Database(tmp_path / "h.db")
    short.record("short", [OLD] * 60)
    short.close()
    long.record("long", [OLD])
    runs = long.connection.execute("SELECT run_id, revision, begun_on FROM runs ORDER BY id").fetchall()
    long.close()
    assert runs == [("long", "abc", "main"), ("short", "", "")]


def test_a_renamed_test_is_followed_where_that_is_beyond_doubt(tmp_path: Path) -> None:
    store = Database(tmp_path / "h.db")

    def row(task_id: str, source: int) -> Sample:
        return Sample(task_id=task_id, usage=OLD.usage, outcome=Outcome.PASSED, source=source)

    store.record("run", [row("m.py::old", 11), row("m.py::twin1", 22), row("m.py::twin2", 22), row("m.py::kept", 33)])
    sources = {"m.py::new": 11, "m.py::which": 22, "m.py::kept": 33, "m.py::copy": 33, "m.py::unknown": 0}
    assert store.namesakes(sources) == {"m.py::new": "m.py::old"}
    assert store.namesakes({"m.py::a": 11, "m.py::b": 11}) == {}, "two lay claim to it"
    store.close()
