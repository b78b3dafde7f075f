"""Real memory beside the books: what is held, who is killed, what is learnt, how many executors there are."""

from __future__ import annotations

from collections import Counter
from typing import Any

from scripted import GIB, Act, Rig, make_task, make_tasks

from drm.model import events
from drm.model import observations as seen
from drm.model.memory import MemoryLevel, MemorySample
from drm.model.plan import ScalingAction
from drm.model.resources import Resources
from drm.model.work import Outcome

MIB = 2**20
MARKED = (("memory", "marker"),)


def sampled(used_bytes: int, pressure: float = 0.0, **residents: int) -> list[seen.Observation]:
    level = MemoryLevel(name="the cgroup /job", limit_bytes=2 * GIB, used_bytes=used_bytes)
    sample = MemorySample(levels=(level,), pressure=pressure, resident_bytes=tuple(residents.items()))
    return [seen.MemorySampled(worker_id="local", sample=sample)]


def decisions(rig: Rig) -> list[events.ScalingDecided]:
    return rig.journal.of(events.ScalingDecided)


def most_at_once(rig: Rig, since_s: float, until_s: float) -> int:
    running = most = 0
    for event in rig.journal.events:
        running += isinstance(event, events.AttemptStarted) - isinstance(event, events.AttemptFinished)
        if since_s < event.elapsed_s < until_s:
            most = max(most, running)
    return most


def test_with_memory_short_one_test_runs_at_a_time_and_more_when_there_is_room(clock: Any) -> None:
    tasks = make_tasks(60, memory=MIB, sources=MARKED)
    rig = Rig(clock, {task.task_id: Act(seconds=0.1) for task in tasks})
    rig.engine.at(1.0, lambda: sampled(2 * GIB - MIB))
    rig.engine.at(2.0, lambda: sampled(2 * GIB - MIB))
    rig.engine.at(3.0, lambda: sampled(GIB))
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert Counter(outcomes.values()) == {Outcome.PASSED: 60}
    assert [most_at_once(rig, *span) for span in ((0.2, 0.9), (1.3, 2.9), (3.3, 4.0))] == [2, 1, 2]
    held, resumed = decisions(rig)
    assert (held.outcome, resumed.outcome) == ("held", "resumed")
    assert held.decision.action is ScalingAction.HOLD
    assert held.decision.worker_type == "executors of local"
    assert "starting tests is held: 2 GiB of the cgroup /job's 2 GiB are used" in held.decision.reason
    assert [shown.held for shown in rig.surface.shown].count(True) in range(5, 15)


def test_while_processes_wait_for_memory_no_second_test_is_started_though_there_is_room(clock: Any) -> None:
    tasks = make_tasks(60, memory=MIB, sources=MARKED)
    rig = Rig(clock, {task.task_id: Act(seconds=0.1) for task in tasks})
    rig.engine.at(1.0, lambda: sampled(GIB, pressure=0.5))
    rig.engine.at(2.0, lambda: sampled(GIB, pressure=0.01))
    rig.run(tasks)
    rig.check(tasks)
    assert [most_at_once(rig, *span) for span in ((0.2, 0.9), (1.3, 1.9), (2.3, 3.0))] == [2, 1, 2]
    assert [event.decision.trigger.code for event in decisions(rig)] == ["pressure", "memory"]


def test_what_tests_really_use_counts_beside_what_was_reserved(clock: Any) -> None:
    """The books have room for a second large test; the first uses so much more than it said that there is none."""
    tasks = [make_task(f"t{n}", scope=f"m{n}.py", memory=600 * MIB, sources=MARKED) for n in range(2)]
    rig = Rig(clock, {"m0.py::t0": Act(seconds=1.0), "m1.py::t1": Act(seconds=1.0)}, executors=(1, 2))
    rig.engine.at(0.105, lambda: sampled(1600 * MIB))
    rig.run(tasks)
    rig.check(tasks)
    assert most_at_once(rig, 0.0, 9.0) == 1


