"""What the history keeps of whole runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from unwarned import no_warning

from drm.history import open_history, past_trends
from drm.history.schema import STEPS
from drm.model.samples import Sample
from drm.model.trends import PastRun
from drm.model.work import Outcome, Usage
from drm.ports import HistoryStore


def run(number: int, suite: str = "unit") -> PastRun:
    return PastRun(
        run_id=f"run-{suite}-{number}",
        suite=suite,
        at=f"2026-11-{number // 24 + 1:02d}T{number % 24:02d}:00:00.000Z",
        commit=f"c{number}",
        machine="m",
        wall_s=float(number),
        tests=10,
        bad=1,
        flaky=2,
        slots_busy=0.5 if number % 2 else None,
        allocation_s=number / 8,
    )


def samples(name: str, *outcomes: Outcome | None) -> list[Sample]:
    usage = Usage(wall_s=1.0, cpu_s=1.0, peak_rss_bytes=1)
    return [Sample(task_id=name, usage=usage, outcome=outcome, at=1.75e9, machine="m") for outcome in outcomes]


def test_the_last_thirty_of_each_suite_of_the_branch_come_back_oldest_first(store: HistoryStore) -> None:
    for number in range(40):
        store.record_run("main", run(number))
        store.record_run("topic", run(number, "other"))
    store.record_run("main", run(99, "e2e"))
    found = store.trends("main")
    assert [row for row in found.runs if row.suite == "unit"] == [run(number) for number in range(10, 40)]
    assert [row for row in found.runs if row.suite != "unit"] == [run(99, "e2e")]
    assert (found.branch, store.trends("none").runs) == ("main", ())
    assert store.trends("topic", last=2).runs == (run(38, "other"), run(39, "other"))


def test_a_test_is_flaky_where_it_failed_and_passed_in_one_run(path: Path) -> None:
    store = open_history(path, warn=no_warning)
    for number in range(4):
        flaky = [Outcome.FAILED, Outcome.PASSED] if number < 3 else [Outcome.PASSED]
        rows = samples("flaky", *flaky) + samples("bad", Outcome.FAILED) + samples("lost", None, Outcome.PASSED)
        once = samples("once", Outcome.ERROR, Outcome.PASSED) if number == 0 else samples("once", Outcome.PASSED)
        store.record(f"run-unit-{number}", rows + once)
        store.record_run("main", run(number))
    store.record("run-unit-7", samples("elsewhere", Outcome.FAILED, Outcome.PASSED))
    store.record_run("topic", run(7))
    found = store.trends("main").flaky
    assert [(row.task_id, row.runs, row.flaky, row.rate) for row in found] == [
        ("flaky", 4, 3, 0.75),
        ("once", 4, 1, 0.25),
    ]
    store.close()
    assert past_trends(path, "main", warn=no_warning).flaky == found


def test_old_runs_are_forgotten_when_the_file_is_closed(path: Path) -> None:
    store = open_history(path, warn=no_warning)
    store.record("run-unit-0", samples("a", Outcome.PASSED))
    for number in range(40):
        store.record_run("main", run(number))
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM run_facts").fetchone() == (30,)


def test_a_file_of_the_first_format_is_taken_on(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.executescript(f"{STEPS[0]}PRAGMA user_version = 1;")
    assert past_trends(path, "main", warn=no_warning).runs == ()
    store = open_history(path, warn=no_warning)
    store.record_run("main", run(1))
    assert store.trends("main").runs == (run(1),)


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"x" * 5000), lambda path: path.mkdir()])
def test_what_cannot_be_read_is_one_line_and_is_left_as_it_is(path: Path, spoil: Callable[[Path], None]) -> None:
    path.parent.mkdir()
    spoil(path)
    lines: list[str] = []
    assert past_trends(path, "main", warn=lines.append).runs == ()
    (line,) = lines
    assert str(path) in line
    assert "\n" not in line
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_file_is_read_while_a_run_writes_to_it(path: Path) -> None:
    store = open_history(path, warn=no_warning)
    assert past_trends(path, "main", warn=no_warning).runs == ()
    store.record_run("main", run(1))
    assert past_trends(path, "main", warn=no_warning).runs == (run(1),)


def test_a_file_of_a_newer_drm_is_told(path: Path) -> None:
    open_history(path, warn=no_warning).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    lines: list[str] = []
    past_trends(path, "main", warn=lines.append)
    assert "it is of format 99" in lines[0]


def test_a_file_from_before_allocation_times_is_only_read(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.executescript(";".join(STEPS[:3]) + ";PRAGMA user_version = 3;")
        connection.execute("INSERT INTO runs (run_id) VALUES ('run-unit-1')")
        connection.execute(
            "INSERT INTO run_facts (run, branch, suite, at, commit_id, machine, wall_s, tests, bad, flaky)"
            " VALUES (1, 'main', 'unit', '2026', 'c', 'm', 1.0, 10, 1, 2)"
        )
    (found,) = past_trends(path, "main", warn=no_warning).runs
    assert (found.slots_busy, found.allocation_s) == (None, None)
    store = open_history(path, warn=no_warning)
    store.record_run("main", run(2))
    assert [one.allocation_s for one in store.trends("main").runs] == [None, 0.25]
    store.close()


def test_no_file_is_no_news(path: Path) -> None:
    assert past_trends(path, "main", warn=no_warning).runs == ()
    assert not path.parent.exists()
