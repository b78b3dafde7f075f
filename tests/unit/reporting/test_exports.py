"""Reports for other tools: CTRF and traces."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from recorded import GIB, ONE, Tape, decision, leave, suite, write_events

from drm.model import events as ev
from drm.model.plan import ScalingAction
from drm.model.resources import Resources
from drm.model.work import Outcome
from drm.reporting.collect import build_report
from drm.reporting.ctrf import render_ctrf
from drm.reporting.report import Link, Report
from drm.reporting.trace import render_trace

# What the schema of ctrf-io/ctrf asks of a test, and lets it have.
NEEDED = {"name", "status", "duration"}
ALLOWED = NEEDED | {
    *("start", "stop", "suite", "message", "rawStatus", "type", "filePath", "retries", "retryAttempts", "flaky"),
    *("threadId", "extra"),
}
HOSTILE = ("</script><script>alert(1)</script>", "\u202etfel \x00 \x1b[31m \ud800", "x" * 100_000)


def demo(reports: Path) -> Report:
    """Return a run with a retry, a failure, a skip, scaling, a gpu; and one that never finished."""
    names = [f"tests/e2e/test_all.py::TestAll::test_{letter}" for letter in "abcd"]
    tape = Tape(names)
    gpu = Resources(cpu_cores=2, memory_bytes=8 * GIB, gpus=1)
    tape.add(ev.ScalingDecided, 0.2, decision=decision(), outcome="requested w1", requested=("w1",))
    tape.add(ev.InstanceRequested, 0.2, worker_id="w1", worker_type="gpu", provider="local", usd_per_hour=3.6)
    tape.add(ev.WorkerReady, 0.5, worker_id="w1", worker_type="gpu", capacity=gpu, gpu_memory_bytes=80 * GIB)
    tape.add(ev.ScalingDecided, 0.6, decision=decision(ScalingAction.DENIED, "limit"))
    used = {"reserved": ONE, "used": Resources(cpu_cores=1.5, memory_bytes=GIB, gpus=0.5), "executors": 1, "running": 1}
    tape.add(ev.UtilizationSampled, 0.9, worker_id="w1", **used, gpu_memory_bytes=3 * GIB)
    tape.start(names[0], 1.0)
    tape.end(names[0], 1.5, Outcome.FAILED)
    tape.start(names[0], 2.0, attempt=2)
    tape.end(names[0], 2.5, attempt=2)
    tape.finish(names[0], 2.5, attempts=2, flaky=True, message="assert 1 == 2")
    tape.test(names[1], 3.0, Outcome.FAILED, "assert 2 == 3")
    tape.test(names[2], 4.0, Outcome.SKIPPED)
    tape.add(ev.InstanceReleased, 5.0, worker_id="w1", instance_id="i1", held_s=4.5, cost_usd=0.0045)
    tape.close(5.0, reason="interrupted")
    leave(reports / "e2e", tape, exit_code=2, status="failed")
    unfinished = Tape(["tests/integration/test_a.py::test_a"])
    unfinished.start("tests/integration/test_a.py::test_a", 1.0)
    write_events(reports / "integration" / "events.ndjson", unfinished.events)
    links = (Link(title="run", url="https://ci.example/run/1"),)
    return replace(build_report(reports, links=links), created_at="2026-11-23T12:00:00.000Z", drm_version="1.2.3")


def pretty(text: str) -> str:
    return json.dumps(json.loads(text), indent=1) + "\n"


def test_golden_ctrf(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("report.ctrf.json", pretty(render_ctrf(demo(tmp_path))))


def test_golden_trace(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("report.trace.json", pretty(render_trace(demo(tmp_path))))


def check_ctrf(text: str) -> list[dict[str, Any]]:
    """Check what the format's schema says of a document; return its tests."""
    document = json.loads(text)
    assert document.keys() == {"reportFormat", "specVersion", "timestamp", "generatedBy", "results"}
    results = document["results"]
    assert results.keys() == {"tool", "summary", "tests", "environment"}
    summary, tests = results["summary"], results["tests"]
    statuses = ("passed", "failed", "skipped", "pending", "other")
    assert {status: summary[status] for status in statuses} == {
        status: sum(test["status"] == status for test in tests) for status in statuses
    }
    assert summary["tests"] == len(tests)
    assert summary["start"] <= summary["stop"]
    for test in tests:
        assert test.keys() >= NEEDED
        assert test.keys() <= ALLOWED
        assert test["name"]
        assert test["suite"]
        assert all(isinstance(test[key], int) for key in ("duration", "start", "stop", "retries") if key in test)
        assert all(attempt["attempt"] >= 1 for attempt in test.get("retryAttempts", ()))
    return list(tests)


