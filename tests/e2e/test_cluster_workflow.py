"""The workflow over Ray, with what breaks: ``drm coordinator``, ``drm worker`` of three kinds, ``drm run``.

Each machine is a host of its own where network namespaces are allowed, else a process on the loopback address, which
cannot be cut off. No gpu is needed: the label ``gpu`` stands for one, so what is shown is that such tests go to that
machine.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_cluster import lost_attempts, placements

from benchmarks import run_checks
from benchmarks.hosts import Hosts, why_not
from benchmarks.ray_cluster import ClusterRun, RayCluster, ray_cluster
from benchmarks.soak.checks import folders_of_ray
from drm.model.events import AttemptStarted, Event, UtilizationSampled, WorkerLost, WorkerReady
from drm.model.work import Outcome

pytestmark = pytest.mark.usefixtures("needs_ray")
KINDS = {
    "cpu": ("--memory", "1GiB", "--label", "cpu"),
    "highmem": ("--memory", "3GiB"),
    "gpu": ("--memory", "1GiB", "--label", "gpu"),
}
SUITE = """
import os, time
from pathlib import Path
import pytest

@pytest.fixture(autouse=True)
def begun():
    name = os.environ["PYTEST_CURRENT_TEST"].split(" ")[0].partition("::")[2]
    with Path(__file__).with_name("begun").open("a") as file:
        file.write(f"{time.time():.6f} {name}\\n")

@pytest.mark.parametrize("n", range(8))
def test_any(n):
    time.sleep(0.5)

@pytest.mark.drm(labels=["cpu"])
@pytest.mark.parametrize("n", range(5))
def test_cpu(n):
    time.sleep(2)

@pytest.mark.drm(memory="2GiB")
@pytest.mark.parametrize("n", range(5))
def test_highmem(n):
    time.sleep(1)

@pytest.mark.drm(labels=["gpu"])
@pytest.mark.parametrize("n", range(5))
def test_gpu(n):
    time.sleep(1)
"""
COUNTS = {"test_any": 8, "test_cpu": 5, "test_highmem": 5, "test_gpu": 5}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RayCluster]:
    """A coordinator and a machine of each kind, which have joined; nothing is left of them."""
    before = set(Path("/tmp").glob("drm-*"))  # where the sockets of Ray have to be
    folder = tmp_path / "cluster"
    folder.mkdir()
    with Hosts(len(KINDS) + 1, loopback=bool(why_not())) as hosts:
        with ray_cluster(folder, hosts if hosts.are_real else None) as made:
            made.environment = {**made.environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
            for name in KINDS:
                join(made, name)
            made.wait_joined(*KINDS)
            yield made
        assert [pid for host in hosts for pid in host.pids()] == [], "a process is left"
    assert folders_of_ray(before) == []


def join(cluster: RayCluster, name: str) -> None:
    cluster.add(name, "--cpus", "1", *KINDS[name], host=number_of(name) if cluster.hosts else 0)


def number_of(name: str) -> int:
    return list(KINDS).index(name) + 1


@pytest.fixture
def run(cluster: RayCluster, tmp_path: Path, run_folder: Path) -> Iterator[ClusterRun]:
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_load.py").write_text(SUITE, encoding="utf-8")
    (project / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n", encoding="utf-8")
    started = ClusterRun(cluster, project, run_folder, f"--rootdir={project}")
    yield started
    started.close()


def test_machines_of_three_kinds_are_killed_cut_off_and_started_again(run: ClusterRun, tmp_path: Path) -> None:
    kill_and_start_again(run)
    struck = {"cpu"}
    if run.cluster.hosts is not None:
        cut_off_beyond_the_lease(run)
        struck |= {"gpu"}
    code = run.end()
    said = run.cluster.said("run")
    assert code == 0, said[-3000:]
    assert "(raylet)" not in said, "Ray's own words do not help"
    check_work(run.events(), tmp_path / "project" / "begun")
    check_losses(run.events(), struck)
    check_report(run, tmp_path / "report")


def kill_and_start_again(run: ClusterRun) -> None:
    """``drm worker`` dies amid a test, and is at once started again under its name."""
    # The shorter ones may end before the machine's processes have.
    run.wait(lambda: any("test_cpu" in name for name in run.under_way("cpu")))
    process = run.cluster.machines["cpu"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    join(run.cluster, "cpu")


def cut_off_beyond_the_lease(run: ClusterRun) -> None:
    """A machine is cut off amid a test until it counts as lost; then it is back."""
    assert run.cluster.hosts is not None
    host = run.cluster.hosts[number_of("gpu")]
    run.wait(lambda: run.under_way("gpu"))
    host.partition()
    run.wait(lambda: "gpu" in {event.worker_id for event in run.of(WorkerLost)})
    host.heal()


def check_work(events: list[Event], begun: Path) -> None:
    """Each test has passed, once, where it belongs."""
    wanted = {
        f"test_load.py::{name}[{n}]": frozenset({Outcome.PASSED})
        for name, count in COUNTS.items()
        for n in range(count)
    }
    assert run_checks.ended_once(events, wanted) == []
    assert run_checks.attempts(events) + run_checks.reservations(events) + run_checks.times(events) == []
    lines = (line.partition(" ") for line in begun.read_text(encoding="utf-8").splitlines())
    assert run_checks.ran_too_late(events, ((float(at), f"test_load.py::{name}") for at, _, name in lines)) == []
    where = placements(events)
    assert [where[f"test_{kind}"] for kind in KINDS] == [{kind} for kind in KINDS]


def check_losses(events: list[Event], struck: set[str]) -> None:
    """What was struck was lost amid a test, joined again, and ran tests again."""
    assert {event.worker_id for event in events if isinstance(event, WorkerLost)} == struck
    assert {event.worker_id for event in lost_attempts(events)} == struck
    assert run_checks.back_again(events) == len(struck)
    back = {event.worker_id: event.seq for event in events if isinstance(event, WorkerReady)}
    again = {e.worker_id for e in events if isinstance(e, AttemptStarted) and e.seq > back[e.worker_id]}
    assert struck <= again


def check_report(run: ClusterRun, output: Path) -> None:
    """``drm report`` shows all tests, every machine, and those that were lost."""
    record = str(run.record / "events.ndjson")
    done = run.cluster.command("report", record, f"--output-dir={output}", "--format=json,html,md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((output / "report.json").read_text(encoding="utf-8"))["state"] == "passing"
    count = sum(COUNTS.values())
    written = (output / "report.md").read_text(encoding="utf-8")
    assert f"Passing: {count} of {count} tests passed." in written
    assert "worker cpu was lost" in written
    assert (output / "report.html").exists()
    assert {event.worker_id for event in run.of(UtilizationSampled)} == KINDS.keys()
