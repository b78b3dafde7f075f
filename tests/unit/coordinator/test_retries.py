"""Whether a test is tried again: first by the pure rules, then as the coordinator carries them out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import GIB, SMALL, Act, Rig, make_task, make_tasks

from drm.coordinator.retries import Again, GiveUp, Mishap, RetryPolicy, decide, parse_retries
from drm.coordinator.timeouts import LEAST_S, timeout_of
from drm.model import events
from drm.model import observations as seen
from drm.model.cluster import WorkerType
from drm.model.death import DeathKind
from drm.model.errors import ConfigError, LostError
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage

MIB = 2**20
PASSED, FAILED, NOT_RUN = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_RUN
MEMORY, CRASH, TIMEOUT, HUNG, LOST = (
    DeathKind.MEMORY,
    DeathKind.CRASH,
    DeathKind.TIMEOUT,
    DeathKind.HUNG,
    DeathKind.LOST,
)


def after(*kinds: DeathKind | None, policy: RetryPolicy | None = None) -> Again | GiveUp:
    past = [Mishap(attempt=n, kind=kind, message=f"m{n}") for n, kind in enumerate(kinds, start=1)]
    return decide(past, policy or RetryPolicy(), most_bytes=GIB)


def killed(attempt: int, reserved: int, used: int, *, alone: bool = False) -> Mishap:
    return Mishap(
        attempt=attempt,
        kind=MEMORY,
        message=f"used {used}",
        reserved_bytes=reserved * MIB,
        used_bytes=used * MIB,
        alone=alone,
    )


@pytest.mark.parametrize(
    ("kinds", "policy", "again"),
    [
        ([CRASH], RetryPolicy(), True),
        ([CRASH, CRASH], RetryPolicy(), False),
        ([CRASH, CRASH], RetryPolicy(crash=2), True),
        ([CRASH], RetryPolicy(crash=0), False),
        ([HUNG], RetryPolicy(), True),
        ([HUNG], RetryPolicy(crash=0), False),
        ([None], RetryPolicy(), False),
        ([None, None], RetryPolicy(failure=2), True),
        ([None, None, None], RetryPolicy(failure=2), False),
        ([CRASH, None], RetryPolicy(), False),
        ([TIMEOUT], RetryPolicy(crash=5, failure=5), False),
        ([TIMEOUT], RetryPolicy(timeout=1), True),
        ([LOST, LOST], RetryPolicy(crash=0), True),
        ([LOST, LOST, LOST], RetryPolicy(), False),
        ([LOST, LOST, CRASH], RetryPolicy(), True),
    ],
)
def test_how_often(kinds: list[DeathKind | None], policy: RetryPolicy, again: bool) -> None:
    what = after(*kinds, policy=policy)
    assert isinstance(what, Again) == again
    if isinstance(what, Again):
        assert what == Again()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' does not say how often to try again; write"),
        (" ,", "' ,' does not say how often to try again; write"),
        ("9" * 5000, "does not say how often to try again; write"),  # more digits than Python makes a number of
        ("crash=" + "9" * 5000, "does not say how often to try again; write"),
        ("crash=1,crash=2", "crash is given twice; give it once"),
    ],
    ids=["empty", "blank", "long", "long_crash", "twice"],
)
def test_what_says_no_number_of_retries(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_retries(text, "--drm-retries")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_killed_for_memory_it_runs_alone_then_with_more_then_with_all_there_is() -> None:
    past = [killed(1, 100, 300)]
    assert decide(past, RetryPolicy(crash=0), most_bytes=2000 * MIB) == Again(alone=True)
    past.append(killed(2, 100, 400, alone=True))
    assert decide(past, RetryPolicy(crash=0), most_bytes=2000 * MIB) == Again(memory_bytes=420 * MIB)
    past.append(killed(3, 420, 500))
    assert decide(past, RetryPolicy(crash=0), most_bytes=2000 * MIB) == Again(memory_bytes=2000 * MIB)
    past.append(killed(4, 2000, 2001))
    given_up = decide(past, RetryPolicy(crash=0), most_bytes=2000 * MIB)
    assert isinstance(given_up, GiveUp)
    assert given_up.message == (
        "it needs more than the 2 GiB that a worker has: attempt 1: used 300; attempt 2 (alone): used 400; "
        "attempt 3: used 500; attempt 4: used 2001"
    )


def test_one_that_was_alone_already_is_not_run_alone_again() -> None:
    assert decide([killed(1, 100, 300, alone=True)], RetryPolicy(), most_bytes=GIB) == Again(memory_bytes=315 * MIB)
    assert decide([killed(1, 200, 300, alone=True)], RetryPolicy(), most_bytes=GIB) == Again(memory_bytes=400 * MIB)


def test_a_victim_is_not_charged_but_must_show_itself_alone_if_it_happens_always() -> None:
    victims = [killed(n, 100, 90) for n in range(1, 4)]
    assert all(not victim.is_charged for victim in victims)
    assert decide(victims[:1], RetryPolicy(), most_bytes=GIB) == Again()
    assert decide(victims[:2], RetryPolicy(), most_bytes=GIB) == Again()
    assert decide(victims, RetryPolicy(), most_bytes=GIB) == Again(alone=True)
    hog = [*victims, killed(4, 100, 90, alone=True)]
    assert decide(hog, RetryPolicy(), most_bytes=GIB) == Again(memory_bytes=200 * MIB)
    last = decide([*hog, killed(5, 1024, 90)], RetryPolicy(), most_bytes=GIB)
    assert isinstance(last, GiveUp)
    assert "something beside the tests takes the memory" in last.message
    assert decide([*victims[:2], killed(3, 100, 101)], RetryPolicy(), most_bytes=GIB) == Again(alone=True)


def test_one_that_had_all_there_is_blames_nobody_else() -> None:
    """The worker could give it 900 of the 1,000 that were asked for: no company was left to be the victim of."""
    alone = killed(1, 256, 950, alone=True)
    last = replace(killed(2, 1000, 890), had_all=True)
    assert last.is_charged
    verdict = decide([alone, last], RetryPolicy(), most_bytes=1000)
    assert isinstance(verdict, GiveUp)
    assert verdict.message.startswith("it needs more than the 1000 B that a worker has")


@given(st.lists(st.tuples(st.sampled_from(DeathKind), st.integers(0, 3000), st.booleans()), min_size=60, max_size=60))
def test_whatever_happens_there_is_an_end(rows: list[tuple[DeathKind, int, bool]]) -> None:
    """Every kind of death, in any order, under whatever reservation the rules ask for."""
    past: list[Mishap] = []
    reserved, must_be_alone = 256 * MIB, False
    for number, (kind, used, alone) in enumerate(rows, start=1):
        past.append(replace(killed(number, 0, used, alone=alone or must_be_alone), kind=kind, reserved_bytes=reserved))
        what = decide(past, RetryPolicy(failure=3, timeout=2), most_bytes=2 * GIB)
        if isinstance(what, GiveUp):
            return
        reserved, must_be_alone = what.memory_bytes or reserved, what.alone
    raise AssertionError("it is tried again for ever")


def test_the_story_is_told_attempt_by_attempt() -> None:
    assert after(CRASH, policy=RetryPolicy(crash=0)) == GiveUp(message="m1")
    assert after(CRASH, CRASH) == GiveUp(message="attempt 1: m1; attempt 2: m2")


@pytest.mark.parametrize(
    ("asked", "slow", "factor", "seconds"),
    [(2.0, 1.0, 10.0, 2.0), (None, 1.0, 10.0, 10.0), (None, 0.001, 10.0, LEAST_S), (None, None, 10.0, None),
     (None, 1.0, None, None)],
)  # fmt: skip
def test_timeouts(asked: float | None, slow: float | None, factor: float | None, seconds: float | None) -> None:
    timeout = timeout_of(asked, slow, factor)
    assert (timeout.seconds if timeout is not None else None) == seconds


# -- carried out


def test_a_crash_is_tried_again_and_is_flaky_when_it_passes(clock: Any) -> None:
    tasks = make_tasks(40)
    rig = Rig(clock, {"m.py::t5": Act(how="die", times=1), "m.py::t9": Act(how="die")}, retries=RetryPolicy())
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert Counter(outcomes.values()) == {PASSED: 39, FAILED: 1}
    finished = {event.task_id: event for event in rig.journal.of(events.TestFinished)}
    assert [task_id for task_id, event in finished.items() if event.flaky] == ["m.py::t5"]
    assert finished["m.py::t5"].attempts == finished["m.py::t9"].attempts == 2
    assert rig.surface.flaky == {"m.py::t5": finished["m.py::t5"].message}
    assert finished["m.py::t5"].message.startswith("passed on attempt 2; attempt 1: killed by signal SIGSEGV")
    assert finished["m.py::t9"].message.count("SIGSEGV") == 2
    assert all(event.attempts == 1 for task_id, event in finished.items() if task_id not in ("m.py::t5", "m.py::t9"))
    deaths = [(e.task_id, e.attempt, e.death, e.outcome) for e in rig.journal.of(events.AttemptFinished) if e.cause]
    assert sorted(deaths) == [
        ("m.py::t5", 1, CRASH, FAILED), ("m.py::t9", 1, CRASH, FAILED), ("m.py::t9", 2, CRASH, FAILED)
    ]  # fmt: skip


def test_a_second_attempt_has_its_executor_for_itself(clock: Any) -> None:
    """It is sent alone, and nothing is sent after it: what it may take along with it is nobody else's."""
    again = make_task("again")
    tasks = [again, *(make_task(f"t{n}", scope=f"m{n % 20}.py") for n in range(400))]
    rig = Rig(clock, {again.task_id: Act(0.04, how="die", times=2)}, retries=RetryPolicy(crash=3))
    for task in tasks:  # short, so that executors are sent their next batch early; this one first, as the longest
        wall_s = 0.04 if task is again else 0.001
        for _ in range(3):
            rig.predictor.record_task_execution(task.task_id, Usage(wall_s=wall_s), PASSED)
    beside: list[set[str]] = []
    send = rig.engine.send

    def look(worker_id: str, executor_id: str, batch: Any, *rest: Any) -> None:
        names = {task_id for task_id, _ in batch}
        if (again.task_id, 2) in batch or (again.task_id, 3) in batch:
            beside.append(names - {again.task_id})
        elif (
            rig.engine.executors[worker_id, executor_id].running == again.task_id
            and len([e for e in rig.journal.of(events.AttemptStarted) if e.task_id == again.task_id]) > 1
        ):
            beside.append(names)
        send(worker_id, executor_id, batch, *rest)

    rig.engine.send = look  # type: ignore[method-assign]
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    assert beside == [set(), set()]


