"""The coordinator over scripted executors, in virtual time: whatever dies, the account is right."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import GIB, MACHINE, SMALL, Act, Rig, make_task, make_tasks, view

from drm.model import events
from drm.model import observations as seen
from drm.model.claims import claims_of
from drm.model.cluster import WorkerType
from drm.model.errors import LostError
from drm.model.resources import Resources
from drm.model.work import Outcome, Task
from drm.simulator.acts import VirtualClock

PASSED, FAILED, ERROR, NOT_RUN = Outcome.PASSED, Outcome.FAILED, Outcome.ERROR, Outcome.NOT_RUN


def test_every_test_has_one_outcome(clock: Any) -> None:
    tasks = make_tasks(50)
    rig = Rig(clock, {"m.py::t3": Act(how="fail"), "m.py::t4": Act(how="missing")})
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert Counter(outcomes.values()) == {PASSED: 48, FAILED: 1, ERROR: 1}
    assert rig.message("m.py::t3") == "fail on purpose"
    kinds = [type(event) for event in rig.journal.events]
    assert kinds[:2] == [events.TestsDiscovered, events.ForecastMade]
    assert events.PlanMade in kinds
    assert {executor for _, executor in rig.engine.began} == {"gw0", "gw1"}
    assert rig.surface.shown[-1].total == 50


def test_nothing_to_run(clock: Any) -> None:
    rig = Rig(clock)
    assert rig.run([]) == {}
    rig.check([])


def test_a_test_that_fits_nowhere_is_an_error_with_the_reason(clock: Any) -> None:
    refused = [make_task("large", cpu=99), make_task("label", labels=frozenset({"x"})), make_task("gpu", gpu=1)]
    tasks = [*refused, *make_tasks(3)]
    rig = Rig(clock)
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert [outcomes[task.task_id] for task in tasks] == [ERROR, ERROR, ERROR, PASSED, PASSED, PASSED]
    assert "99 cpu" in rig.message("m.py::large")
    assert "give larger workers (--drm-cpus, --drm-worker-type)" in rig.message("m.py::large")
    assert "give larger workers (--drm-gpus, --drm-worker-type)" in rig.message("m.py::gpu")
    assert not {task.task_id for task in refused} & {task_id for task_id, _ in rig.engine.began}


# -- deaths


def test_a_dead_executor_fails_only_its_test(clock: Any) -> None:
    tasks = make_tasks(40)
    rig = Rig(clock, {"m.py::t5": Act(how="die"), "m.py::t30": Act(how="die")})
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert Counter(outcomes.values()) == {PASSED: 38, FAILED: 2}
    assert outcomes["m.py::t5"] is outcomes["m.py::t30"] is FAILED
    assert "SIGSEGV" in rig.message("m.py::t5")
    assert "gw" in rig.message("m.py::t5")
    assert all(event.attempts == 1 for event in rig.journal.of(events.TestFinished))


def test_a_test_past_its_timeout_is_killed_and_the_others_go_on(clock: Any) -> None:
    tasks = [make_task("stuck", timeout_s=1.5), *make_tasks(10, timeout_s=60.0)]
    rig = Rig(clock, {"m.py::stuck": Act(how="hang")})
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert Counter(outcomes.values()) == {PASSED: 10, FAILED: 1}
    assert "timeout of 1.5 s" in rig.message("m.py::stuck")
    (attempt,) = [e for e in rig.journal.of(events.AttemptFinished) if e.task_id == "m.py::stuck"]
    assert 1.5 <= attempt.usage.wall_s < 2.0
    assert len([call for call in rig.engine.calls if call[0] == "evict"]) == 1


def test_executors_that_never_start_end_the_run(clock: Any) -> None:
    tasks = make_tasks(5)
    rig = Rig(clock)
    rig.engine.fail_starts = 1000
    with pytest.raises(LostError, match=r"executors in a row ended before their first test.*exit code 1"):
        rig.run(tasks)
    rig.check(tasks)
    assert set(rig.outcomes().values()) == {NOT_RUN}


def test_some_executors_that_do_not_start_are_replaced(clock: Any) -> None:
    tasks = make_tasks(20)
    rig = Rig(clock)
    rig.engine.fail_starts = 4
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    assert any("ended while it ran no test" in line for line in rig.surface.said)


def test_executors_that_do_not_start_cost_those_that_work_nothing(clock: Any) -> None:
    """There may be no room for another process while a test has many of its own."""
    tasks = make_tasks(6)
    rig = Rig(clock, {"m.py::t0": Act(30.0), **{f"m.py::t{n}": Act(how="die") for n in range(1, 6)}})

    def look() -> None:
        rig.engine.fail_starts = 1000 if rig.engine.began and clock.now() < 29.0 else 0

    rig.engine.on_poll = look
    assert Counter(rig.run(tasks).values()) == {PASSED: 1, FAILED: 5}
    rig.check(tasks)
    spawned = [call for call in rig.engine.calls if call[0] == "spawn"]
    assert len(spawned) < 20, "it is not tried again and again"


def test_the_only_worker_is_lost(clock: Any) -> None:
    tasks = make_tasks(20)
    rig = Rig(clock)
    rig.engine.at(0.3, lambda: rig.engine.lose("local", "the zygote ended (signal SIGKILL)"))
    with pytest.raises(LostError, match="the only worker is gone: the zygote ended"):
        rig.run(tasks)
    rig.check(tasks)
    counts = Counter(rig.outcomes().values())
    assert counts[PASSED] > 0
    assert counts[NOT_RUN] > 0
    assert set(counts) == {PASSED, NOT_RUN}


@pytest.mark.parametrize("comes_late", [True, False])
def test_no_worker_has_the_label_that_all_waiting_tests_need(clock: Any, comes_late: bool) -> None:
    """Workers come and go by themselves: the one that had it, or will, is waited for, but not for ever."""
    labelled = WorkerType(name="g", capacity=SMALL.capacity, labels=frozenset(("gpu",)))
    tasks = [make_task(f"t{n}", labels=frozenset(("gpu",) if n % 2 else ())) for n in range(20)]
    rig = Rig(clock, {task.task_id: Act(0.2) for task in tasks}, stranded_s=120.0)
    rig.planned.append(view(labelled))
    rig.engine.join("g", labelled, delay_s=100.0 if comes_late else 0.1)
    if not comes_late:
        rig.engine.at(0.5, lambda: rig.engine.lose("g", "its power is gone"))
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert {outcomes[task.task_id] for task in tasks if not task.requirements.labels} == {PASSED}
    others = Counter(outcomes[task.task_id] for task in tasks if task.requirements.labels)
    assert sum("tests wait for a worker that can run them, for 120 s at most" in line for line in rig.surface.said) == 1
    if comes_late:
        assert others == {PASSED: 10}
        return
    assert others[ERROR] > 5
    assert others[PASSED] + others[ERROR] == 10
    assert "it needs the label gpu; no worker carries it" in rig.message(tasks[-1].task_id)
    assert 120.0 <= clock.now() < 130.0


def test_a_lost_worker_costs_nothing_but_time(clock: Any) -> None:
    tasks = [make_task(f"t{n}", scope=f"m{n}.py") for n in range(30)]
    rig = Rig(clock, {task.task_id: Act(0.2) for task in tasks}, types=(SMALL,), workers=(2, 3))
    rig.engine.at(1.0, lambda: rig.engine.lose("w0"))
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    (lost,) = rig.journal.of(events.WorkerLost)
    assert lost.worker_id == "w0"
    again = [e for e in rig.journal.of(events.TestFinished) if e.attempts == 2]
    assert len(again) == 1
    (cut,) = [e for e in rig.journal.of(events.AttemptFinished) if e.outcome is None]
    assert "w0 was lost" in cut.cause
    assert [e.worker_id for e in rig.journal.of(events.InstanceLost)] == ["w0"]


def test_a_test_that_loses_every_worker_is_given_up(clock: Any) -> None:
    """It may be what kills them."""
    tasks = [make_task("evil"), *(make_task(f"t{n}", scope=f"m{n}.py") for n in range(6))]
    rig = Rig(clock, {"m.py::evil": Act(how="hang")}, types=(SMALL,), workers=(1, 2))

    def strike() -> None:
        for key, played in list(rig.engine.executors.items()):
            if played.running == "m.py::evil":
                rig.engine.at(0.0, lambda worker=key[0]: rig.engine.lose(worker))  # type: ignore[misc]

    rig.engine.on_poll = strike
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert outcomes.pop("m.py::evil") is FAILED
    assert set(outcomes.values()) == {PASSED}
    assert rig.message("m.py::evil").count("was lost") == 3


def test_workers_that_never_start_end_the_run(clock: Any) -> None:
    tasks = make_tasks(5)
    rig = Rig(clock, types=(SMALL,), workers=(1, 2))
    rig.provider.fail_starts = 1000
    with pytest.raises(LostError, match="workers in a row did not start"):
        rig.run(tasks)
    rig.check(tasks)
    assert set(rig.outcomes().values()) == {NOT_RUN}


# -- requirements


def test_reservations_and_locks_are_kept(clock: Any) -> None:
    tasks = [
        *make_tasks(10, cpu=0.5, memory=GIB // 4),
        *(make_task(f"two{n}", cpu=2, scope="n.py") for n in range(4)),
        *(make_task(f"db{n}", claims=claims_of(locks=["db"]), scope=f"db{n}.py") for n in range(6)),
        *(make_task(f"read{n}", claims=claims_of(shared_locks=["db"]), scope=f"r{n}.py") for n in range(6)),
        *(make_task(f"alone{n}", claims=claims_of(serial=True), scope=f"s{n}.py") for n in range(2)),
        *(make_task(f"c{n}", claims=claims_of(counted={"license": 1 + n % 2}), scope="c.py") for n in range(6)),
        *(make_task(f"large{n}", memory=2 * GIB, scope="l.py") for n in range(3)),
    ]
    rig = Rig(clock, executors=(4, 4))
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)


@pytest.mark.parametrize("disturbed", [False, True])
def test_a_group_runs_on_one_executor_in_order(clock: Any, disturbed: bool) -> None:
    group = [make_task(f"g{n}", scope=f"m{n % 2}.py", position=n, group="g", cpu=1 + n % 2) for n in range(12)]
    tasks = [*make_tasks(10), *group]
    acts = {group[4].task_id: Act(how="die"), group[7].task_id: Act(5.0)} if disturbed else {}
    rig = Rig(clock, acts, executors=(3, 3), capacity=Resources(cpu_cores=4, memory_bytes=4 * GIB))
    rig.run(tasks)
    rig.check(tasks)
    ran = [(task_id, executor) for task_id, executor in rig.engine.began if "::g" in task_id]
    assert [task_id for task_id, _ in ran] == [task.task_id for task in group]
    if not disturbed:
        assert len({executor for _, executor in ran}) == 1


# -- stopping


def test_the_surface_may_stop_the_run(clock: Any) -> None:
    tasks = make_tasks(100)
    rig = Rig(clock, {"m.py::t10": Act(how="fail")})
    rig.surface.stop_after = "m.py::t10"
    outcomes = rig.run(tasks)
    rig.check(tasks)
    counts = Counter(outcomes.values())
    assert counts[FAILED] == 1
    assert counts[NOT_RUN] > 50
    assert [e.reason for e in rig.journal.of(events.CancelRequested)] == ["enough failures"]
    assert {call[0] for call in rig.engine.calls} == {"spawn", "stop"}


@pytest.mark.parametrize(("how", "calls"), [("hang", {"interrupt"}), ("deaf", {"interrupt", "kill"})])
def test_an_interrupted_run_breaks_off_what_runs(clock: Any, how: str, calls: set[str]) -> None:
    tasks = make_tasks(30)
    rig = Rig(clock, {task.task_id: Act(how=how) for task in tasks})

    def stop() -> list[seen.Observation]:
        rig.coordinator.request_stop("interrupted by SIGINT")
        return []

    rig.engine.at(1.0, stop)
    outcomes = rig.run(tasks, interrupt=True)
    rig.check(tasks)
    assert set(outcomes.values()) == {NOT_RUN}
    assert {call[0] for call in rig.engine.calls} == {"spawn", *calls}
    assert clock.now() < 5
    begun = "it had not ended when the run was stopped: "
    assert {rig.message(task.task_id) for task in tasks} == {f"{what}interrupted by SIGINT" for what in ("", begun)}


def test_a_test_that_asks_for_the_end_gets_it(clock: Any) -> None:
    tasks = make_tasks(30)
    rig = Rig(clock)
    asked = seen.StopAsked(worker_id="local", executor_id="gw0", kind="exit", message="enough", exit_code=7)
    rig.engine.at(0.2, lambda: [asked])
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert rig.coordinator.stop_asked == asked
    assert Counter(outcomes.values())[NOT_RUN] > 0


@pytest.mark.parametrize(
    ("report", "is_error"), [({}, True), ({"outcome": "failed"}, True), ({"outcome": "skipped"}, False)], ids=str
)
def test_a_teardown_that_fails_late_makes_its_test_an_error(clock: Any, report: Any, is_error: bool) -> None:
    tasks = make_tasks(4)
    rig = Rig(clock, executors=(1, 1))
    stop = rig.engine.stop

    def stop_with_trouble(worker_id: str, executor_id: str) -> None:
        late = {"worker_id": worker_id, "executor_id": executor_id, "task_id": "m.py::t3"}
        rig.engine.at(0.0, lambda: [seen.TeardownReported(**late, message="torn", report=report)])
        stop(worker_id, executor_id)

    rig.engine.stop = stop_with_trouble  # type: ignore[method-assign]
    rig.run(tasks)
    (end,) = rig.journal.of(events.RunFinished)
    assert dict(end.counts) == ({"passed": 3, "error": 1} if is_error else {"passed": 4})
    failed = [(e.task_id, e.message) for e in rig.journal.of(events.TeardownFailed)]
    assert failed == ([("m.py::t3", "torn")] if is_error else [])
    assert rig.surface.late == ["m.py::t3"]


def test_executors_that_never_end_are_killed(clock: Any) -> None:
    tasks = make_tasks(4)
    rig = Rig(clock)
    rig.engine.stop = lambda *_: None  # type: ignore[method-assign]
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    assert any("did not end within 20 s and were killed" in line for line in rig.surface.said)


# -- the pool


def test_the_pool_grows_for_the_work_and_shrinks_after_it(clock: Any) -> None:
    tasks = [make_task(f"t{n}", scope=f"m{n}.py") for n in range(40)]
    rig = Rig(clock, {task.task_id: Act(0.2) for task in tasks}, types=(SMALL,), workers=(1, 4))
    rig.coordinator.submit(tasks, rig.planned)
    rig.coordinator.run()
    assert len(rig.journal.of(events.InstanceReady)) > 1
    while clock.now() < 60:
        rig.coordinator.step()
    assert len(rig.provider.list_instances()) == 1
    assert not rig.journal.of(events.WorkerLost), "what was drained was not lost"
    rig.coordinator.close()
    rig.check(tasks)
    actions = [event.decision.action.value for event in rig.journal.of(events.ScalingDecided)]
    assert "up" in actions
    assert "down" in actions


def test_tests_go_where_their_labels_are(clock: Any) -> None:
    gpu = WorkerType(
        name="gpu",
        capacity=Resources(cpu_cores=1, memory_bytes=GIB, gpus=1),
        labels=frozenset({"cuda"}),
        provider="scripted",
    )
    tasks = [
        *(make_task(f"t{n}", scope=f"m{n}.py") for n in range(10)),
        *(make_task(f"g{n}", scope=f"g{n}.py", gpu=1, labels=frozenset({"cuda"})) for n in range(4)),
    ]
    rig = Rig(clock, {task.task_id: Act(0.2) for task in tasks}, types=(SMALL, gpu), workers=(0, 3))
    assert set(rig.run(tasks).values()) == {PASSED}
    rig.check(tasks)
    kinds = {event.worker_id: event.worker_type for event in rig.journal.of(events.WorkerReady)}
    assert {kinds[e.worker_id] for e in rig.journal.of(events.AttemptStarted) if "::g" in e.task_id} == {"gpu"}


def test_what_must_come_before_what_its_executors_have_run_gets_new_ones(clock: Any) -> None:
    late, early = make_tasks(4, turn=2), [make_task("early", position=9, turn=1)]
    rig = Rig(clock)
    rig.coordinator.submit(late, rig.planned)
    rig.coordinator.run()
    assert set(rig.run(early).values()) == {PASSED}
    rig.check([*late, *early])
    assert [executor for task_id, executor in rig.engine.began if task_id == "m.py::early"] in (["gw2"], ["gw3"])


# -- any order of things

CLAIMS = st.builds(
    claims_of,
    locks=st.sets(st.sampled_from(["db", "net"]), max_size=2),
    shared_locks=st.sets(st.sampled_from(["db", "net"]), max_size=2),
    counted=st.dictionaries(st.just("license"), st.sampled_from([1, 2])),
    serial=st.sampled_from([False, False, False, True]),
)
NEEDS = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from([0.5, 1, 2, 9]),
        "memory": st.sampled_from([0, GIB // 2, 2 * GIB]),
        "claims": CLAIMS,
        "group": st.sampled_from(["g"]),
        "turn": st.sampled_from([1, 2]),
        "timeout_s": st.just(1.0),
    },
)
HOW = st.sampled_from(["pass", "pass", "pass", "fail", "missing", "die", "hang"])
SUITES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.001, 0.1, 1.5]), HOW, NEEDS), max_size=25)


def suite_of(rows: list[Any]) -> tuple[list[Task], dict[str, Act]]:
    tasks, acts = [], {}
    for n, (scope, seconds, how, needs) in enumerate(rows):
        if how == "hang":
            needs = {**needs, "timeout_s": 1.0}
        task = make_task(f"t{n}", scope=f"{scope}.py", position=n, **needs)
        tasks.append(task)
        acts[task.task_id] = Act(seconds, how)
    return tasks, acts


@given(SUITES, st.integers(1, 4))
def test_whatever_tests_do_the_account_is_right(rows: list[Any], executors: int) -> None:
    tasks, acts = suite_of(rows)
    rig = Rig(VirtualClock(), acts, executors=(1, executors), capacity=MACHINE)
    outcomes = rig.run(tasks)
    rig.check(tasks)
    for task in tasks:
        act = acts[task.task_id]
        late = task.requirements.timeout_s is not None and act.seconds > 1.0
        expected = {"pass": PASSED, "fail": FAILED, "missing": ERROR, "die": FAILED, "hang": FAILED}[act.how]
        if not task.requirements.amounts.fits_in(MACHINE):
            expected = ERROR
        elif late:
            expected = FAILED
        assert outcomes[task.task_id] is expected, task.task_id


@given(SUITES, st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.5, 2.0, 1000.0]), st.booleans())
def test_whatever_workers_do_and_whenever_it_stops(rows: list[Any], seed: int, stop_at: float, interrupt: bool) -> None:
    tasks, acts = suite_of(rows)
    two = WorkerType(name="two", capacity=MACHINE, provider="scripted")
    rig = Rig(VirtualClock(), acts, types=(SMALL, two), workers=(1, 3), chance=Random(seed))
    rig.stop_at(stop_at)
    outcomes = rig.run(tasks, interrupt=interrupt)
    rig.check(tasks)
    if not rig.coordinator.stop_reason:
        assert NOT_RUN not in outcomes.values()
