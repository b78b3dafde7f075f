"""A provider says that it takes a machine away: its worker gets no more tests, and nobody pays for it with a retry."""

from __future__ import annotations

import dataclasses
from typing import Any

from scripted import SMALL, Act, Rig, make_task

from drm.coordinator.retries import Again, Mishap, RetryPolicy, decide
from drm.model import events
from drm.model import observations as seen
from drm.model.death import DeathKind
from drm.model.work import Outcome

TASKS = [make_task(f"t{n}", scope=f"m{n}.py") for n in range(30)]
REASON = "spot interruption: terminate at 2026-01-01T00:02:00Z"


def rig_of(clock: Any, seconds: float = 0.2) -> Rig:
    return Rig(clock, {task.task_id: Act(seconds) for task in TASKS}, types=(SMALL,), workers=(2, 3))


def begun_on(rig: Rig, worker_id: str) -> list[float]:
    return [each.elapsed_s for each in rig.journal.of(events.AttemptStarted) if each.worker_id == worker_id]


def test_a_noticed_worker_ends_what_it_runs_and_gets_no_more(clock: Any) -> None:
    rig = rig_of(clock)
    rig.engine.at(1.0, lambda: [seen.WorkerNoticed(worker_id="w0", reason=REASON)] * 2)
    assert set(rig.run(TASKS).values()) == {Outcome.PASSED}
    rig.check(TASKS)
    (noticed,) = rig.journal.of(events.WorkerNoticed)
    assert (noticed.worker_id, noticed.reason) == ("w0", REASON)
    assert max(begun_on(rig, "w0")) <= noticed.elapsed_s
    assert rig.journal.of(events.WorkerLost) == []
    assert all(each.attempts == 1 for each in rig.journal.of(events.TestFinished))
    assert ("release", "w0") in rig.engine.calls
    assert any(f"w0 is given no more tests: {REASON}" in line for line in rig.surface.said)


def test_what_a_provider_lists_is_heard_once(clock: Any) -> None:
    rig = rig_of(clock)
    listed = rig.provider.list_instances
    rig.provider.list_instances = lambda: tuple(  # type: ignore[method-assign]
        dataclasses.replace(each, notice=REASON if each.worker_id == "w1" and clock.now() > 1.0 else "")
        for each in listed()
    )
    assert set(rig.run(TASKS).values()) == {Outcome.PASSED}
    (noticed,) = rig.journal.of(events.WorkerNoticed)
    assert noticed.worker_id == "w1"


def test_what_it_was_running_when_it_went_is_queued_again_uncharged(clock: Any) -> None:
    rig = rig_of(clock, seconds=3.0)
    rig.engine.at(1.0, lambda: [seen.WorkerNoticed(worker_id="w0", reason=REASON)])
    rig.engine.at(2.0, lambda: rig.engine.lose("w0", "the connection closed"))
    assert set(rig.run(TASKS).values()) == {Outcome.PASSED}
    rig.check(TASKS)
    (lost,) = rig.journal.of(events.WorkerLost)
    assert (lost.worker_id, lost.reason) == ("w0", REASON)
    assert sorted({each.attempts for each in rig.journal.of(events.TestFinished)}) == [1, 2]
    assert not any(each.flaky for each in rig.journal.of(events.TestFinished))


def test_no_number_of_announced_losses_gives_a_test_up() -> None:
    policy = RetryPolicy(crash=0)
    taken = [
        Mishap(attempt=n, kind=DeathKind.LOST, message="taken", is_announced=True)
        for n in range(1, 3 * policy.innocent)
    ]
    assert decide(taken, policy, most_bytes=0) == Again()
    lost = Mishap(attempt=9, kind=DeathKind.LOST, message="lost")
    assert decide([*taken, *[lost] * policy.innocent], policy, most_bytes=0) == Again()
    assert decide([*taken, *[lost] * (policy.innocent + 1)], policy, most_bytes=0) != Again()
