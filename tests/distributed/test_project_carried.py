"""A machine that does not see the controller's folder runs its tests all the same, or says in a line why it cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hosts import small_disk
from benchmarks.ray_cluster import RayCluster, ray_cluster
from drm.model.events import TestFinished, WorkerReady
from drm.reporting.ndjson import read_events

pytestmark = pytest.mark.usefixtures("needs_ray")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    folder = tmp_path / "cluster"
    folder.mkdir()
    with ray_cluster(folder) as made:
        own = {"DRM_OWN_PROJECT": "1", "DRM_BUNDLE_CACHE": str(tmp_path / "cache")}
        made.environment = {**made.environment, **own}
        yield made


def make_project(root: Path) -> Path:
    root.mkdir()
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (root / "helper.py").write_text("ANSWER = 42\n")
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    (root / "test_it.py").write_text(
        "import os, subprocess, helper\n"
        f"CONTROLLERS = {str(root)!r}\n"
        "def test_is_elsewhere(): assert not os.getcwd().startswith(CONTROLLERS)\n"
        "def test_imports(): assert helper.ANSWER == 42 and not helper.__file__.startswith(CONTROLLERS)\n"
        "def test_runs(): assert subprocess.check_output(['./run.sh']) == b'ran\\n'\n"
        "def test_temp(tmp_path): (tmp_path / 'x').write_text('x')\n"
    )
    return root


def run(cluster: RayCluster, root: Path) -> tuple[int, str]:
    here = os.getcwd()
    os.chdir(root)
    try:
        done = cluster.command("run", "--coordinator", cluster.address, "-p", "drm.pytest_plugin")
    finally:
        os.chdir(here)
    return done.returncode, done.stdout + done.stderr


def test_the_project_is_sent_and_removed(cluster: RayCluster, tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    cluster.add("far")
    cluster.wait_joined("far")
    code, out = run(cluster, root)
    assert code == 0, out
    assert "far does not see" in out
    assert "sending 4 files" in out
    events = list(read_events(root / "reports" / "run" / "events.ndjson"))
    assert sum(isinstance(event, TestFinished) for event in events) == 4
    assert [event.worker_id for event in events if isinstance(event, WorkerReady)] == ["far"]
    code, out = run(cluster, root)  # now it is in the cache
    assert code == 0, out
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("drm-project-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_on_a_worker_costs_that_worker_and_no_test(cluster: RayCluster, tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    (root / "data").write_bytes(os.urandom(3 * 2**20))
    (root / "test_long.py").write_text(
        "import time\ndef test_long(): time.sleep(8)\n"
    )  # the other one is asked meanwhile
    cluster.add("roomy")
    with small_disk(tmp_path / "disk", "1m") as disk:
        cluster.environment = {**cluster.environment, "DRM_BUNDLE_CACHE": str(disk)}
        cluster.add("full", "--cpus", "2", "--memory", "2GiB")
        cluster.wait_joined("roomy", "full")
        code, out = run(cluster, root)
        cluster.machines["full"].terminate()
        cluster.machines["full"].wait(60)
    assert code == 0, out
    assert "5 passed" in out
    lines = {line for line in out.splitlines() if "No space left" in line}
    assert len(lines) == 1, out
    assert "free some space there" in lines.pop()
