from __future__ import annotations

import time

import pytest
from recorded import GIB, ONE, TWO, Tape, decision

from drm.model import events as ev
from drm.model.plan import Refusal
from drm.model.work import Outcome
from drm.summary import RunSummary, Summarizer, summarise

A = "tests/unit/resource_optimizer/test_a.py::test_a"
B = "tests/integration/test_b.py::test_b"


def test_nothing_fed_is_an_unfinished_run_without_tests() -> None:
    assert summarise([]) == RunSummary(counts=tuple((outcome.value, 0) for outcome in Outcome))


def test_facts_tests_and_counts() -> None:
    tape = Tape([A, B])
    tape.test(A, 1.0)
    tape.test(B, 2.0, Outcome.FAILED, "assert 1 == 2")
    tape.close(3.0)
    summary = summarise(tape.events)
    assert (summary.run_id, summary.machine, summary.commit, summary.command) == ("r1", "m1", "abc123", ("drm", "run"))
    assert (summary.started_at, summary.wall_s, summary.finished) == ("2026-11-23T10:00:00.000Z", 3.0, True)
    first, second = summary.tests
    assert (first.component, second.component) == ("resource_optimizer", "drm_integration")
    assert (first.wall_s, first.cpu_s, first.peak_rss_bytes, first.worker_id) == (0.5, 0.4, 200 * 2**20, "w1")
    assert (first.started_s, first.finished_s) == (1.0, 1.5)
    assert (second.outcome, second.message) == (Outcome.FAILED, "assert 1 == 2")
    assert (summary.count(Outcome.PASSED), summary.bad) == (1, 1)


def test_discovered_but_not_finished_counts_as_not_run_and_counts_sum_to_collected() -> None:
    tape = Tape([A, B])
    tape.start(A, 1.0)
    summary = summarise(tape.events)
    assert summary.count(Outcome.NOT_RUN) == 2 == sum(number for _, number in summary.counts) == summary.collected
    assert (summary.finished, summary.wall_s) == (False, 1.0)


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED])
def test_failed_teardown_turns_the_outcome_into_an_error(outcome: Outcome) -> None:
    tape = Tape([A])
    tape.test(A, 1.0, outcome, "first" if outcome.is_bad else "")
    tape.add(ev.TeardownFailed, 2.0, task_id=A, message="db did not close")
    (test,) = summarise(tape.events).tests
    assert test.outcome is Outcome.ERROR
    assert test.message == ("first; db did not close" if outcome.is_bad else "db did not close")


def test_killed_attempt_is_kept_with_its_cause_and_the_retry_decides() -> None:
    tape = Tape([A])
    tape.start(A, 1.0)
    tape.end(A, 2.0, None, cause="killed by SIGKILL")
    tape.start(A, 3.0, attempt=2, worker="w2", executor="w2-e1")
    tape.end(A, 4.0, attempt=2, worker="w2")
    tape.finish(A, 4.0, attempts=2, flaky=True)
    summary = summarise(tape.events)
    (died,) = summary.interruptions
    assert (died.task_id, died.attempt, died.worker_id, died.cause) == (A, 1, "w1", "killed by SIGKILL")
    (test,) = summary.tests
    assert (test.outcome, test.attempts, test.flaky, test.worker_id) == (Outcome.PASSED, 2, True, "w2")
    assert summary.executors == 1


def test_waits_placements_refusals_and_what_was_reserved() -> None:
    tape = Tape([A, B])
    refusals = (Refusal(task_id=A, reason="no worker yet"), Refusal(task_id=B, reason="8 gpu of 0"))
    tape.add(ev.PlanMade, 0.2, allocated=0, refusals=refusals, makespan_s=0.0, lower_bound_s=0.0)
    tape.add(ev.PlanMade, 0.5, allocated=1, refusals=(), makespan_s=4.0, lower_bound_s=3.0)
    tape.add(ev.PlanMade, 0.9, allocated=1, refusals=(), makespan_s=1.0, lower_bound_s=1.0)
    tape.test(A, 1.1)
    summary = summarise(tape.events)
    given = summary.allocations
    assert [refusal.task_id for refusal in given.refusals] == [B]
    assert given.waits_s == pytest.approx([1.0])
    assert (given.placed, given.success_rate) == (1, 0.5)
    assert (given.reserved_cpu_s, given.used_cpu_s, given.reserved_byte_s) == (0.5, 0.4, ONE.memory_bytes / 2)
    assert (summary.planned_s, summary.lower_bound_s) == (4.0, 3.0)


def test_waiting_quantiles_are_nearest_ranks() -> None:
    tape = Tape([f"t{n}" for n in range(10)])
    for n in range(10):
        tape.start(f"t{n}", 1.1 + n)
    given = summarise(tape.events).allocations
    assert [given.wait_s(q) for q in (0.0, 0.5, 0.95)] == pytest.approx([1.0, 6.0, 10.0])
    assert summarise([]).allocations.wait_s(0.5) == 0.0
    assert summarise([]).allocations.success_rate is None


