from __future__ import annotations

import pytest
from recorded import GIB, ONE, TWO, Tape, decision

from drm.model import events as ev
from drm.model.plan import Refusal, ScalingAction
from drm.model.resources import Resources
from drm.model.work import Outcome
from drm.reporting.terminal import closing_lines, status_line
from drm.reporting.text import one_line
from drm.summary import summarise


def line(width: int, *, gpus: float = 0.0, failed: int = 2, total: int = 1551, eta_s: float | None = 12.3) -> str:
    capacity = Resources(cpu_cores=2, memory_bytes=8 * GIB, gpus=gpus)
    numbers = {"workers": 1, "executors": 2, "running": 2, "finished": 340, "failed": failed}
    return status_line(reserved=ONE, capacity=capacity, total=total, eta_s=eta_s, width=width, **numbers)


def test_wide_terminal_shows_everything() -> None:
    assert line(200, gpus=1) == (
        "drm: 340/1551 21% | 2 failed | ETA 12.3 s | 2 running | 1 worker, 2 executors"
        " | reserved cpu 1/2 | mem 1 GiB/8 GiB | gpu 0/1"
    )


def test_nothing_known_is_not_shown() -> None:
    assert line(200, failed=0, total=0, eta_s=None).startswith("drm: 340/0 | 2 running")


@pytest.mark.parametrize("width", range(130))
def test_fits_any_width(width: int) -> None:
    text = line(width)
    assert len(text) <= width
    if width >= 8:
        assert "340/1551" in text
    if width >= 20:
        assert "2 failed" in text


def test_account_of_a_clean_run_is_one_line() -> None:
    tape = Tape([f"t{n}" for n in range(3)])
    tape.add(ev.WorkerReady, 0.2, worker_id="w1", worker_type="local", capacity=TWO)
    tape.test("t0", 1.0)
    tape.test("t1", 1.5, Outcome.SKIPPED)
    tape.test("t2", 2.0)
    tape.close(3.0)
    assert closing_lines(summarise(tape.events)) == [
        "drm: 3 tests = 2 passed + 1 skipped; 1 executor on 1 worker; 3.0 s"
    ]


def test_what_needs_a_person_is_said() -> None:
    names = ["t\x1b[31m\n0", "t1", "t2", "t3"]
    tape = Tape(names)
    refusal = Refusal(task_id="t1", reason="8 gpu of 0")
    tape.add(ev.PlanMade, 0.3, allocated=3, refusals=(refusal,), makespan_s=1.0, lower_bound_s=1.0)
    for _ in range(2):
        tape.add(ev.ScalingDecided, 0.4, decision=decision(ScalingAction.DENIED, "limit of 3 workers"))
    tape.start(names[0], 1.0)
    tape.end(names[0], 2.0, Outcome.FAILED, cause="killed by SIGKILL")
    tape.finish(names[0], 2.0, Outcome.FAILED)
    tape.add(ev.CancelRequested, 2.5, reason="Ctrl-C")
    tape.close(3.0)
    assert closing_lines(summarise(tape.events))[1:] == [
        "drm: the run was cut short: Ctrl-C",
        "drm: t [31m 0: attempt 1 on w1: killed by SIGKILL, peak memory 200 MiB; in the end: failed",
        "drm: t1: could not be placed: 8 gpu of 0",
        "drm: 3 tests did not run: t1 and 2 more",
        "drm: scaling was denied 2 times: limit of 3 workers",
    ]


def test_a_thousand_deaths_are_not_a_thousand_lines() -> None:
    tape = Tape([])
    for n in range(1000):
        tape.end(f"t{n}", 1.0, None, cause="killed")
    lines = closing_lines(summarise(tape.events))
    assert len(lines) < 20
    assert "drm: ... and 990 more like this; the report has them all" in lines
    assert "drm: the run did not finish" in lines


def test_one_line_of_anything() -> None:
    assert one_line("a\nb\tc\x00\u202ed\ud800e") == "a b c d?e"
    assert one_line("x" * 100_000, 50) == "x" * 47 + "..."
    assert one_line("x" * 50, 50) == "x" * 50


def test_a_run_without_executors_was_in_this_process() -> None:
    tape = Tape(["t0"])
    tape.add(ev.WorkerReady, 0.2, worker_id="local", worker_type="local", capacity=TWO)
    tape.start("t0", 1.0, worker="local", executor="master")
    tape.end("t0", 1.5, worker="local", executor="master")
    tape.finish("t0", 1.5)
    tape.close(3.0)
    assert closing_lines(summarise(tape.events)) == ["drm: 1 test = 1 passed; in this process; 3.0 s"]


def test_a_run_whose_tests_all_ran_was_not_cut_short() -> None:
    tape = Tape(["t0"])
    tape.test("t0", 1.0, Outcome.FAILED)
    tape.close(3.0, reason="stopping after 1 failures")
    assert closing_lines(summarise(tape.events)) == ["drm: 1 test = 1 failed; 1 executor; 3.0 s"]
