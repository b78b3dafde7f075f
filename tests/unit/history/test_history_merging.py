"""Histories of several machines in one file, as often as one likes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from drm.history import schema
from drm.history.database import Database
from drm.history.flakiness import flaky_rates, wilson
from drm.history.merging import merge
from drm.model.errors import ConfigError
from drm.model.samples import RunFacts, Sample
from drm.model.work import Outcome, Usage


def row(task_id: str, at: float, outcome: Outcome = Outcome.PASSED, attempt: int = 1) -> Sample:
    usage = Usage(wall_s=at + 1, peak_rss_bytes=5)
    return Sample(task_id=task_id, usage=usage, outcome=outcome, at=at, attempt=attempt, source=9, reserved_bytes=8)


def shard(path: Path, run_id: str, *rows: Sample, commit: str = "") -> Path:
    store = Database(path)
    store.begin(RunFacts(run_id=run_id, commit=commit, branch="main"))
    store.record(run_id, rows)
    store.close()
    return path


def contents(store: Database) -> list[tuple[object, ...]]:
    query = "SELECT task_id, run_id, at, attempt, attempts.source, reserved_bytes FROM attempts"
    joins = "JOIN tests ON tests.id = test JOIN runs ON runs.id = run ORDER BY attempts.id"
    return store.connection.execute(f"{query} {joins}").fetchall()


def test_shards_merge_into_one_and_again_change_nothing(tmp_path: Path) -> None:
    first = shard(tmp_path / "a.db", "run-a", row("t1", 10.0), row("t2", 11.0))
    second = shard(tmp_path / "b.db", "run-b", row("t2", 5.0), row("t3", 12.0))
    into = Database(tmp_path / "all.db")
    assert merge(into, first).attempts == 2
    merged = merge(into, second)
    assert (merged.attempts, merged.tests, merged.runs, merged.present) == (2, 1, 1, 0)
    before = contents(into)
    assert [entry[2] for entry in before] == [5.0, 10.0, 11.0, 12.0], "the oldest first, whichever came first"
    for path in (first, second, first):
        assert merge(into, path).attempts == 0
    assert contents(into) == before
    assert into.samples(["t2"])["t2"][-1].at == 11.0
    into.close()


def test_what_was_added_to_a_run_since_is_taken_over(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.db", "run", row("t1", 1.0))
    into = Database(tmp_path / "all.db")
    merge(into, path)
    shard(path, "run", row("t1", 2.0, attempt=2))
    assert merge(into, path).attempts == 1
    into.close()


def test_an_older_file_is_raised_in_a_copy_only(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(f"BEGIN;{schema.STEPS[0]}PRAGMA user_version = 1;COMMIT;")
    connection.executescript(
        "INSERT INTO tests VALUES (1, 't'); INSERT INTO runs VALUES (1, 'r');"
        "INSERT INTO attempts VALUES (1, 1, 1, 'passed', 1.0, 0.5, 7, 5.0, 'm');"
    )
    connection.close()
    before = path.read_bytes()
    into = Database(tmp_path / "all.db")
    assert merge(into, path).attempts == 1
    into.close()
    assert path.read_bytes() == before


def test_what_is_no_history_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database, and long enough to be taken for one" * 30)
    into = Database(tmp_path / "all.db")
    with pytest.raises(ConfigError, match="no history that can be read"):
        merge(into, tmp_path / "x.db")
    with pytest.raises(ConfigError, match="there is no file"):
        merge(into, tmp_path / "y.db")
    assert contents(into) == []
    into.close()


def test_flaky_is_what_failed_and_passed_on_one_state_of_the_code(tmp_path: Path) -> None:
    store = Database(tmp_path / "h.db")
    bad, good = Outcome.FAILED, Outcome.PASSED
    for run, commit, outcomes in (
        ("1", "c1", (bad, good)),
        ("2", "c2", (good,)),
        ("3", "c2", (bad,)),
        ("4", "c3", (good,)),
    ):
        store.begin(RunFacts(run_id=run, commit=commit))
        rows = [row("wild", float(run), outcome, attempt) for attempt, outcome in enumerate(outcomes, 1)]
        store.record(run, [*rows, row("steady", float(run)), row("broken", float(run), bad)])
    wild, *others = flaky_rates(store.connection)
    assert (wild.task_id, wild.seen, wild.flaky, wild.failed_last) == ("wild", 3, 2, False)
    assert wild.low < wild.rate < wild.high
    assert all(rate.flaky == 0 for rate in others)
    risks = store.risks()
    assert risks["broken"].chance > risks["wild"].chance > risks["steady"].chance
    assert risks["broken"].failed_last
    assert not risks["steady"].has_failed
    store.close()


def test_the_interval_of_a_rate() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(5, 10)  # Wilson (1927): 0.2366 to 0.7634
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(0, 10)[0] == pytest.approx(0.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