def test_the_executor_above_its_reservation_is_killed(clock: Any) -> None:
    tasks = [make_task(name, scope=f"{name}.py", memory=100 * MIB, sources=MARKED) for name in ("hog", "large")]
    rig = Rig(clock, {task.task_id: Act(seconds=2.0) for task in tasks})

    def settled() -> list[seen.Observation]:
        owner.update(rig.engine.began)
        return [
            seen.ExecutorSettled(worker_id="local", executor_id=name, base_bytes=50 * MIB) for name in owner.values()
        ]

    owner: dict[str, str] = {}
    rig.engine.at(0.5, settled)
    rig.engine.at(
        0.6,
        lambda: sampled(2 * GIB - MIB, **{owner["hog.py::hog"]: 250 * MIB, owner["large.py::large"]: 150 * MIB}),
    )
    outcomes = rig.run(tasks)
    rig.check(tasks)
    assert outcomes["large.py::large"] is Outcome.PASSED
    (kill,) = [call for call in rig.engine.calls if call[0] == "kill"]
    assert kill[2] == owner["hog.py::hog"]
    assert kill[3].startswith("it used 200 MiB with 100 MiB reserved when 2 GiB of the cgroup /job's limit")


def test_what_the_worker_holds_itself_is_not_given_out(clock: Any) -> None:
    tasks = make_tasks(4, memory=900 * MIB, sources=MARKED)
    rig = Rig(clock, {task.task_id: Act(seconds=0.1) for task in tasks})
    rig.engine.held_bytes = 300 * MIB  # of 2 GiB
    rig.run(tasks)
    rig.check(tasks)
    assert most_at_once(rig, 0.0, 9.0) == 1


def test_a_test_alone_may_have_everything(clock: Any) -> None:
    tasks = [make_task("all", memory=2 * GIB, sources=MARKED), *make_tasks(3, memory=MIB, sources=MARKED)]
    rig = Rig(clock)
    rig.engine.held_bytes = 300 * MIB
    outcomes = rig.run(tasks)
    assert set(outcomes.values()) == {Outcome.PASSED}
    reserved = {event.task_id: event.reserved.memory_bytes for event in rig.journal.of(events.AttemptStarted)}
    assert reserved["m.py::all"] == 2 * GIB - 300 * MIB


def test_what_one_test_needed_raises_its_siblings_at_once(clock: Any) -> None:
    tasks = make_tasks(12)
    rig = Rig(clock, {task.task_id: Act(seconds=0.1, peak_bytes=500 * MIB) for task in tasks}, executors=(1, 1))
    rig.run(tasks)
    rig.check(tasks)
    reserved = [event.reserved.memory_bytes for event in rig.journal.of(events.AttemptStarted)]
    assert reserved[0] == 64 * MIB
    assert all(memory >= 750 * MIB for memory in reserved[3:]), "those not sent yet"


def test_a_first_run_on_a_small_worker_learns_how_little_tests_need(clock: Any) -> None:
    tasks = make_tasks(100)
    rig = Rig(
        clock,
        {task.task_id: Act(seconds=0.1, peak_bytes=MIB) for task in tasks},
        capacity=Resources(cpu_cores=2, memory_bytes=100 * MIB),
    )
    rig.run(tasks)
    rig.check(tasks)
    assert most_at_once(rig, 0.0, 1.5) == 1, "two times 64 MiB are more than there is"
    assert most_at_once(rig, 3.0, 99.0) == 2


def test_executors_come_with_the_work_and_go_when_idle(clock: Any) -> None:
    tasks = [*make_tasks(40), make_task("long", scope="long.py")]
    acts = {"long.py::long": Act(seconds=20.0)}
    capacity = Resources(cpu_cores=4, memory_bytes=2 * GIB)
    rig = Rig(clock, acts, executors=(1, 4), capacity=capacity)
    rig.run(tasks)
    rig.check(tasks)
    up, *down = decisions(rig)
    assert (up.decision.action, up.decision.granted) == (ScalingAction.UP, 4)
    assert [event.decision.action for event in down] == [ScalingAction.DOWN] * len(down)
    assert down[-1].decision.granted == 1
    assert "is idle for" in down[0].decision.reason
    assert rig.engine.polls < 1000


def test_a_fixed_number_of_executors_is_no_decision(clock: Any) -> None:
    tasks = [*make_tasks(10), make_task("long", scope="long.py")]
    rig = Rig(clock, {"long.py::long": Act(seconds=20.0)})
    rig.run(tasks)
    assert decisions(rig) == []
    assert len([call for call in rig.engine.calls if call[0] == "spawn"]) == 2
