from __future__ import annotations

from pathlib import Path

from recorded import Tape, leave, leave_all, suite, write_events

from drm.model.work import Outcome
from drm.reporting.attention import attention
from drm.reporting.collect import build_report


def test_nothing_wrong_needs_nobody(tmp_path: Path) -> None:
    leave_all(tmp_path)
    assert attention(build_report(tmp_path)) == []


def test_failures_of_one_cause_are_one_entry(tmp_path: Path) -> None:
    tests = {f"tests/t.py::t{n}": Outcome.FAILED for n in range(5)}
    leave_all(tmp_path, unit=suite("unit", tests, message="no database"))
    (item,) = attention(build_report(tmp_path))
    assert (item.kind, item.stage, item.what, item.why) == (
        "failed",
        "unit",
        "tests/t.py::t0 and 4 more",
        "no database",
    )


def test_killed_test_is_listed_once_and_worst_comes_first(tmp_path: Path) -> None:
    tape = Tape(["t1", "t2", "t3"])
    tape.start("t1", 1.0)
    tape.end("t1", 2.0, Outcome.FAILED, cause="killed by SIGKILL")
    tape.finish("t1", 2.0, Outcome.FAILED, message="killed by SIGKILL")
    tape.finish("t2", 3.0, attempts=2, flaky=True)
    tape.test("t3", 3.0, Outcome.ERROR, "no fixture")
    tape.close(4.0)
    leave(tmp_path / "run", tape, exit_code=1)
    found = [(item.kind, item.what) for item in attention(build_report(tmp_path))]
    assert found == [("failed", "t3"), ("killed", "t1"), ("flaky", "t2")]


def test_missing_broken_and_unreadable_are_listed(tmp_path: Path) -> None:
    write_events(tmp_path / "unit" / "events.ndjson", Tape(["t"]).events)
    (tmp_path / "coverage.json").write_text("{")
    found = [(item.kind, item.stage) for item in attention(build_report(tmp_path))]
    stages = ["integration", "performance", "e2e", "distributed"]
    assert found == [("unreadable", ""), ("error", "unit"), *(("missing", stage) for stage in stages)]


def test_project_without_stages_misses_none(tmp_path: Path) -> None:
    leave(tmp_path / "run", suite("run"))
    assert attention(build_report(tmp_path)) == []
