"""A real cluster while a run is on it: gpus, what ``drm workers`` shows, ``drm drain``, and machines that are busy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.chaos_clusters import command_of
from benchmarks.ray_cluster import ClusterRun, RayCluster, ray_cluster
from drm.model.events import AttemptFinished, AttemptStarted, TestFinished, WorkerLost
from drm.worker.linux import descendants_of

pytestmark = pytest.mark.usefixtures("needs_ray", "has_time")
HAS = {
    "w1": ("--cpus", "6", "--memory", "2GiB", "--gpus", "2", "--label", "ssd"),
    "w2": ("--cpus", "1", "--memory", "1GiB"),
}
STALL_S = 4.0  # of Ray's own process: less than the three checks that it may miss


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.environment = {**made.environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CUDA_VISIBLE_DEVICES": "5,7"}
        for name, words in HAS.items():
            made.add(name, *words)
        made.wait_joined(*HAS)
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def begin(cluster: RayCluster, project: Path) -> Iterator[Begin]:
    begun = Begin(cluster, project)
    yield begun
    for run in begun.runs:
        run.close()


class Begin:
    """Begins a run of one test file, and ends it where the test does not."""

    def __init__(self, cluster: RayCluster, project: Path) -> None:
        self._cluster = cluster
        self._project = project
        self.runs: list[ClusterRun] = []

    def __call__(self, suite: str) -> ClusterRun:
        (self._project / "test_it.py").write_text(suite, encoding="utf-8")
        options = (f"--rootdir={self._project}", "--drm-no-report")
        self.runs.append(ClusterRun(self._cluster, self._project, self._project / "record", *options))
        return self.runs[-1]


def check_passed(run: ClusterRun, count: int) -> None:
    assert run.end() == 0, run.cluster.said("run")[-3000:]
    assert [event.outcome.value for event in run.of(TestFinished)] == ["passed"] * count


GPUS = """
import os, time
from pathlib import Path
import pytest

NOTES = Path(__file__).with_name("notes")

def note(share):
    began = time.monotonic()
    time.sleep(0.6)
    cuda, drm = os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("DRM_GPU_IDS")
    with NOTES.open("a") as file:
        file.write(f"{share} {cuda} {drm} {began} {time.monotonic()}\\n")

@pytest.mark.drm(gpu=1)
@pytest.mark.parametrize("n", range(4))
def test_whole(n):
    note(1)

@pytest.mark.drm(gpu=0.5)
@pytest.mark.parametrize("n", range(4))
def test_half(n):
    note(0.5)

@pytest.mark.drm(gpu=2)
def test_both():
    note(2)

@pytest.mark.drm(labels=["ssd"])
def test_none():
    note(0)
"""


def test_tests_find_the_gpus_of_their_machine_that_they_have_reserved(begin: Begin, project: Path) -> None:
    run = begin(GPUS)
    check_passed(run, 10)
    lines = [line.split() for line in (project / "notes").read_text(encoding="utf-8").splitlines()]
    names = {"0": "5", "1": "7", "0,1": "5,7", "1,0": "7,5"}  # of the devices that the machine was started with
    by_share = {share: {(cuda, drm) for each, cuda, drm, *_ in lines if each == share} for share in ("0", "1", "0.5")}
    assert by_share["0"] == {("5,7", "None")}, "as drm worker was started"
    assert all(cuda == names[drm] for _, cuda, drm, *_ in lines if drm != "None")
    assert by_share["1"] == {("5", "0"), ("7", "1")}
    assert by_share["0.5"] <= {("5", "0"), ("7", "1")}
    assert [sorted(drm.split(",")) for share, _, drm, *_ in lines if share == "2"] == [["0", "1"]]
    for device in ("0", "1"):
        assert most_at_once([line for line in lines if device in line[2].split(",")]) <= 1.0
    placed = {event.worker_id for event in run.of(AttemptStarted) if "none" not in event.task_id}
    assert placed == {"w1"}


def most_at_once(lines: list[list[str]]) -> float:
    """Return the greatest sum of shares of one device that tests had at the same time."""
    shares = [(float(began), float(ended), min(1.0, float(share))) for share, _, _, began, ended in lines]
    return max(sum(share for start, end, share in shares if start <= at < end) for at, _, _ in shares)


WAITS = """
import time
from pathlib import Path
import pytest

