from __future__ import annotations

from pathlib import Path

from recorded import Tape, decision, leave, leave_all, suite, write_events

from drm.model import events as ev
from drm.model.plan import ScalingAction
from drm.model.work import Outcome
from drm.reporting.attention import attention
from drm.reporting.collect import build_report
from drm.reporting.terminal import closing_lines
from drm.summary import summarise


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


def test_a_limit_that_is_hit_again_and_again_is_one_entry_with_when_most_was_wanted(tmp_path: Path) -> None:
    tape = Tape(["t"])
    for place, (wanted, worker_type) in enumerate(((5, "cpu"), (9, "cpu"), (7, "cpu"), (3, "gpu"))):
        reason = f"{wanted} {worker_type} workers are wanted, but the maximum of 2 in all is reached"
        denied = decision(ScalingAction.DENIED, reason, wanted=wanted, worker_type=worker_type)
        tape.add(ev.ScalingDecided, 1.0 + place, decision=denied)
    tape.test("t", 6.0)
    tape.close(7.0)
    leave(tmp_path / "run", tape)
    found = [item for item in attention(build_report(tmp_path)) if item.kind == "denied"]
    assert [(item.what, item.why.partition(",")[0], item.at_s, item.times) for item in found] == [
        ("scaling, 3 times", "9 cpu workers are wanted", 1.0, 3),
        ("scaling, 1 time", "3 gpu workers are wanted", 4.0, 1),
    ]
    lines = closing_lines(summarise(tape.events))
    assert [line.partition(",")[0] for line in lines if "denied" in line] == [
        "drm: scaling was denied 3 times: 9 cpu workers are wanted",
        "drm: scaling was denied: 3 gpu workers are wanted",
    ]