def test_workers_instances_scaling_and_utilization() -> None:
    tape = Tape([A])
    tape.add(ev.ScalingDecided, 0.2, decision=decision(), outcome="granted")
    tape.add(ev.InstanceRequested, 0.3, worker_id="w1", worker_type="cpu", provider="local", usd_per_hour=3.6)
    tape.add(ev.InstanceReady, 0.8, worker_id="w1", instance_id="i1", latency_s=0.5)
    tape.add(ev.WorkerReady, 0.9, worker_id="w1", worker_type="cpu", capacity=TWO, labels=("db",))
    tape.test(A, 1.0)
    for worker, executors in (("w1", 2), ("w2", 1), ("w1", 1)):
        used = {"reserved": ONE, "used": TWO, "executors": executors, "running": 1}
        tape.add(ev.UtilizationSampled, 1.2, worker_id=worker, **used)
    tape.add(ev.WorkerLost, 2.0, worker_id="w1", reason="killed", requeued=3)
    tape.add(ev.InstanceReleased, 3.0, worker_id="w1", instance_id="i1", held_s=2.7, cost_usd=0.0027)
    summary = summarise(tape.events)
    (scaling,) = summary.scaling
    assert (scaling.elapsed_s, scaling.outcome, scaling.decision) == (0.2, "granted", decision())
    (worker,) = summary.workers
    assert (worker.ready_s, worker.lost_s, worker.lost_reason, worker.requeued) == (0.9, 2.0, "killed", 3)
    assert (worker.labels, worker.attempts, worker.busy_s) == (("db",), 1, 0.5)
    (instance,) = summary.instances
    assert (instance.worker_type, instance.latency_s, instance.held_s) == ("cpu", 0.5, 2.7)
    assert summary.cost_usd == 0.0027
    assert summary.executors == 3
    series = summary.utilization[0]
    assert (series.elapsed_s, series.executors) == ((1.2, 1.2), (2, 1))
    assert series.used_memory_bytes == (8 * GIB, 8 * GIB)


def test_reason_of_a_cancelled_run_is_kept() -> None:
    tape = Tape([A])
    tape.add(ev.CancelRequested, 1.0, reason="Ctrl-C")
    assert summarise(tape.events).reason == "Ctrl-C"
    tape.close(2.0)
    assert summarise(tape.events).reason == "Ctrl-C"
    tape.close(2.0, reason="interrupted")
    assert summarise(tape.events).reason == "interrupted"


def test_every_type_of_event_is_understood() -> None:
    assert set(Summarizer()._feeders) == set(ev.EVENT_TYPES.values())


def test_the_cost_grows_with_the_number_of_tests_and_no_faster() -> None:
    def cost(number: int) -> float:
        names = [f"tests/test_{n % 99}.py::t{n}" for n in range(number)]
        tape = Tape(names)
        for n, name in enumerate(names):
            tape.test(name, n * 0.01)
        took = []
        for _ in range(3):
            started = time.process_time()
            assert summarise(tape.events).count(Outcome.PASSED) == number
            took.append(time.process_time() - started)
        return min(took)

    few, many = (cost(number) for number in (500, 5_000))
    assert many / few < 40, "ten times the tests: 10 when it is linear, 100 when it is quadratic"


def test_a_worker_that_was_lost_and_came_back_was_there_twice() -> None:
    tape = Tape([A])
    there = {"worker_id": "w1", "worker_type": "cpu", "capacity": TWO}
    tape.add(ev.WorkerReady, 1.0, **there)
    tape.add(ev.WorkerLost, 5.0, worker_id="w1", reason="it was silent for 9 s", requeued=1)
    (lost,) = summarise(tape.events).workers
    assert (lost.ready_s, lost.gone_s, lost.away) == (1.0, 5.0, ())
    tape.add(ev.WorkerReady, 8.0, **there)
    tape.add(ev.WorkerLost, 9.0, worker_id="w1", reason="its machine is gone", requeued=2)
    tape.add(ev.WorkerReady, 9.5, **there)
    (back,) = summarise(tape.events).workers
    assert (back.ready_s, back.lost_s, back.gone_s) == (1.0, None, None)
    assert back.away == ((5.0, 8.0), (9.0, 9.5))
    assert (back.lost_reason, back.requeued) == ("its machine is gone", 3), "of the last time, and of all"


def test_executors_of_a_run_too_short_for_samples_are_those_that_ran_a_test() -> None:
    tape = Tape([A, B])
    tape.start(A, 1.0)
    tape.end(A, 1.1)
    tape.start(B, 1.2, worker="w2", executor="w2-e1")
    assert summarise(tape.events).executors == 2
    tape.add(ev.WorkerLost, 1.3, worker_id="w2", reason="killed", requeued=1)
    tape.start(B, 1.4, attempt=2, worker="w3", executor="w3-e1")
    assert summarise(tape.events).executors == 2, "one came in the place of another"


def test_executors_of_a_short_run_leave_out_those_that_died() -> None:
    tape = Tape([A, B])
    tape.start(A, 1.0)
    tape.start(B, 1.1, executor="w1-e2")
    tape.end(A, 1.5, None, cause="killed")
    tape.start(A, 1.6, attempt=2, executor="w1-e3")
    assert summarise(tape.events).executors == 2


def test_cause_of_an_interruption_names_the_memory_once() -> None:
    tape = Tape([A])
    for attempt, cause in ((1, "killed by SIGKILL"), (2, "killed; its memory peaked at 2 GiB")):
        tape.end(A, 1.0, None, attempt=attempt, cause=cause)
    first, second = summarise(tape.events).interruptions
    assert first.describe() == "killed by SIGKILL, peak memory 200 MiB"
    assert second.describe() == "killed; its memory peaked at 2 GiB"