HERE = Path(__file__).parent

@pytest.mark.drm(memory="300MiB")
@pytest.mark.parametrize("n", range(9))
def test_waits(n):
    deadline = time.monotonic() + 200
    while not (HERE / "go").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
"""


def rows_of(table: str) -> dict[str, dict[str, str]]:
    """Return the cells of ``drm workers`` by worker and heading: columns begin where the headings do."""
    head, *lines = table.splitlines()
    starts = [0, *(at + 2 for at in range(len(head)) if head[at : at + 2] == "  " and head[at + 2 : at + 3].strip())]
    spans = [*pairwise(starts), (starts[-1], None)]
    titles = [head[start:end].strip() for start, end in spans]
    cells = [[line[start:end].strip() for start, end in spans] for line in lines]
    return {row[0]: dict(zip(titles, row, strict=True)) for row in cells}


def test_workers_shows_what_each_machine_has_has_given_out_and_uses(begin: Begin, cluster: RayCluster) -> None:
    before = rows_of(cluster.command("workers").stdout)
    assert before.keys() == HAS.keys()
    first = before["w1"]
    assert (first["cores"], first["memory"], first["gpus"], first["labels"]) == ("6", "2.0 GiB", "2", "ssd")
    assert (before["w2"]["labels"], before["w2"]["gpus"]) == ("-", "0")
    assert {(row["reserved"], row["used"], row["tests"]) for row in before.values()} == {("-", "-", "-")}
    run = begin(WAITS)

    def shown() -> dict[str, dict[str, str]] | None:
        rows = rows_of(cluster.command("workers").stdout)
        return rows if rows["w1"]["tests"] == "6/6" and rows["w2"]["tests"] == "1/1" else None

    amid = run.wait(shown)
    assert amid["w1"]["reserved"].startswith("6 cores, ")
    assert amid["w2"]["reserved"].startswith("1 cores, 0.3 GiB")
    assert " cores, " in amid["w1"]["used"]
    assert all(int(row["heard"].removesuffix(" s ago")) <= 8 for row in amid.values())
    assert amid["w1"]["address"] == "127.0.0.1"
    (run.record.parent / "go").touch()
    check_passed(run, 9)


BUSY = """
import time
import pytest

@pytest.mark.drm(labels=["ssd"])
@pytest.mark.parametrize("n", range(6))
def test_burns(n):
    until = time.monotonic() + 7
    while time.monotonic() < until:
        pass
"""


def test_a_machine_that_is_busy_and_stalls_for_seconds_is_not_given_up(begin: Begin, cluster: RayCluster) -> None:
    """Six tests burn what cores there are, and Ray's own process on the machine stands still for some seconds."""
    run = begin(BUSY)
    run.wait(lambda: len(run.under_way("w1")) == 6)
    (raylet,) = (pid for pid in descendants_of(cluster.machines["w1"].pid) if "/raylet/raylet " in command_of(pid))
    os.kill(raylet, signal.SIGSTOP)
    time.sleep(STALL_S)  # what is waited for is that nothing happens
    os.kill(raylet, signal.SIGCONT)
    check_passed(run, 6)
    assert run.of(WorkerLost) == []
    assert cluster.said("w1").count("drm: w1 has joined ") == 1


def test_a_machine_that_is_drained_amid_a_run_ends_what_it_runs_gets_nothing_new_and_leaves(
    begin: Begin, cluster: RayCluster
) -> None:
    run = begin(WAITS)
    (amid,) = run.wait(lambda: run.under_way("w2"))
    drain = cluster.start("drain", None, "drain", "w2", "--timeout", "120")
    run.wait(lambda: "leaving" in rows_of(cluster.command("workers").stdout)["w2"]["heard"])
    (run.record.parent / "go").touch()
    check_passed(run, 9)
    (ended,) = [event for event in run.of(AttemptFinished) if event.worker_id == "w2"]
    assert (ended.task_id, ended.outcome is not None) == (amid, True), "it has ended what it ran"
    assert len([event for event in run.of(AttemptStarted) if event.worker_id == "w2"]) == 1, "and got nothing new"
    assert drain.wait(120) == 0
    assert "w2 has left" in cluster.said("drain")
    assert cluster.machines["w2"].wait(60) == 0
    assert rows_of(cluster.command("workers").stdout).keys() == {"w1"}
