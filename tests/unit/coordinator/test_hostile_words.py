"""A test writes on the connection of its process, and a worker says what it likes: it costs them, and no other test."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted import MACHINE, SMALL, Act, Rig, make_tasks

from drm.model import events
from drm.model import observations as seen
from drm.model.errors import LostError
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage
from drm.simulator.acts import VirtualClock
from drm.status_line import StatusLine
from drm.worker.protocol import observation
from drm.worker.reports import decode_warning

PASSED, FAILED = Outcome.PASSED, Outcome.FAILED


def ended(task_id: str, executor_id: str = "gw0", worker_id: str = "local") -> seen.Observation:
    return seen.AttemptEnded(
        worker_id=worker_id,
        executor_id=executor_id,
        task_id=task_id,
        attempt=1,
        outcome=PASSED,
        message="",
        reports=[[0, 0, 0]],
        usage=Usage(),
    )


def began(task_id: str) -> seen.Observation:
    return seen.AttemptBegan(worker_id="local", executor_id="gw0", task_id=task_id, attempt=1)


@pytest.mark.parametrize("words", [began, ended])
@pytest.mark.parametrize("victim", ["m.py::t1", "m.py::no_such_test", ""])
def test_who_speaks_of_a_test_of_another_process_fails_and_is_not_heeded(clock: Any, words: Any, victim: str) -> None:
    tasks = make_tasks(2)
    rig = Rig(clock, {"m.py::t0": Act(0.5), "m.py::t1": Act(1.0, "fail")}, executors=(2, 2))
    rig.engine.at(0.3, lambda: [words(victim)])
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert dict(rig.engine.began)["m.py::t0"] == "gw0"
    assert outcomes == {"m.py::t0": FAILED, "m.py::t1": FAILED}
    assert rig.message("m.py::t1") == "fail on purpose"
    assert f"it spoke of {victim!r}, a test that it was not given" in rig.message("m.py::t0")


def test_no_process_spoils_the_outcome_of_another_ones_test(clock: Any) -> None:
    tasks = make_tasks(2)
    rig = Rig(clock, {"m.py::t0": Act(1.0), "m.py::t1": Act(0.1)}, executors=(2, 2))
    late = {"worker_id": "local", "executor_id": "gw0", "task_id": "m.py::t1"}
    rig.engine.at(0.5, lambda: [seen.TeardownReported(**late, message="torn", report={})])
    assert set(rig.run(tasks).values()) == {PASSED}
    (end,) = rig.journal.of(events.RunFinished)
    assert dict(end.counts) == {"passed": 2}
    assert rig.surface.late == []


def test_no_worker_speaks_for_the_executors_of_another(clock: Any) -> None:
    tasks = make_tasks(2)
    acts = {task.task_id: Act(3.0, "fail") for task in tasks}
    rig = Rig(clock, acts, types=(SMALL,), workers=(2, 2))
    workers: dict[str, str] = {}

    def speak() -> list[seen.Observation]:
        for worker_id, executor_id in rig.engine.executors:
            workers.setdefault(worker_id, executor_id)
        (one, _), (_, of_other) = sorted(workers.items())[:2]
        held = next(task_id for task_id, executor_id in rig.engine.began if executor_id == of_other)
        exited = seen.ExecutorExited(worker_id=one, executor_id=of_other)
        return [ended(held, of_other, one), exited]

    rig.engine.at(1.0, speak)
    assert set(rig.run(tasks).values()) == {FAILED}
    rig.check(tasks)
    assert len([line for line in rig.surface.said if "of another: not heeded" in line]) == 1


def test_a_worker_that_joins_twice_or_has_nothing_ends_no_run(clock: Any) -> None:
    tasks = make_tasks(4)
    rig = Rig(clock)
    again = seen.WorkerJoined(worker_id="local", capacity=MACHINE)
    rig.engine.at(0.15, lambda: [again, seen.WorkerJoined(worker_id="w9", capacity=Resources())])
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    assert ("release", "w9") in rig.engine.calls


class Terminal:
    """As much of pytest's terminal reporter as a line needs."""

    def __init__(self) -> None:
        self.isatty = False
        self._tw = SimpleNamespace(width_of_current_line=0)
        self.written: list[str] = []

    def write_line(self, line: str) -> None:
        self.written.append(line)


