"""A machine that must not or cannot join is told why in one line, within seconds, and nobody else is disturbed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hosts import faketime
from benchmarks.ray_cluster import RayCluster, ray_cluster
from drm.cluster_trust import WORKER, make_trust

pytest.importorskip("ray", reason="Ray is not installed: pip install 'drm-testing[ray]'")

SOON_S = 40.0  # on a busy machine; Ray alone would wait for more than 70 s on an idle one


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.add("first")
        made.wait_joined("first")
        yield made


def join(cluster: RayCluster, *options: str, credentials: Path | None = None, **environment: str) -> str:
    """Let a machine try to join; return the one line that it is refused with."""
    began = time.monotonic()
    given = {**os.environ, **cluster.environment, **environment}
    if credentials is not None:
        given["DRM_CLUSTER_FOLDER"] = str(credentials)
    command = [sys.executable, "-m", "drm", "worker", "--coordinator", cluster.address, *options]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (1, 4), done.stdout + done.stderr
    assert time.monotonic() - began < SOON_S
    (line,) = (done.stdout + done.stderr).strip().splitlines()
    return line


def credentials(folder: Path, **files: Path) -> Path:
    """Return a copy of the worker's credentials; ``files``: some of them from elsewhere."""
    made = folder / WORKER
    shutil.copytree(files.pop("of"), made)
    for name, source in files.items():
        path = next(file for file in made.iterdir() if file.stem == name)
        path.write_bytes((source / path.name).read_bytes())
    return folder


def other_trust(folder: Path) -> Path:
    return make_trust(folder / "other", coordinator=["127.0.0.1"], workers=["127.0.0.1"])[1]


def test_another_certificate(cluster: RayCluster, tmp_path: Path) -> None:
    other = credentials(tmp_path, of=other_trust(tmp_path))
    line = join(cluster, "--name", "stranger", credentials=other)
    assert "certificate of another authority" in line
    assert "copy the worker folder" in line


def test_another_token(cluster: RayCluster, tmp_path: Path) -> None:
    mixed = credentials(tmp_path, of=cluster.folder / WORKER, token=other_trust(tmp_path))
    line = join(cluster, "--name", "stranger", credentials=mixed)
    assert "another token" in line
    assert (mixed / WORKER / "token").read_text() not in line


def test_no_credentials(cluster: RayCluster, tmp_path: Path) -> None:
    assert "drm coordinator --init" in join(cluster, credentials=tmp_path)


def test_a_name_that_is_taken(cluster: RayCluster) -> None:
    line = join(cluster, "--name", "first")
    assert "'first'" in line
    assert "--name" in line


def test_another_ray(cluster: RayCluster, tmp_path: Path) -> None:
    about = tmp_path / "ray-2.0.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.0.0\n")
    path = os.pathsep.join((str(tmp_path), cluster.environment["PYTHONPATH"]))
    line = join(cluster, "--name", "old", PYTHONPATH=path)
    assert "Ray 2.0.0" in line
    assert "pip install 'ray==" in line


def test_another_python(cluster: RayCluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import platform\nplatform.python_version = lambda: '3.99.0'\n")
    path = os.pathsep.join((str(tmp_path), cluster.environment["PYTHONPATH"]))
    assert "Python 3.99.0" in join(cluster, "--name", "new", PYTHONPATH=path)


def test_a_port_of_a_coordinator_in_use(cluster: RayCluster) -> None:
    port = cluster.address.rpartition(":")[2]
    done = cluster.command("coordinator", "--port", port)
    assert done.returncode == 4
    (line,) = (done.stdout + done.stderr).strip().splitlines()
    assert "in use" in line
    assert "--port" in line


@pytest.mark.skipif(faketime() is None, reason="libfaketime is not installed: apt-get install libfaketime")
def test_a_clock_that_is_an_hour_off_is_said_and_changes_nothing(cluster: RayCluster, tmp_path: Path) -> None:
    """The suite runs on that machine, and the record has the coordinator's times."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.drm(labels=['late'])\ndef test_late(): pass\n")
    shift = {"LD_PRELOAD": str(faketime()), "FAKETIME": "-3600", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    before = cluster.environment
    cluster.environment = {**before, **shift}
    try:
        late = cluster.add("late", "--cpus", "1", "--memory", "1GiB", "--label", "late")
        cluster.wait_joined("late")
    finally:
        cluster.environment = before
    assert "the clock of late is 60 min slow" in cluster.said("coordinator")
    command = [sys.executable, "-m", "drm", "run", "--coordinator", cluster.address, "-p", "drm.pytest_plugin"]
    environment = {**os.environ, **before, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    late.terminate()
    late.wait(60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_cluster_is_as_it_was(cluster: RayCluster) -> None:
    listed = cluster.command("workers").stdout
    assert "first" in listed
    assert "stranger" not in listed
