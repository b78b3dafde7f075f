"""The whole workflow with real processes: workers of three kinds, load that rises and falls, a worker that dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from e2e_cluster import Cluster, decisions, kinds_of_workers, lost_attempts, outcomes, placements

from drm.model.events import AttemptStarted, Event, InstanceReleased, InstanceRequested, WorkerLost, WorkerReady
from drm.model.plan import ScalingAction


def all_final(cluster: Cluster, number: int) -> bool:
    return sum(cluster.ears.delivered.values()) >= number


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_nothing_left(events: Sequence[Event]) -> None:
    requested = [event.worker_id for event in events if isinstance(event, InstanceRequested)]
    released = [event.worker_id for event in events if isinstance(event, InstanceReleased)]
    assert sorted(requested) == sorted(released)
    assert not [event.pid for event in events if isinstance(event, WorkerReady) and alive(event.pid)]


def test_each_kind_of_test_runs_on_its_kind_of_worker(cluster: Cluster) -> None:
    cluster.submit(cluster.tasks(cpu=6, highmem=3, gpu=3))
    cluster.run.coordinator.run()
    events = cluster.close()

    where = placements(events)
    assert where["test_highmem"] == {"highmem"}
    assert where["test_gpu"] == {"gpu"}
    assert set(kinds_of_workers(events).values()) == {"cpu", "highmem", "gpu"}
    assert all(found == ["passed"] for found in outcomes(events).values())
    check_nothing_left(events)


def test_the_pool_follows_the_load(cluster: Cluster) -> None:
    cluster.submit(cluster.tasks(cpu=2))
    cluster.until(lambda: all_final(cluster, 2), timeout_s=90)
    assert cluster.workers() == 1, "low load: one worker"

    cluster.submit(cluster.tasks(cpu=48, highmem=2, gpu=2))
    most = 0

    def spike_done() -> bool:
        nonlocal most
        most = max(most, cluster.workers())
        return all_final(cluster, 54)

    cluster.until(spike_done, timeout_s=90)
    assert 3 <= most <= 5, "spike: every kind of worker, and more of the one in demand"

    cluster.until(lambda: cluster.workers() == 1, timeout_s=90)  # cool-down
    cluster.submit(cluster.tasks(cpu=2))
    cluster.until(lambda: all_final(cluster, 56), timeout_s=90)
    events = cluster.close()

    made = decisions(events)
    actions = [event.decision.action for event in made]
    assert ScalingAction.UP in actions
    assert ScalingAction.DOWN in actions
    assert all(event.decision.reason and event.decision.trigger.code for event in made)
    assert len(outcomes(events)) == 56
    assert all(found == ["passed"] for found in outcomes(events).values())
    check_nothing_left(events)


def test_a_killed_worker_costs_no_test(cluster: Cluster) -> None:
    cluster.submit(cluster.tasks(long=1, cpu=8))
    killed: dict[str, int] = {}

    def kill_when_running() -> bool:
        pids = cluster.pids()
        for executor in cluster.running("test_load.py::test_long"):
            if not killed:
                killed[executor] = pids[executor]
                os.kill(pids[executor], signal.SIGKILL)
        return all_final(cluster, 9)

    cluster.until(kill_when_running, timeout_s=120)
    events = cluster.close()

    (lost,) = [event for event in events if isinstance(event, WorkerLost)]
    assert lost.worker_id in killed
    assert "test_load.py::test_long" in {event.task_id for event in lost_attempts(events)}
    began = [event for event in events if isinstance(event, AttemptStarted) and event.task_id.endswith("::test_long")]
    assert [event.attempt for event in began] == [1, 2]
    assert began[0].worker_id != began[1].worker_id
    assert all(found == ["passed"] for found in outcomes(events).values())
    assert len(outcomes(events)) == 9
    check_nothing_left(events)
