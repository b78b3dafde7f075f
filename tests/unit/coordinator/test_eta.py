"""The time that a run will still take: it is told as long as tests remain."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from scripted import Act, Rig, make_tasks

from drm.coordinator.crew import Executor
from drm.coordinator.eta import loads_of, time_left_s
from drm.model.work import Outcome, Usage


def executor(*held: str, current: str | None = None, began_s: float = 0.0) -> Executor:
    return Executor(executor_id="gw0", worker_id="w", held=deque(held), current=current, began_s=began_s)


@pytest.mark.parametrize(
    ("waiting_s", "executors", "left_s"),
    [
        (6.0, [], None),
        (0.0, [executor(), executor()], None),
        (6.0, [executor(), executor()], 3.0),
        (6.0, [executor("a", "a"), executor()], 4.0),
        (0.0, [executor("a", "a", "a"), executor("a")], 3.0),
        (0.0, [executor("a", "a", current="a", began_s=99.6), executor()], 1.2),
        (0.0, [executor("a", current="a", began_s=97.0)], 2.0),
    ],
    ids=["nobody", "nothing", "waiting", "waiting-and-held", "held", "running", "late"],
)
def test_what_waits_and_what_is_held_are_counted(
    waiting_s: float, executors: list[Executor], left_s: float | None
) -> None:
    found = time_left_s(waiting_s, executors, lambda _: 1.0, 100.0)
    assert found == (None if left_s is None else pytest.approx(left_s))


def test_only_what_came_last_is_waited_for() -> None:
    seconds = {"old": 900.0, "new": 30.0, "short": 2.0}
    executors = [executor("old"), executor("new"), executor("short"), executor()]
    load = loads_of(executors, seconds.__getitem__, 0.0, lambda task_id: task_id != "old")["w"]
    assert (load.executors, load.running, load.left_s, load.awaited_s) == (4, 3, (900.0, 30.0, 2.0), 30.0)
    assert loads_of(executors, seconds.__getitem__, 0.0)["w"].awaited_s == 900.0
    assert loads_of([executor("old")], seconds.__getitem__, 0.0, lambda _: False)["w"].awaited_s == 0.0


def test_it_is_shown_until_the_last_test_has_ended(clock: Any) -> None:
    tasks = make_tasks(4)
    rig = Rig(clock, {task.task_id: Act(seconds=3.0) for task in tasks})
    for task in tasks:
        rig.predictor.record_task_execution(task.task_id, Usage(wall_s=3.0), Outcome.PASSED)
    rig.run(tasks)
    rig.check(tasks)
    told = [(status.finished, status.eta_s) for status in rig.surface.shown if status.running]
    assert {finished for finished, _ in told} == {0, 2}
    assert all(eta_s for _, eta_s in told), told
    assert told[0][1] == pytest.approx(6.0, abs=0.5)
    assert min(eta_s for finished, eta_s in told if finished and eta_s is not None) < 0.6