def test_ctrf_counts_every_test_once_and_says_what_retries_did(tmp_path: Path) -> None:
    tests = check_ctrf(render_ctrf(demo(tmp_path)))
    found = sorted((test["name"].partition("::")[2], test["status"]) for test in tests)
    assert found == [
        ("TestAll::test_a", "passed"),
        ("TestAll::test_b", "failed"),
        ("TestAll::test_c", "skipped"),
        ("TestAll::test_d", "pending"),
        ("test_a", "pending"),  # of the run that did not finish
    ]
    (flaky,) = [test for test in tests if test["flaky"]]
    assert [attempt["status"] for attempt in flaky["retryAttempts"]] == ["failed", "passed"]
    assert flaky["stop"] - flaky["start"] == 1500


def test_ctrf_of_nothing_and_of_hostile_names_is_sound(tmp_path: Path) -> None:
    assert check_ctrf(render_ctrf(build_report(tmp_path / "none"))) == []
    tests = {f"tests/unit/test_{n}.py::{text}": Outcome.FAILED for n, text in enumerate(HOSTILE)}
    leave(tmp_path / "unit", suite("unit", {**tests, "": Outcome.PASSED}, message="".join(HOSTILE)), exit_code=1)
    text = render_ctrf(build_report(tmp_path))
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert len(check_ctrf(text)) == 4


def events_of(text: str) -> list[dict[str, Any]]:
    document = json.loads(text)
    found = document["traceEvents"]
    for event in found:
        assert event["ph"] in "MXCi"
        assert isinstance(event["pid"], int)
        assert event["ph"] == "M" or event["ts"] >= 0
        assert event["ph"] != "X" or event["dur"] >= 0
    return list(found)


def test_a_trace_has_a_slice_per_attempt_on_a_thread_that_is_named(tmp_path: Path) -> None:
    events = events_of(render_trace(demo(tmp_path)))
    slices = [event for event in events if event["ph"] == "X"]
    assert sum("test_all" in event["name"] for event in slices) == 4  # one test was tried twice
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in slices} <= named
    assert {event["name"] for event in events if event["ph"] == "C"} == {
        *("cpu cores", "memory GiB", "gpus", "gpu memory GiB")
    }
    assert [event["name"] for event in events if event["ph"] == "i"] == ["up: queue", "denied: queue"]


def test_slices_of_one_thread_do_not_overlap(tmp_path: Path) -> None:
    last: dict[tuple[int, int], float] = {}
    for event in events_of(render_trace(demo(tmp_path))):
        if event["ph"] == "X":
            key = (event["pid"], event["tid"])
            assert event["ts"] >= last.get(key, 0.0)
            last[key] = event["ts"] + event["dur"]


def test_ctrf_began_when_its_first_run_did_whatever_else_did_not_run(tmp_path: Path) -> None:
    leave(tmp_path / "unit", suite("unit"))
    skipped = {"schema_version": 1, "stage": "e2e", "status": "skipped", "exit_code": None, "reason": "no test"}
    (tmp_path / "e2e").mkdir()
    (tmp_path / "e2e" / "status.json").write_text(json.dumps(skipped))
    summary = json.loads(render_ctrf(build_report(tmp_path)))["results"]["summary"]
    assert summary["suites"] == 1
    assert 0 < summary["start"] <= summary["stop"] < summary["start"] + 600_000
