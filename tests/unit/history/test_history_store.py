"""What the history keeps, one suite over the file and over memory."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from unwarned import no_warning

from drm.history import MemoryHistory, open_history
from drm.history.database import Database
from drm.history.schema import SCHEMA_VERSION
from drm.model.samples import Sample
from drm.model.work import Outcome, Usage
from drm.past import attempts_to_learn_from
from drm.ports import HistoryStore

Open = Callable[[], HistoryStore]


def sample(task_id: str, wall_s: float = 1.0, outcome: Outcome | None = Outcome.PASSED) -> Sample:
    return Sample(
        task_id=task_id,
        usage=Usage(wall_s=wall_s, cpu_s=wall_s / 2, peak_rss_bytes=int(wall_s * 1000), gpu_bytes=int(wall_s * 500)),
        outcome=outcome,
        at=1.75e9 + wall_s,
        machine="m",
    )


def test_samples_come_back_as_they_were_oldest_first(store: HistoryStore) -> None:
    rows = [sample("a", 1.0), sample("a", 2.0, Outcome.FAILED), sample("a", 3.0, None)]
    store.record("run-1", rows[:2])
    store.record("run-2", [*rows[2:], sample("b")])
    assert store.samples(["a", "never seen"]) == {"a": rows}
    assert store.samples(["b", "a"], last=1) == {"a": rows[2:], "b": [sample("b")]}
    assert store.samples([]) == {}
    assert store.samples(["a"], last=0) == {}


def test_the_newest_fifty_are_kept(store: HistoryStore, path: Path) -> None:
    store.record("run", [sample("a", float(number)) for number in range(70)] + [sample("b")])
    assert [row.usage.wall_s for row in store.samples(["a"], last=3)["a"]] == [67.0, 68.0, 69.0]
    if not isinstance(store, MemoryHistory):
        store.close()
        store = open_history(path, warn=no_warning)
    kept = store.samples(["a"], last=1000)["a"]
    assert [row.usage.wall_s for row in kept] == [float(number) for number in range(20, 70)]
    assert len(store.samples(["b"])["b"]) == 1


@pytest.mark.parametrize(
    "usage",
    [
        Usage(wall_s=math.nan),
        Usage(wall_s=-1.0),
        Usage(cpu_s=math.inf),
        Usage(wall_s=1e10),
        Usage(peak_rss_bytes=-1),
        Usage(peak_rss_bytes=2**63),
    ],
    ids=str,
)
def test_what_cannot_have_been_measured_is_left_out(store: HistoryStore, usage: Usage) -> None:
    bad = Sample(task_id="a", usage=usage, outcome=Outcome.PASSED)
    store.record("run", [bad, sample("a", 2.0)])
    assert store.samples(["a"]) == {"a": [sample("a", 2.0)]}


@pytest.mark.parametrize("task_id", ["t[\udce4]", "t[\x00']", "ünï::t", "x" * 10_000, ""])
def test_any_nodeid_is_kept(store: HistoryStore, task_id: str) -> None:
    store.record("run", [sample(task_id)])
    assert store.samples([task_id]) == {task_id: [sample(task_id)]}


def test_a_store_that_was_closed_stays_harmless(store: HistoryStore) -> None:
    store.close()
    store.record("run", [sample("a")])
    store.close()


def test_the_file_outlives_the_process_that_wrote_it(path: Path) -> None:
    first = open_history(path, warn=no_warning)
    first.record("run", [sample("a")])
    first.close()
    assert [each.name for each in path.parent.iterdir()] == ["history.db"]
    second = open_history(path, warn=no_warning)
    assert second.samples(["a"]) == {"a": [sample("a")]}
    second.close()


def test_two_runs_can_write_at_once(path: Path) -> None:
    one, two = open_history(path, warn=no_warning), open_history(path, warn=no_warning)
    for number in range(10):
        one.record("run-1", [sample("a", float(number))])
        two.record("run-2", [sample("a", float(100 + number))])
    assert len(one.samples(["a"])["a"]) == len(two.samples(["a"])["a"]) == 20
    one.close()
    two.close()


def test_ids_are_stored_once_and_the_format_has_a_version(path: Path) -> None:
    store = open_history(path, warn=no_warning)
    for run in ("run-1", "run-1", "run-2"):
        store.record(run, [sample("a"), sample("b")])
    store.close()
    with sqlite3.connect(path) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES]
        assert dict(zip(TABLES, counts, strict=True)) == {"tests": 2, "runs": 2, "attempts": 6}
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


TABLES = ("tests", "runs", "attempts")


def test_a_short_history_is_read_in_one_query_and_a_long_one_to_its_end(path: Path) -> None:
    path.parent.mkdir()
    store = Database(path)
    asked: list[str] = []
    store.connection.set_trace_callback(asked.append)
    store.record("run-1", [sample(name, 1.0) for name in "abc"])
    store.record("run-2", [sample("a", 2.0)])
    asked.clear()
    found = store.samples(["a", "b", "c", "never seen"], last=3)
    assert {name: [row.usage.wall_s for row in rows] for name, rows in found.items()} == {
        "a": [1.0, 2.0],
        "b": [1.0],
        "c": [1.0],
    }
    assert len(asked) == 2, "the newest rows, and whether these are all"
    store.record("run-3", [sample("a", 3.0 + number) for number in range(20)])
    found = store.samples(["a", "b"], last=3)
    assert [row.usage.wall_s for row in found["b"]] == [1.0], "older than the rows that are read first"
    assert [row.usage.wall_s for row in found["a"]] == [20.0, 21.0, 22.0]
    store.abandon()


@pytest.mark.parametrize(("tests", "attempts"), [(0, 20), (1, 20), (500, 20), (1000, 10), (5000, 3), (100_000, 3)])
def test_less_is_learnt_of_each_of_many_tests(tests: int, attempts: int) -> None:
    assert attempts_to_learn_from(tests) == attempts
