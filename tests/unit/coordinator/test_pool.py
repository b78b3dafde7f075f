"""What users of other systems complain of: stuck in silence, churn, busy workers ended."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from scripted import Act, Rig, make_task, make_tasks

from drm.model import events
from drm.model.cluster import Instance, InstanceRequest, WorkerType
from drm.model.errors import CapacityError, ConfigError
from drm.model.plan import ScalingAction
from drm.model.resources import Resources
from drm.model.work import Outcome

ONE = Resources(cpu_cores=1, memory_bytes=2**30)
SMALL = WorkerType(name="small", capacity=ONE, provider="scripted", usd_per_hour=0.1)
LARGE = WorkerType(name="large", capacity=ONE, provider="scripted", usd_per_hour=0.2)


def refuse(rig: Rig, *names: str) -> list[float]:
    """Let the provider have none of these types; return the times at which it is asked."""
    create, asked = rig.provider.create, []

    def answer(request: InstanceRequest) -> Instance:
        if request.worker_type.name in names:
            asked.append(rig.clock.now())
            raise CapacityError(f"there is no {request.worker_type.name} in the whole region")
        return create(request)

    rig.provider.create = answer  # type: ignore[method-assign]
    return asked


def test_a_run_for_which_no_worker_can_be_had_ends_with_the_reason(clock: Any) -> None:
    """Queues stuck silently on missing capacity (ray#27521, gitlab-runner#37643)."""
    rig = Rig(clock, types=(SMALL,), workers=(0, 2))
    asked = refuse(rig, "small")
    with pytest.raises(CapacityError, match=r"no small worker could be had for \d\d s: there is no small in the whole"):
        rig.run(make_tasks(2))
    assert set(rig.outcomes().values()) == {Outcome.NOT_RUN}
    assert rig.surface.said[0] == "no small worker could be had: there is no small in the whole region"
    waits = [later - sooner for sooner, later in pairwise(asked)]
    assert 3 < len(asked) < 12, "it is not asked for all the time"
    assert waits == sorted(waits)
    denied = [each.decision for each in rig.journal.of(events.ScalingDecided) if "capacity" in each.decision.limits_hit]
    assert denied[0].action is ScalingAction.DENIED
    assert denied[0].trigger.code == "capacity"
    assert "asked again in" in denied[0].reason


def test_what_one_type_cannot_run_for_want_of_it_runs_on_another(clock: Any) -> None:
    rig = Rig(clock, types=(SMALL, LARGE), workers=(0, 2))
    refuse(rig, "small")
    assert set(rig.run(make_tasks(4)).values()) == {Outcome.PASSED}
    assert {each.worker_type for each in rig.journal.of(events.WorkerReady)} == {"large"}


def test_what_asking_again_will_not_help_ends_the_run_at_once(clock: Any) -> None:
    rig = Rig(clock, types=(SMALL,), workers=(0, 2))

    def answer(_: InstanceRequest) -> Instance:
        raise ConfigError("there is no image 'absent:1'", remedy="pull or build it first")

    rig.provider.create = answer  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="absent:1"):
        rig.run(make_tasks(1))
    assert clock.now() < 5


def test_a_worker_that_runs_a_test_stays_while_others_go(clock: Any) -> None:
    """Busy workers killed (terraform-aws-github-runner#4391, karpenter#701)."""
    long = make_task("long", position=9)
    rig = Rig(clock, {long.task_id: Act(seconds=60.0)}, types=(SMALL,), workers=(0, 3))
    tasks = [long, *make_tasks(8)]
    assert set(rig.run(tasks).values()) == {Outcome.PASSED}
    released = rig.journal.of(events.InstanceReleased)
    assert len([each for each in released if each.elapsed_s < 50]) == len(rig.journal.of(events.WorkerReady)) - 1 > 0
    (ended,) = [each for each in rig.journal.of(events.TestFinished) if each.task_id == long.task_id]
    assert ended.attempts == 1
    rig.check(tasks)


def test_a_drain_is_taken_back_when_there_is_work_again(clock: Any) -> None:
    """Churn (karpenter#3198, #2388): a fixture's teardown takes long, and by then there is work again."""
    rig = Rig(clock, types=(SMALL,), workers=(0, 1))
    stop = rig.engine.stop
    rig.engine.stop = lambda *which: rig.engine.at(3.0, lambda: stop(*which) or [])  # type: ignore[method-assign,assignment,func-returns-value]
    rig.coordinator.submit(make_tasks(1), rig.planned)
    rig.coordinator.run()
    deadline_s = clock.now() + 60
    while not [each for each in rig.journal.of(events.ScalingDecided) if each.decision.remove]:
        rig.coordinator.step()
        assert clock.now() < deadline_s, "it never drained"
    more = make_task("more", position=5)
    rig.coordinator.submit([more], rig.planned)
    rig.coordinator.run()
    rig.coordinator.close()
    assert set(rig.outcomes().values()) == {Outcome.PASSED}
    assert len(rig.journal.of(events.InstanceRequested)) == 1, "no second worker was booted"
    (kept,) = [each for each in rig.journal.of(events.ScalingDecided) if each.decision.keep]
    assert kept.outcome == "keeping w0"


def test_a_worker_that_joins_when_nobody_waits_for_it_any_more_is_sent_away(clock: Any) -> None:
    """Leaks after failed creates (distributed#6801): what comes too late gets no test, and is ended."""
    rig = Rig(clock, types=(SMALL,), workers=(0, 1))
    machine = rig.provider._machine
    starts = iter([7.0])  # it may take 5 s
    rig.provider._machine = lambda *each: (  # type: ignore[method-assign]
        type(machine(*each))(start_s=next(starts, 0.1))
    )
    assert set(rig.run(make_tasks(1)).values()) == {Outcome.PASSED}
    assert [each.worker_id for each in rig.journal.of(events.InstanceLost)] == ["w0"]
    assert [each.worker_id for each in rig.journal.of(events.WorkerReady)] == ["w1"]
    assert not rig.provider.list_instances()


def test_a_worker_that_is_not_needed_makes_room_for_one_that_is(clock: Any) -> None:
    """The pool is full of small workers when a test turns out to need a large one."""
    large = WorkerType(
        name="large", capacity=Resources(cpu_cores=1, memory_bytes=4 * 2**30), provider="scripted", usd_per_hour=0.4
    )
    hog = make_task("hog", position=0)
    acts = {hog.task_id: Act(seconds=1.0, how="hog", peak_bytes=2**30, times=2)}
    rig = Rig(clock, acts, types=(SMALL, large), workers=(2, 2))
    assert rig.run([hog, *make_tasks(6)])[hog.task_id] is Outcome.PASSED
    ready = [each.worker_type for each in rig.journal.of(events.WorkerReady)]
    assert ready == ["small", "small", "large"]
    assert clock.now() < 60
