"""Violations that are planted in the record of a run, and beside it, are found: all of them, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import run_checks
from benchmarks.soak import checks, schedule
from drm.model import events
from drm.model.death import DeathKind
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage
from drm.reporting.results import Results
from drm.summary import summarise

ONE = Resources(cpu_cores=1, memory_bytes=2**20)
AT = "2026-01-01T00:00:0{}.000Z"
WANTED = {"t::a": frozenset((Outcome.PASSED,)), "t::b": frozenset((Outcome.FAILED,))}
Record = list[events.Event]


def record(*made: tuple[type[events.Event], dict[str, Any]]) -> Record:
    return [
        kind(seq=number, at=AT.format(number // 10), elapsed_s=number / 10, **fields)
        for number, (kind, fields) in enumerate(made, start=1)
    ]


def clean() -> Record:
    started = {
        "run_id": "r",
        "format_version": 1,
        "command": (),
        "rootdir": "/",
        "drm_version": "0",
        "python": "3",
        "platform": "",
        "machine": "",
        "cpu_cores": 1.0,
        "memory_bytes": 1,
    }
    made: list[tuple[type[events.Event], dict[str, Any]]] = [
        (events.RunStarted, started),
        (events.TestsDiscovered, {"task_ids": tuple(WANTED)}),
        (events.InstanceRequested, {"worker_id": "w", "worker_type": "x", "provider": "local"}),
        (events.WorkerReady, {"worker_id": "w", "worker_type": "x", "capacity": ONE}),
    ]
    for name, outcome in (("t::a", Outcome.PASSED), ("t::b", Outcome.FAILED)):
        which = {"task_id": name, "attempt": 1, "worker_id": "w", "executor_id": "gw0"}
        made += [
            (events.AttemptStarted, {**which, "reserved": ONE}),
            (events.AttemptFinished, {**which, "outcome": outcome, "usage": Usage(wall_s=0.1)}),
            (events.TestFinished, {"task_id": name, "outcome": outcome, "attempts": 1, "wall_s": 0.1}),
        ]
    made += [
        (events.InstanceReleased, {"worker_id": "w", "instance_id": "i", "held_s": 1.0}),
        (events.RunFinished, {"collected": 2, "counts": (("passed", 1), ("failed", 1)), "wall_s": 1.0}),
    ]
    return record(*made)


def found(seen: Record) -> list[str]:
    told = Results(summary=summarise(clean()), collected=2)
    return [
        *run_checks.ended_once(seen, WANTED, run_checks.given_up(seen).keys()),
        *run_checks.attempts(seen),
        *run_checks.reservations(seen),
        *run_checks.instances(seen),
        *run_checks.times(seen),
        *run_checks.results(seen, told),
    ]


def without(kind: type[events.Event]) -> Callable[[Record], Record]:
    """Leave out the first event of a kind."""

    def plant(seen: Record) -> Record:
        lost = next(event for event in seen if isinstance(event, kind))
        return [event for event in seen if event is not lost]

    return plant


def changed(kind: type[events.Event], **fields: Any) -> Callable[[Record], Record]:
    def plant(seen: Record) -> Record:
        place = next(number for number, event in enumerate(seen) if isinstance(event, kind))
        return [*seen[:place], replace(seen[place], **fields), *seen[place + 1 :]]

    return plant


def again(seen: Record) -> Record:
    ended = next(event for event in seen if isinstance(event, events.TestFinished))
    return [*seen, replace(ended, seq=99, elapsed_s=99.0)]


def test_a_clean_record_has_nothing_wrong() -> None:
    assert found(clean()) == []


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (without(events.TestFinished), "t::a has 0 final outcomes"),
        (again, "t::a has 2 final outcomes"),
        (changed(events.TestFinished, outcome=Outcome.SKIPPED, message="why"), "t::a is skipped: why"),
        (changed(events.TestFinished, task_id="t::c"), "t::c has an outcome and is no test of the suite"),
        (changed(events.TestFinished, attempts=2), "t::a tells of 2 attempts, and there were 1"),
        (changed(events.TestFinished, outcome=Outcome.ERROR), "results.json has {'passed': 1, 'failed': 1"),
        (without(events.AttemptFinished), "attempt 1 of t::a began 1 times and ended 0 times"),
        (without(events.AttemptFinished), "w had given out too much with t::b: 2 cpu of 1, 2 MiB memory of 1 MiB"),
        (without(events.AttemptFinished), "t::a still reserves on w"),
        (without(events.AttemptStarted), "attempt 1 of t::a began 0 times and ended 1 times"),
        (changed(events.AttemptStarted, worker_id="w2"), "t::a was started on w2, which was not there"),
        (changed(events.AttemptStarted, seq=99), "t::a was started after its final outcome"),
        (without(events.InstanceReleased), "the machine of w was neither released nor lost"),
        (changed(events.TestsDiscovered, elapsed_s=50.0), "event 3 is at 0.3 s, before event 2 at 50 s"),
        (changed(events.AttemptFinished, usage=Usage(wall_s=-7200.0)), "attempt 1 of t::a took -7200 s of a run"),
    ],
)
def test_what_is_planted_is_found(plant: Callable[[Record], Record], told: str) -> None:
    assert any(line.startswith(told) for line in found(plant(clean()))), found(plant(clean()))


def test_a_test_that_was_given_up_is_known_by_its_last_death_and_how_often_it_died() -> None:
    seen = clean()
    assert run_checks.given_up(seen) == {}
    assert run_checks.given_up(changed(events.AttemptFinished, outcome=None, death=DeathKind.LOST)(seen)) == {}, (
        "passed"
    )
    last = max(number for number, event in enumerate(seen) if isinstance(event, events.AttemptFinished))
    died = replace(seen[last], outcome=None, death=DeathKind.CRASH)
    assert run_checks.given_up([*seen[:last], died, died, *seen[last + 1 :]]) == {"t::b": 2}


def test_a_test_that_ran_too_late() -> None:
    at = 1767225600.0  # the second at which all has ended
    assert run_checks.ran_too_late(clean(), [(at, "t::a"), (at + 1.5, "t::a"), (at + 9, "unknown")]) == [
        "t::a ran after its final outcome was recorded"
    ]


def test_files_that_may_and_may_not_be_there(tmp_path: Path) -> None:
    (tmp_path / "suite.py").touch()
    before = checks.listing(tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "any").touch()
    assert checks.files(tmp_path, before, checks.IN_PROJECT) == []
    (tmp_path / "drm-left").mkdir()
    (tmp_path / "suite.py").unlink()
    assert [
        line.partition(" in ")[0].partition(" from ")[0] for line in checks.files(tmp_path, before, ["reports*"])
    ] == [
        "drm-left is left",
        "suite.py has gone",
    ]


def test_accounts_junit_and_pages_that_do_not_add_up(tmp_path: Path) -> None:
    good = "drm: 3 tests = 1 passed + 1 failed + 1 error; 2 executors"
    assert checks.account(good, 3) == []
    assert checks.account(good, 4) != []
    assert checks.account("drm: 3 tests = 1 passed + 1 failed; x", 3) != []
    assert checks.account(f"INTERNALERROR> x\n{good}", 3) == ["the output says INTERNALERROR"]
    case = '<testcase classname="t" name="a"/>'
    bad = '<testcase classname="t" name="b"><failure/></testcase>'
    for cases, wrong in ((case + bad, 0), (case + case + bad, 1), (case, 2)):
        path = tmp_path / "junit.xml"
        path.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
        assert len(checks.junit(path, 2, 1)) == wrong
    page = tmp_path / "report.html"
    page.write_text("<html><body><script id='data'>H4sIAAAAAAAC/wMAAAAAAAAAAAA=</script></body></html>")
    assert checks.page(page) == []
    page.write_text("<html><body><script id='data'>H4sIAAAAAAAC/wMA")
    assert checks.page(page) != []


def test_a_damaged_history_is_found(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 200)
    connection.close()
    assert checks.history(path) == []
    path.write_bytes(path.read_bytes()[:20_000])
    assert checks.history(path) != []


def test_a_controller_that_grows_is_found() -> None:
    flat = [(n, 50_000_000 + n % 3 * 4096) for n in range(0, 2000, 10)]
    steep = [(n, 50_000_000 + 5000 * n) for n in range(0, 2000, 10)]
    assert checks.memory_slope(flat) == pytest.approx(0, abs=50)
    assert checks.memory_slope(steep) == pytest.approx(5000)
    assert checks.memory_slope(flat[:10]) is None


def test_every_fault_comes_in_every_turn_and_a_run_is_the_same_each_time() -> None:
    for turn in range(3):
        runs = [schedule.plan(7, number) for number in range(20 * turn, 20 * turn + 22)]
        assert {name for run in runs for name in run.faults} >= set(schedule.FAULTS)
    assert schedule.plan(7, 3) == schedule.plan(7, 3)
    for number in range(400):
        run = schedule.plan(7, number)
        assert all(run.mode in schedule.FAULTS[name].modes for name in run.faults), run
        assert run.suite == "marathon" or all(run.suite in schedule.FAULTS[name].suites for name in run.faults), run