def test_failures_are_tried_again_only_when_asked(clock: Any) -> None:
    tasks = make_tasks(5)
    acts = {"m.py::t1": Act(how="fail", times=1), "m.py::t2": Act(how="fail")}
    rig = Rig(clock, acts)
    assert Counter(rig.run(tasks).values()) == {PASSED: 3, FAILED: 2}
    rig.check(tasks)
    rig = Rig(clock, acts, retries=RetryPolicy(failure=1))
    assert Counter(rig.run(tasks).values()) == {PASSED: 4, FAILED: 1}
    rig.check(tasks)
    assert list(rig.surface.flaky) == ["m.py::t1"]
    assert ("m.py::t2", "reports") in rig.surface.delivered, "a failure keeps its own report"


def test_a_failure_keeps_its_report_where_the_next_attempt_is_lost_with_the_last_worker(clock: Any) -> None:
    rig = Rig(clock, {"m.py::t0": Act(how="fail", times=1, seconds=5.0)}, retries=RetryPolicy(failure=1))
    rig.engine.at(7.0, lambda: rig.engine.lose("local", "its connection closed"))
    with pytest.raises(LostError):
        rig.run(make_tasks(1))
    (told,) = rig.journal.of(events.TestFinished)
    assert (told.outcome, told.attempts, told.retry_due) == (FAILED, 2, True)
    assert rig.surface.delivered == [("m.py::t0", "reports")]