def test_words_of_a_worker_are_one_line_and_command_no_terminal() -> None:
    terminal = Terminal()
    plugins = SimpleNamespace(get_plugin=lambda name: terminal)
    config: Any = SimpleNamespace(pluginmanager=plugins, getoption=lambda name, default: default)
    StatusLine(config, lambda: 0.0).say("worker w was lost: \x1b[2J\x1b]0;title\x07a\n::error::b" + 9999 * "x")
    (line,) = terminal.written
    assert line.startswith("drm: worker w was lost: [2J ]0;title a ::error::b")
    assert line.isprintable()
    assert len(line) < 4100


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"module": "antigravity", "category": "Warning", "text": "x", "location": ["a", 1, "b"]},
        {"module": "os", "category": "system", "lineno": "x", "when": "never", "location": 7, "text": []},
        {"module": "builtins", "category": "UnicodeWarning", "text": "x", "filename": "f", "lineno": 2, "nodeid": "n"},
    ],
)
def test_a_warning_imports_nothing_and_is_shown_whatever_is_in_it(said: dict[str, Any]) -> None:
    before = set(sys.modules)
    shown = decode_warning(said)
    assert set(sys.modules) == before
    assert issubclass(shown["warning_message"].category, Warning)
    assert isinstance(shown["warning_message"].lineno, int)
    assert shown["when"] == "runtest"
    assert shown["location"] in (None, ("a", 1, "b"))


IDS = st.sampled_from([*(f"m.py::t{n}" for n in range(12)), "m.py::other", ""])
REPORTS = st.lists(st.one_of(st.just([1, 0.0, 0.0]), st.dictionaries(st.text(max_size=5), st.integers())), max_size=3)
NUMBERS = st.one_of(st.integers(-1, 2**63), st.floats())
SAID = st.one_of(
    st.tuples(st.just("begin"), IDS, NUMBERS),
    st.tuples(
        st.just("end"), IDS, NUMBERS, st.sampled_from(Outcome).map(str), st.text(max_size=5), REPORTS, st.lists(NUMBERS)
    ),
    st.tuples(st.just("missing"), IDS, NUMBERS),
    st.tuples(st.just("idle"), st.lists(IDS, max_size=3)),
    st.tuples(st.just("late"), IDS, st.text(max_size=5), st.dictionaries(st.text(max_size=5), st.integers())),
    st.tuples(st.just("settled"), NUMBERS),
    st.tuples(st.just("ready"), NUMBERS),
    st.tuples(st.just("output"), st.dictionaries(st.text(max_size=5), st.integers())),
)


@settings(max_examples=150)
@example([(0.75, ("idle", ["m.py::t3", "m.py::t3"]))])
@given(st.lists(st.tuples(st.floats(0.1, 1.0), SAID), max_size=6))
def test_whatever_a_process_says_the_account_is_right(said: list[tuple[float, Any]]) -> None:
    tasks = make_tasks(12)
    rig = Rig(VirtualClock(), {task.task_id: Act(0.2, "fail") for task in tasks}, executors=(2, 2))

    def speaks(words: Any) -> list[seen.Observation]:
        with suppress(LostError):  # the worker is given up then
            return [observation("local", [words[0], "gw0", *words[1:]])]
        return []

    for at_s, words in said:
        rig.engine.at(at_s, lambda words=words: speaks(words))
    rig.run(tasks)
    finished = [event.task_id for event in rig.journal.of(events.TestFinished)]
    assert sorted(finished) == sorted(task.task_id for task in tasks), "one final outcome per test"
    by_others = {task_id for task_id, executor_id in rig.engine.began if executor_id == "gw1"}
    of_liar = {task_id for task_id, executor_id in rig.engine.began if executor_id == "gw0"}
    for task_id in by_others - of_liar:
        assert rig.outcomes()[task_id] is FAILED
