"""What follows from a run's facts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import GIB, ONE, TWO, Tape, decision

from drm.model import events as ev
from drm.model.plan import Refusal, ScalingAction
from drm.model.work import Outcome
from drm.reporting.analysis import analyse, what_if
from drm.summary import RunSummary, summarise

A, B, C = (f"tests/unit/test_{letter}.py::test" for letter in "abc")


def two_executors() -> Tape:
    """Return a run: A 1..4 s on one executor, B 1..2 s and C 2.5..3 s on the other; one test is refused."""
    tape = Tape([A, B, C, "big"])
    tape.add(ev.WorkerReady, 0.2, worker_id="w1", worker_type="cpu", capacity=TWO)
    refusal = Refusal(task_id="big", reason="8 gpu of 1")
    tape.add(ev.PlanMade, 0.3, allocated=3, refusals=(refusal,), makespan_s=4.0, lower_bound_s=3.0)
    rows = (("start", A, 1.0, "e1"), ("start", B, 1.0, "e2"), ("end", B, 2.0, "e2"), ("start", C, 2.5, "e2"))
    for what, test, at, executor in (*rows, ("end", C, 3.0, "e2"), ("end", A, 4.0, "e1")):
        if what == "start":
            tape.start(test, at, executor=executor)
        else:
            tape.end(test, at, executor=executor, wall_s={A: 3.0, B: 1.0, C: 0.5}[test])
            tape.finish(test, at)
    tape.finish("big", 4.0, Outcome.ERROR, attempts=0)
    tape.close(5.0)
    return tape


def test_numbers_and_makespan_of_a_run_known_by_heart() -> None:
    found = analyse("unit", summarise(two_executors().events))
    numbers, makespan = found.numbers, found.makespan
    assert (numbers.placed, numbers.refused, numbers.success_rate) == (3, 1, 0.75)
    assert numbers.slots_busy == pytest.approx(4.5 / 10)
    assert (numbers.wait_p50_s, numbers.wait_p95_s) == pytest.approx((0.9, 2.4))
    assert numbers.speed_up == pytest.approx(4.5 / 5)
    assert numbers.ideal_speed_up == pytest.approx(4.5 / 3)
    assert (makespan.tests_s, makespan.lower_bound_s, makespan.longest_s, makespan.slots) == (3.0, 3.0, 3.0, 2)
    assert [(step.test, step.idle_s) for step in makespan.critical_path] == [(0, 1.0)]
    assert [(row.number, row.makespan_s) for row in makespan.what_if] == [(1, 4.5), (2, 3.0), (3, 3.0), (4, 3.0)]
    assert makespan.unit == "executors"


def test_an_empty_run_has_no_numbers_and_no_bound() -> None:
    found = analyse("unit", RunSummary())
    assert found.numbers.slots_busy is found.numbers.wait_p50_s is found.numbers.speed_up is None
    assert found.makespan.lower_bound_s == 0.0
    assert found.makespan.what_if == found.makespan.critical_path == found.pool == ()


@given(times=st.lists(st.floats(0.001, 100), min_size=1, max_size=60), number=st.integers(1, 8))
def test_no_number_of_workers_beats_the_bound_nor_is_twice_as_long_as_it(times: list[float], number: int) -> None:
    for row in what_if(times, number):
        bound = max(max(times), sum(times) / row.number)
        assert bound * 0.999 <= row.makespan_s <= 2 * bound * 1.001  # Graham 1969: at most 2 - 1/m


def test_forecasts_are_compared_with_what_was_measured() -> None:
    tape = Tape([A, B])
    for place, (test, expected_s) in enumerate(((A, 1.0), (B, None))):
        where = {"task_id": test, "attempt": 1, "worker_id": "w1", "executor_id": "w1-e1"}
        tape.add(ev.AttemptStarted, 1.0 + place, **where, reserved=ONE, expected_s=expected_s)
        tape.end(test, 1.5 + place, wall_s=0.5)
        tape.finish(test, 1.5 + place)
    found = analyse("unit", summarise(tape.events)).prediction
    assert (found.timed, found.time_error_median, found.time_error_weighted) == (1, 1.0, 1.0)
    assert (found.sized, found.memory_covered) == (2, 1.0)
    assert found.reserved_gib_hours == pytest.approx(1 / 3600)
    assert found.wasted_gib_hours == pytest.approx((1 - 200 / 1024) / 3600)


def test_the_pool_is_what_was_wanted_against_what_ran_with_what_decisions_led_to() -> None:
    tape = Tape([A])
    up = decision(workers=0, wanted=3, granted=2)
    tape.add(ev.ScalingDecided, 1.0, decision=up, outcome="requested w1, w2", requested=("w1", "w2"))
    for worker, ready_s in (("w1", 2.0), ("w2", 4.0)):
        tape.add(ev.InstanceRequested, 1.0, worker_id=worker, worker_type="cpu", provider="x", usd_per_hour=1.0)
        tape.add(ev.WorkerReady, ready_s, worker_id=worker, worker_type="cpu", capacity=TWO)
    down = decision(ScalingAction.DOWN, "idle", workers=2, wanted=1, granted=1, remove=("w2",))
    tape.add(ev.ScalingDecided, 5.0, decision=down)
    tape.add(ev.InstanceReleased, 7.0, worker_id="w2", instance_id="i2", held_s=6.0, cost_usd=0.25)
    tape.add(ev.WorkerLost, 8.0, worker_id="w1", reason="killed", requeued=0)
    summary = summarise(tape.events)
    steps = [(step.at_s, step.wanted, step.running) for step in analyse("unit", summary).pool]
    assert steps == [(1.0, 3, 0), (2.0, 3, 1), (4.0, 3, 2), (5.0, 1, 2), (7.0, 1, 1), (8.0, 1, 0)]
    first, second = summary.scaling
    assert (first.changed, first.done, first.latency_s, first.cost_usd) == (("w1", "w2"), 2, 3.0, 0.25)
    assert (second.changed, second.done, second.latency_s, second.cost_usd) == (("w2",), 1, 2.0, None)


def test_the_pool_of_workers_that_came_back() -> None:
    tape = Tape([A])
    there = {"worker_id": "w1", "worker_type": "cpu", "capacity": TWO}
    tape.add(ev.WorkerReady, 1.0, **there)
    tape.add(ev.WorkerLost, 5.0, worker_id="w1", reason="killed", requeued=0)
    tape.add(ev.WorkerReady, 8.0, **there)
    steps = [(step.at_s, step.running) for step in analyse("unit", summarise(tape.events)).pool]
    assert steps == [(1.0, 1), (5.0, 0), (8.0, 1)]


def test_a_wait_for_a_second_attempt_begins_when_the_first_has_ended() -> None:
    tape = Tape([A])
    tape.start(A, 1.0)
    tape.end(A, 2.0, None, cause="killed")
    tape.start(A, 5.0, attempt=2)
    granted = summarise(tape.events).allocations.granted
    assert [record.waited_s for record in granted] == pytest.approx([0.9, 3.0])
    assert [record.finished_s for record in granted] == [2.0, None]
    assert summarise(tape.events).allocations.placed == 1
    assert granted[0].reserved_memory_bytes == GIB


def test_a_clock_that_goes_back_gives_no_negative_wait() -> None:
    tape = Tape([A])
    tape.start(A, 0.05)  # before it was discovered, at 0.1
    tape.end(A, 0.01)
    summary = summarise(tape.events)
    assert summary.allocations.waits_s == (0.0,)
    found = analyse("unit", summary).makespan
    assert found.tests_s == 0.0
    assert all(step.idle_s >= 0 for step in found.critical_path)
