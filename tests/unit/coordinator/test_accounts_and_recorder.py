"""The small parts of the coordinator: a final outcome per test, a number per event, a failing sink dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scripted import Journal, make_task, make_tasks

from drm.coordinator import Recorder
from drm.coordinator.accounts import Accounts
from drm.coordinator.crew import Crew, Executor
from drm.coordinator.ending import death_message
from drm.model import events
from drm.model.death import Death, DeathKind
from drm.model.errors import DrmError, DuplicateError
from drm.model.resources import Resources
from drm.model.work import Outcome


def test_an_outcome_is_final() -> None:
    accounts = Accounts()
    accounts.open(make_tasks(3))
    assert accounts.settle("m.py::t0", Outcome.PASSED)
    assert not accounts.settle("m.py::t0", Outcome.FAILED)
    assert not accounts.settle("m.py::unknown", Outcome.FAILED)
    assert accounts.counts() == (("passed", 1), ("not_run", 2))
    assert (accounts.collected, accounts.final, accounts.bad) == (3, 1, 0)
    assert [task.task_id for task in accounts.open_tasks()] == ["m.py::t1", "m.py::t2"]


def test_a_late_teardown_spoils_an_outcome_once() -> None:
    accounts = Accounts()
    accounts.open(make_tasks(2))
    assert not accounts.spoil("m.py::t0")
    accounts.settle("m.py::t0", Outcome.PASSED)
    accounts.settle("m.py::t1", Outcome.FAILED)
    assert accounts.spoil("m.py::t0")
    assert accounts.spoil("m.py::t1")
    assert accounts.counts() == (("error", 2),)
    assert accounts.bad == 2


def test_what_ends_after_the_last_failure_allowed_has_no_outcome() -> None:
    accounts = Accounts(max_failures=3)
    accounts.open(make_tasks(5))
    assert accounts.settle("m.py::t0", Outcome.PASSED)
    assert accounts.settle("m.py::t1", Outcome.FAILED, failures=2)  # its call and its teardown
    assert not accounts.is_full
    assert accounts.spoil("m.py::t0")
    assert accounts.is_full
    assert not accounts.settle("m.py::t2", Outcome.FAILED)
    assert not accounts.settle("m.py::t3", Outcome.PASSED)
    assert accounts.settle("m.py::t3", Outcome.NOT_RUN)
    assert accounts.bad == 2
    assert accounts.counts() == (("failed", 1), ("error", 1), ("not_run", 3))


def test_a_test_is_submitted_once() -> None:
    accounts = Accounts()
    accounts.open([make_task("a")])
    with pytest.raises(DuplicateError):
        accounts.open([make_task("a")])
    assert [accounts.begin("m.py::a") for _ in range(3)] == [1, 2, 3]
    assert accounts.attempts("m.py::a") == 3


def test_executors_are_numbered_through_the_run() -> None:
    crew = Crew()
    assert [crew.hire(worker).executor_id for worker in ("w0", "w1", "w0")] == ["gw0", "gw1", "gw2"]
    assert [executor.executor_id for executor in crew.on("w0")] == ["gw0", "gw2"]
    crew.dismiss("gw0")
    assert crew.dismiss("gw0") is None
    assert crew.hire("w0").executor_id == "gw3"
    assert len(crew) == 3


class Broken(Journal):
    """A sink whose disk is full from the second event on."""

    def emit(self, event: events.Event) -> None:
        if self.events:
            raise DrmError("no space", remedy="make room")
        super().emit(event)


def test_a_sink_that_fails_is_dropped_and_said_so_once(clock: Any) -> None:
    said: list[str] = []
    good, bad = Journal(), Broken()
    recorder = Recorder(clock, [bad, good], said.append)
    for number in range(5):
        clock.advance(0.25)
        recorder.record(events.CancelRequested, reason=str(number))
    recorder.close()
    assert [event.seq for event in good.events] == [1, 2, 3, 4, 5]
    assert [event.elapsed_s for event in good.events] == [0.25, 0.5, 0.75, 1.0, 1.25]
    assert good.events[0].at == "2026-01-01T00:00:00.250Z"
    assert len(bad.events) == 1
    assert said == ["Broken stopped recording: no space; make room"]


@pytest.mark.parametrize(
    ("death", "words"),
    [
        (Death(exit_code=3), "ended with exit code 3"),
        (Death(signal="SIGSEGV"), "killed by signal SIGSEGV"),
        (Death(signal="SIGKILL"), "killed by signal SIGKILL"),
        (Death(signal="SIGKILL", oom_kills=1), "killed by the kernel for memory (signal SIGKILL)"),
        (Death(killed_for=DeathKind.MEMORY, reason="it used too much", signal="SIGKILL"), "killed: it used too much"),
    ],
)
def test_how_an_executor_died_is_said(death: Death, words: str) -> None:
    death = replace(death, peak_rss_bytes=700)
    executor = Executor(executor_id="gw1", worker_id="w2", base_bytes=50)
    message = death_message(death, executor=executor, reserved=Resources(memory_bytes=600), limit_bytes=1000)
    assert words in message
    assert "executor gw1 on worker w2; the memory of its tests peaked at 650 B, with 600 B reserved" in message
    assert "the worker has 1000 B" in message
    assert ("kernel" in message) == ("kernel" in words)