def test_a_teardown_that_fails_before_the_next_attempt_is_of_one_that_does_not_count(clock: Any) -> None:
    tasks = make_tasks(3)
    rig = Rig(clock, {"m.py::t2": Act(how="fail", times=1)}, executors=(1, 1), retries=RetryPolicy(failure=1))
    begin = rig.engine.begin

    def begin_with_trouble(played: Any, task_id: str, attempt: int, act: Any) -> None:
        if attempt == 2:
            late = {"worker_id": played.worker_id, "executor_id": played.executor_id, "task_id": task_id}
            rig.engine.at(0.0, lambda: [seen.TeardownReported(**late, message="torn", report={})])
        begin(played, task_id, attempt, act)

    rig.engine.begin = begin_with_trouble  # type: ignore[method-assign]
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    assert list(rig.surface.flaky) == ["m.py::t2"]
    assert (rig.journal.of(events.TeardownFailed), rig.surface.late) == ([], []), "what is told is what is counted"


def test_a_timeout_is_not_tried_again_unless_asked(clock: Any) -> None:
    for retries, attempts in ((RetryPolicy(), 1), (RetryPolicy(timeout=1), 2)):
        rig = Rig(clock, {"m.py::stuck": Act(how="hang")}, retries=retries)
        rig.run([make_task("stuck", timeout_s=1.5), *make_tasks(3)])
        (stuck,) = [e for e in rig.journal.of(events.TestFinished) if e.task_id == "m.py::stuck"]
        assert (stuck.outcome, stuck.attempts) == (FAILED, attempts)
        (told,) = [text for task_id, text in rig.surface.delivered if task_id == "m.py::stuck"]
        assert told.endswith("File x"), "the report has the stacks"
        assert "File x" not in stuck.message


