"""A machine that is bought for a run joins over Ray, runs its tests and is ended with it.

EC2 is moto's server. It boots nothing, so a stand-in does here: it runs each instance's user data, the very script that
cloud-init would run, with this Python in the place of the machine's own and without powering anything off.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from faulty_ec2_client import FaultyEc2

from benchmarks.ray_cluster import ROOT, RayCluster, ray_cluster
from drm.cloud_provider_manager.tags import WORKER
from drm.cloud_provider_manager.warm_up import PYTHON
from drm.model.events import AttemptStarted, InstanceReleased, InstanceRequested, TestFinished
from drm.reporting.ndjson import read_events
from drm.worker.linux import descendants_of

pytestmark = pytest.mark.usefixtures("needs_ray")

SETTINGS = """
[pytest]
addopts = -p no:cacheprovider
[drm]
provider = aws
budget = 5
[drm:aws]
region = us-east-1
image = {image}
endpoint = {url}
zones = us-east-1a us-east-1b
types = m6i.large
limit_cpus = 4
limit_memory = 32GiB
"""
SUITE = """
import os, time, pytest
@pytest.mark.parametrize("n", range(8))
def test_runs_elsewhere(n):
    time.sleep(0.2)
    assert os.environ.get("BOOTED") == "by its user data"
"""


class Booting(threading.Thread):
    """Boots each instance with its user data, and takes its power when it is terminated, as EC2 does."""

    def __init__(self, ec2: FaultyEc2, folder: Path) -> None:
        super().__init__(daemon=True)
        self._ec2 = ec2
        self._folder = folder
        self._over = threading.Event()
        self.machines: dict[str, subprocess.Popen[bytes]] = {}  # by instance
        self.scripts: list[str] = []
        folder.mkdir()
        tools = folder / "bin"
        tools.mkdir()
        (tools / "shutdown").write_text(f'#!/bin/sh\necho "$@" >> {folder}/shutdown\n')
        (tools / "shutdown").chmod(0o755)
        self._environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "BOOTED": "by its user data",
            "HOME": str(folder),
        }

    def run(self) -> None:
        while not self._over.wait(0.1):
            self.look()

    def look(self) -> None:
        live = self._ec2.live()
        for instance_id in live:
            if instance_id not in self.machines:
                self._boot(instance_id, self._user_data(instance_id))
        for instance_id, machine in self.machines.items():
            if instance_id not in live and machine.poll() is None:
                for pid in (machine.pid, *descendants_of(machine.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                machine.wait()

    def _user_data(self, instance_id: str) -> str:
        """Return what the instance was made with: the last call for its worker, for those before it were refused."""
        tags = self._ec2.tags(instance_id)
        scripts = (base64.b64decode(call["UserData"]).decode() for call in reversed(self._ec2.calls()))
        return next(script for script in scripts if f" --worker-id {tags[WORKER]} " in script)

    def _boot(self, instance_id: str, script: str) -> None:
        own = self._folder / instance_id
        own.mkdir()
        self.scripts.append(script)
        moved = script.replace(PYTHON, sys.executable).replace("/run/drm-cluster", str(own / "cluster"))
        with (own / "console.log").open("wb") as log:
            self.machines[instance_id] = subprocess.Popen(
                ["bash", "-c", moved],
                cwd=own,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def consoles(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*/console.log")))

    def close(self) -> None:
        """Stop looking, when what was terminated has lost its power."""
        self._over.set()
        self.join(30)
        self.look()


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyEc2]:
    for module in ("boto3", "moto"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    given = {"AWS_ACCESS_KEY_ID": "AKIDCANARY", "AWS_SECRET_ACCESS_KEY": "canary-secret-key"}
    for name, value in {**given, "AWS_CONFIG_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    with FaultyEc2.started() as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    folder = tmp_path / "cluster"
    folder.mkdir()
    with ray_cluster(folder) as made:
        yield made


def test_a_bought_machine_joins_runs_the_tests_and_is_ended(
    tmp_path: Path, cluster: RayCluster, ec2: FaultyEc2
) -> None:
    project, record = tmp_path / "project", tmp_path / "record"
    project.mkdir()
    (project / "pytest.ini").write_text(SETTINGS.format(image=ec2.image, url=ec2.url))
    (project / "test_it.py").write_text(SUITE)
    ec2.set(no_capacity=[["us-east-1a", "", ""]])
    booting = Booting(ec2, tmp_path / "machines")
    booting.start()
    try:
        words = ("-p", "drm.pytest_plugin", "--drm-workers", "0..2", "--drm-no-report", f"--drm-report-dir={record}")
        done = cluster.command("run", "--coordinator", cluster.address, f"--rootdir={project}", str(project), *words)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said + booting.consoles()
    finally:
        booting.close()
    events = list(read_events(record / "events.ndjson"))
    assert sum(isinstance(event, TestFinished) for event in events) == 8
    requested = [event for event in events if isinstance(event, InstanceRequested)]
    assert {event.provider for event in requested} == {"aws"}
    assert {event.worker_id for event in events if isinstance(event, AttemptStarted)} <= {
        e.worker_id for e in requested
    }
    released = [event.worker_id for event in events if isinstance(event, InstanceReleased)]
    assert sorted(released) == sorted(event.worker_id for event in requested)
    assert ec2.live() == []
    assert len(booting.machines) == len(requested)
    orders = (tmp_path / "machines" / "shutdown").read_text().splitlines()
    assert orders == ["-P +120"] * len(requested), "each ends by itself when its lease does, whatever happens"
    for script in booting.scripts:
        assert "canary" not in script
        assert re.search(r"DRM_JOIN_TOKEN=\S{40,}", script), "good once; nothing else in it is a secret"
