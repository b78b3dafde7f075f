"""What goes wrong between machines: each is a host of its own where that is allowed, else a process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.hosts import Hosts, faketime, why_not
from benchmarks.ray_cluster import ClusterRun, RayCluster
from drm.model.events import AttemptStarted, Event, TestFinished, WorkerLost
from drm.model.work import Outcome
from drm.worker.linux import descendants_of

pytestmark = pytest.mark.usefixtures("needs_ray", "has_time")
SUITE = """
import time
import pytest

@pytest.mark.parametrize("n", range(4))
def test_waits(n):
    time.sleep(4)
"""


class World:
    """A coordinator, two machines, and a run on them."""

    def __init__(self, folder: Path, *, skews_s: Mapping[int, float] | None = None) -> None:
        self.folder = folder
        self.hosts = Hosts(3, skews_s=skews_s) if not why_not() else None
        (folder / "cluster").mkdir()
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "test_load.py").write_text(SUITE)
        (self.project / "pytest.ini").write_text("[pytest]\n")
        self.cluster = RayCluster(folder / "cluster", self.hosts)
        self.environment = {**self.cluster.environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        self.cluster.environment = self.environment
        self.run: ClusterRun | None = None
        self.join()

    def join(self) -> None:
        """Let both machines join."""
        for name, host in (("w1", 1), ("w2", 2)):
            times = self.cluster.said(name).count(f"drm: {name} has joined ") + 1
            self.cluster.add(name, "--cpus", "1", "--memory", "1GiB", host=host if self.hosts else 0)
            self.cluster.wait_for(name, f"drm: {name} has joined ", times=times)

    def begin(self) -> ClusterRun:
        """Begin a run, and return it when both machines have begun a test."""
        run = self.run = ClusterRun(self.cluster, self.project, self.folder / "record", "--drm-no-report")
        run.wait(lambda: {event.worker_id for event in run.of(AttemptStarted)} == {"w1", "w2"})
        return run

    def check_outcomes(self) -> None:
        assert self.run is not None
        finished = [event.task_id for event in self.run.of(TestFinished)]
        assert sorted(finished) == sorted(set(finished)), "one final outcome each"
        assert len(finished) == 4
        assert {event.outcome.value for event in self.run.of(TestFinished)} == {"passed"}

    def close(self) -> None:
        if self.run is not None:
            self.run.close()
        self.cluster.close()
        if self.hosts is not None:
            left = [pid for host in self.hosts for pid in host.pids()]
            self.hosts.close()
            assert left == [], "a process is left"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def begun_after(events: Sequence[Event], worker_id: str) -> list[AttemptStarted]:
    lost = next(event for event in events if isinstance(event, WorkerLost) and event.worker_id == worker_id)
    return [event for event in events if isinstance(event, AttemptStarted) and event.seq > lost.seq]


def test_a_machine_that_dies_costs_no_test_and_is_drained_with_the_command(world: World) -> None:
    run = world.begin()
    world.cluster.kill_machine("w1")
    run.wait(lambda: begun_after(run.events(), "w1") if run.of(WorkerLost) else None)
    assert run.end() == 0
    world.check_outcomes()
    assert any(event.attempt == 2 for event in run.of(AttemptStarted))
    table = world.cluster.command("workers").stdout
    assert "w2" in table
    drained = world.cluster.command("drain", "w2", "--timeout", "60")
    assert "w2 has left" in drained.stdout, drained.stderr
    assert world.cluster.machines["w2"].wait(60) == 0


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "hosts can be cut off")
def test_a_machine_that_is_cut_off_joins_again_when_it_is_back(world: World) -> None:
    assert world.hosts is not None
    run = world.begin()
    world.hosts[1].partition()
    run.wait(lambda: run.of(WorkerLost))
    world.hosts[1].heal()
    assert run.end() == 0
    world.check_outcomes()
    assert "w1 is given nothing new" in world.cluster.said("run"), "it was suspected first"
    world.cluster.wait_for("w1", "has joined", times=2)


def test_without_its_coordinator_the_run_ends_and_machines_leave_and_then_it_is_resumed(world: World) -> None:
    run = world.begin()
    run.wait(lambda: run.of(TestFinished))
    head = world.cluster.coordinator
    for pid in (head.pid, *descendants_of(head.pid)):
        os.kill(pid, signal.SIGKILL)
    head.wait()
    assert run.end() == 3
    assert "the coordinator ended" in world.cluster.said("run")
    for name in ("w1", "w2"):
        assert world.cluster.machines[name].wait(90) == 1
        assert "the coordinator has not answered" in world.cluster.said(name)
    ended = {event.task_id for event in run.of(TestFinished) if event.outcome is not Outcome.NOT_RUN}
    assert 0 < len(ended) < 4, "some ended, some did not run"

    world.cluster.start_coordinator()
    world.join()
    run.resume()
    assert run.end() == 0, world.cluster.said("run")[-3000:]
    assert f"{len(ended)} of 4 tests had ended and are not run again" in world.cluster.said("run")
    world.check_outcomes()
    again = [event for event in run.of(AttemptStarted) if event.task_id in ended and event.attempt > 1]
    assert again == []


def test_a_machine_that_is_told_to_end_while_it_runs_a_test_is_gone_within_seconds(world: World) -> None:
    """Ray itself takes half a minute to end beside a live actor."""
    run = world.begin()
    started = time.monotonic()
    world.cluster.machines["w1"].terminate()
    assert world.cluster.machines["w1"].wait(60) == 0
    assert time.monotonic() - started < 15
    assert run.end() == 0
    world.check_outcomes()


def test_what_is_taken_already_is_said_in_a_line(world: World) -> None:
    """A second coordinator at the same port, a second machine of the same name."""
    done = world.cluster.command(
        "coordinator", "--bind", world.cluster.host, "--port", world.cluster.address.rpartition(":")[2]
    )
    assert done.returncode == 4
    assert f"a coordinator of this user is at {world.cluster.address} already" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    again = world.cluster.command(
        "worker", "--coordinator", world.cluster.address, "--name", "w1", "--host", world.cluster.host
    )
    assert again.returncode == 4
    assert "w1" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1, again.stderr


@pytest.mark.skipif(faketime() is None, reason="libfaketime is not installed: apt-get install libfaketime")
def test_a_machine_whose_clock_is_an_hour_off_runs_tests_like_any_other(tmp_path: Path) -> None:
    if why_not():
        pytest.skip(why_not())
    world = World(tmp_path, skews_s={1: -3600.0})
    try:
        run = world.begin()
        assert run.end() == 0
        world.check_outcomes()
        times = [event.at for event in run.events()]
        assert times == sorted(times), "all times are the controller's"
    finally:
        world.close()


def test_the_run_belongs_on_the_coordinators_host(world: World) -> None:
    if world.hosts is None:
        pytest.skip(why_not())
    elsewhere = {"DRM_CLUSTER_FOLDER": str(world.folder / "elsewhere"), "PYTHONPATH": world.environment["PYTHONPATH"]}
    command = [sys.executable, "-m", "drm", "run", "--coordinator", world.cluster.address, str(world.project)]
    done = world.hosts[1].run(command, env=elsewhere)
    assert done.returncode == 4
    assert f"run this on the host of {world.cluster.host}" in done.stderr


def test_a_machine_that_lost_its_power_is_started_again_at_once_and_joins(world: World) -> None:
    world.cluster.kill_machine("w1")
    world.cluster.add("w1", "--cpus", "1", "--memory", "1GiB", host=1 if world.hosts else 0)
    world.cluster.wait_for("w1", "drm: w1 has joined ", times=2)
    assert world.cluster.said("w1").count("is not forgotten yet") == 1
    run = world.begin()
    assert run.end() == 0
    world.check_outcomes()