def test_a_hog_runs_alone_and_then_with_more(clock: Any) -> None:
    hog = make_task("hog", memory=GIB // 4)
    tasks = [*make_tasks(10, memory=GIB // 4), hog]
    acts = {hog.task_id: Act(0.1, how="hog", times=2, peak_bytes=GIB // 2)}
    rig = Rig(clock, acts)
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert set(outcomes.values()) == {PASSED}
    reserved = [e.reserved for e in rig.journal.of(events.AttemptStarted) if e.task_id == hog.task_id]
    seen = math.ceil(1.05 * (GIB // 2))
    assert [(each.cpu_cores, each.memory_bytes) for each in reserved] == [(1, GIB // 4), (2, GIB // 4), (1, seen)]
    assert "attempt 2 (alone): killed by the kernel for memory" in rig.surface.flaky[hog.task_id]


def test_a_hog_that_no_worker_can_hold_fails_with_the_whole_story(clock: Any) -> None:
    large = WorkerType(name="large", capacity=Resources(cpu_cores=2, memory_bytes=4 * GIB), provider="scripted")
    hog = make_task("hog", memory=GIB // 4)
    tasks = [*make_tasks(4), hog]
    rig = Rig(clock, {hog.task_id: Act(0.1, how="hog", peak_bytes=5 * GIB)}, types=(SMALL, large), workers=(1, 2))
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert outcomes.pop(hog.task_id) is FAILED
    assert set(outcomes.values()) == {PASSED}
    reserved = [e.reserved.memory_bytes for e in rig.journal.of(events.AttemptStarted) if e.task_id == hog.task_id]
    assert reserved[1:] == [4 * GIB], "on the larger worker"
    assert rig.message(hog.task_id).startswith("it needs more than the 4 GiB that a worker has: attempt 1 (alone): ")


def test_a_victim_costs_nothing(clock: Any) -> None:
    tasks = make_tasks(10, memory=GIB // 4)
    rig = Rig(clock, {"m.py::t3": Act(0.1, how="hog", times=2, peak_bytes=GIB // 8)})
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    assert not rig.surface.flaky
    (end,) = [e for e in rig.journal.of(events.TestFinished) if e.task_id == "m.py::t3"]
    assert (end.flaky, end.attempts) == (False, 3)
    killed_for = [(e.death, e.outcome) for e in rig.journal.of(events.AttemptFinished) if e.cause]
    assert killed_for == [(MEMORY, None)] * 2


def test_what_waits_for_another_attempt_when_the_run_stops_has_failed(clock: Any) -> None:
    tasks = make_tasks(30)
    acts = {"m.py::t0": Act(how="die", times=1), "m.py::t1": Act(how="fail")}
    rig = Rig(clock, acts, executors=(1, 1), retries=RetryPolicy(failure=5))
    noticed: list[str] = []

    def stop_at_once() -> None:
        if not noticed and rig.journal.of(events.AttemptFinished):
            noticed.append("x")
            rig.coordinator.request_stop("enough")

    rig.engine.on_poll = stop_at_once
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert outcomes["m.py::t0"] is FAILED
    assert "SIGSEGV" in rig.message("m.py::t0")
    assert Counter(outcomes.values())[NOT_RUN] == 29


def test_an_executor_that_was_told_to_end_and_dies_amid_a_test_is_not_passed_over(clock: Any) -> None:
    """It ends with exit code 0 in the middle of its last test: that test has no outcome of its own."""
    tasks = make_tasks(3)
    rig = Rig(clock, {"m.py::t0": Act(0.5, how="hang")}, executors=(1, 1))
    rig.surface.stop_after = "m.py::t1"

    def leave() -> list[Any]:
        rig.coordinator.request_stop("-x")
        return []

    rig.engine.at(0.2, leave)
    stop = rig.engine.stop

    def stop_amid(worker_id: str, executor_id: str) -> None:
        stop(worker_id, executor_id)
        rig.engine.at(0.1, lambda: rig.engine.end(rig.engine.executors[worker_id, executor_id], None))

    rig.engine.stop = stop_amid  # type: ignore[method-assign]
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert outcomes["m.py::t0"] is FAILED
    assert "exit code 0" in rig.message("m.py::t0")


def test_a_test_that_takes_far_longer_than_ever_is_ended(clock: Any) -> None:
    tasks = make_tasks(3)
    rig = Rig(clock, {"m.py::t0": Act(how="hang"), "m.py::t1": Act(7.0)}, timeout_factor=4.0)
    for seconds in (0.1, 2.0, 0.1):
        rig.predictor.record_task_execution("m.py::t0", Usage(wall_s=seconds), PASSED)
        rig.predictor.record_task_execution("m.py::t1", Usage(wall_s=seconds), PASSED)
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert (outcomes["m.py::t0"], outcomes["m.py::t1"]) == (FAILED, PASSED)
    assert "ran longer than 8.0 s, where it took 2.0 s when it was slow" in rig.message("m.py::t0")


def test_what_a_doomed_executor_says_counts_no_more(clock: Any) -> None:
    """A test that ends after its time was up, and the next that begins then: the first one is blamed, not the next."""
    tasks = make_tasks(4, timeout_s=1.0)
    rig = Rig(clock, {"m.py::t0": Act(1.4)}, executors=(1, 1))
    evict = rig.engine._end_for
    rig.engine._end_for = lambda *args: rig.engine.at(0.5, lambda: evict(*args) or [])  # type: ignore[method-assign, func-returns-value]
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert outcomes.pop("m.py::t0") is FAILED
    assert set(outcomes.values()) == {PASSED}
    assert all(event.attempts == 1 for event in rig.journal.of(events.TestFinished))
