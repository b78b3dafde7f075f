"""Stragglers that are started a second time: the first attempt to end counts, and the account is right."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import MACHINE, SMALL, Act, Rig, make_task, make_tasks

from drm.coordinator.retries import RetryPolicy
from drm.model import events
from drm.model.claims import claims_of
from drm.model.cluster import WorkerType
from drm.model.death import DeathKind
from drm.model.resources import Resources
from drm.model.work import Outcome, Task, Usage
from drm.simulator.acts import VirtualClock

PASSED, FAILED, NOT_RUN = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_RUN
ONE = "m.py::t0"


def rig_of(clock: Any, tasks: list[Task], acts: dict[str, Act], **options: Any) -> Rig:
    """Return a rig that expects 0.1 s of every test."""
    rig = Rig(clock, acts, **options)
    for task in tasks:
        for _ in range(3):
            rig.predictor.record_task_execution(task.task_id, Usage(wall_s=0.1), PASSED)
    return rig


def begun(rig: Rig, task_id: str = ONE) -> list[float]:
    return [event.elapsed_s for event in rig.journal.of(events.AttemptStarted) if event.task_id == task_id]


def test_a_straggler_is_started_again_and_the_copy_counts(clock: Any) -> None:
    tasks = make_tasks(4, idempotent=True)
    rig = rig_of(clock, tasks, {ONE: Act(0.1, how="hang", times=1)})
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    first_s, second_s = begun(rig)
    assert 0.2 <= second_s - first_s <= 0.6, "past twice its estimate, soon after that"
    by_attempt = {e.attempt: e for e in rig.journal.of(events.AttemptFinished) if e.task_id == ONE}
    assert (by_attempt[1].outcome, by_attempt[1].death) == (None, DeathKind.OUTRUN)
    assert by_attempt[2].outcome is PASSED
    assert len({by_attempt[1].executor_id, by_attempt[2].executor_id}) == 2
    assert len([call for call in rig.engine.calls if call[0] == "evict"]) == 1
    assert not rig.surface.flaky
    (finished,) = [e for e in rig.journal.of(events.TestFinished) if e.task_id == ONE]
    assert finished.attempts == 2


def test_an_executor_stays_for_a_straggler_longer_than_idle_ones_do(clock: Any) -> None:
    tasks = make_tasks(2, idempotent=True)
    rig = Rig(clock, {ONE: Act(60.0, times=1)}, executors=(1, 2))
    for _ in range(3):
        rig.predictor.record_task_execution(ONE, Usage(wall_s=4.0), PASSED)
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    first_s, second_s = begun(rig)
    assert 8.0 <= second_s - first_s <= 9.0, "idle executors end after 3 s"


def test_the_first_attempt_may_still_win(clock: Any) -> None:
    tasks = make_tasks(2, idempotent=True)
    rig = rig_of(clock, tasks, {ONE: Act(0.9)})
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    by_attempt = {e.attempt: e for e in rig.journal.of(events.AttemptFinished) if e.task_id == ONE}
    assert by_attempt[1].outcome is PASSED
    assert by_attempt[2].death is DeathKind.OUTRUN


@pytest.mark.parametrize(
    ("requirements", "speculate"),
    [
        ({}, False),
        ({"idempotent": True, "claims": claims_of(locks=("db",))}, True),
        ({"idempotent": True, "group": "g"}, True),
        ({"idempotent": True, "cpu": 1.5}, False),
    ],
    ids=["not declared", "holds a lock", "in a group", "no room beside it"],
)
def test_what_is_not_started_again(clock: Any, requirements: dict[str, Any], speculate: bool) -> None:
    tasks = [make_task("t0", **requirements), make_task("t1", position=1, cpu=0.5, idempotent=True)]
    rig = rig_of(clock, tasks, {ONE: Act(2.0)}, speculate=speculate)
    assert set(rig.run(tasks).values()) == {PASSED}
    assert {executor for _, executor in rig.engine.began} == {"gw0", "gw1"}, "there is an idle one"
    assert len(begun(rig)) == 1


def test_any_test_may_be_repeated_on_request(clock: Any) -> None:
    tasks = make_tasks(2)
    rig = rig_of(clock, tasks, {ONE: Act(0.1, how="hang", times=1)}, speculate=True)
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    assert len(begun(rig)) == 2


def test_nothing_is_started_again_while_tests_wait_or_nothing_was_predicted(clock: Any) -> None:
    tasks = [make_task("t0", idempotent=True), *make_tasks(30)[1:]]
    rig = rig_of(clock, tasks, {ONE: Act(1.0), **{f"m.py::t{n}": Act(0.1) for n in range(1, 30)}})
    assert set(rig.run(tasks).values()) == {PASSED}
    assert len(begun(rig)) == 1
    held = [make_task(f"t{n}", position=n, cpu=0.5, claims=claims_of(locks=("db",))) for n in (1, 2)]
    tasks = [make_task("t0", cpu=0.5, idempotent=True), *held]
    acts = {ONE: Act(2.0), "m.py::t1": Act(1.0), "m.py::t2": Act(1.0)}
    rig = rig_of(type(clock)(), tasks, acts, executors=(3, 3))
    assert set(rig.run(tasks).values()) == {PASSED}
    first_s, second_s = begun(rig)
    assert second_s - first_s >= 1.0, "until then the second waits for the lock, and that comes first"
    fresh = Rig(type(clock)(), {ONE: Act(5.0)})
    assert set(fresh.run(tasks[:2]).values()) == {PASSED}
    assert len(begun(fresh)) == 1


@pytest.mark.parametrize(("crash", "outcome"), [(1, PASSED), (0, FAILED)])
def test_a_first_attempt_that_dies_beside_its_copy(clock: Any, crash: int, outcome: Outcome) -> None:
    """With a retry to spend the copy is that retry; without one the death is the end of the test."""
    tasks = make_tasks(2, idempotent=True)
    rig = rig_of(clock, tasks, {ONE: Act(0.9, how="die", times=1)}, retries=RetryPolicy(crash=crash))
    assert rig.run(tasks)[ONE] is outcome
    rig.check(tasks)
    assert len(begun(rig)) == 2
    assert bool(rig.surface.flaky) == bool(crash)


@pytest.mark.parametrize("second", ["pass", "hang"])
def test_a_first_attempt_that_times_out_beside_its_copy_waits_for_that(clock: Any, second: str) -> None:
    """The copy was started because the first attempt lags: it has its own time."""
    tasks = [make_task("t0", idempotent=True, timeout_s=1.0), make_task("t1", position=1)]
    acts = {ONE: Act(0.9, how="hang", times=1)} if second == "pass" else {ONE: Act(how="hang")}
    rig = rig_of(clock, tasks, acts)
    assert rig.run(tasks)[ONE] is (PASSED if second == "pass" else FAILED)
    rig.check(tasks)
    deaths = [e.death for e in rig.journal.of(events.AttemptFinished) if e.task_id == ONE]
    assert deaths == [DeathKind.TIMEOUT, None if second == "pass" else DeathKind.TIMEOUT]
    assert bool(rig.surface.flaky) == (second == "pass")
    if second == "hang":
        assert "attempt 1" in rig.message(ONE)
        assert "attempt 2" in rig.message(ONE)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["pass", "pass", "fail", "die", "hang"]),
        st.sampled_from([0.05, 0.3, 1.0]),
        st.integers(1, 2),
        st.booleans(),
    ),
    max_size=8,
)


@given(ROWS, st.integers(0, 2**32), st.sampled_from([0.3, 0.6, 2.0, 1000.0]), st.booleans(), st.integers(0, 1))
def test_whatever_happens_to_attempts_and_copies_the_account_is_right(
    rows: list[Any], seed: int, stop_at: float, interrupt: bool, retries: int
) -> None:
    acts, tasks = {}, []
    for number, (how, seconds, times, idempotent) in enumerate(rows):
        task = make_task(f"t{number}", position=number, idempotent=idempotent, timeout_s=3.0)
        acts[task.task_id] = Act(seconds, how=how, times=times)
        tasks.append(task)
    two = WorkerType(name="two", capacity=MACHINE, provider="scripted")
    rig = rig_of(
        VirtualClock(),
        tasks,
        acts,
        types=(SMALL, two),
        workers=(2, 3),
        chance=Random(seed),
        retries=RetryPolicy(crash=retries, failure=retries),
    )
    rig.stop_at(stop_at)
    outcomes = rig.run(tasks, interrupt=interrupt)
    rig.check(tasks)
    if not rig.coordinator.stop_reason:
        assert NOT_RUN not in outcomes.values()
    assert all(worker.reserved == Resources() for worker in rig.manager.snapshot(0.0).workers)
