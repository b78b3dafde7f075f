"""A real run on containers of a real docker daemon: they join, one is killed, another comes in its place."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import Project, wait_until

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud_provider_manager"))

from docker_daemon import IMAGE, Daemon, started

pytestmark = pytest.mark.drm(group="dockerd")
TESTS = """
import os, pathlib, time, pytest

@pytest.mark.parametrize("n", range(60))
def test_n(n):
    time.sleep(0.1)
    assert pathlib.Path("/.dockerenv").exists()  # it runs in a container
"""
SETTINGS = """
[pytest]
[drm]
provider = docker
[drm:docker]
image = {image}
host = {host}
network = none
limit_cpus = 3
limit_memory = 4GiB
volumes = {volumes}
environment = PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONHASHSEED=0
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    pytest.importorskip("docker", reason="docker (of the extra) is not installed")
    with started(tmp_path_factory.mktemp("dockerd")) as daemon:
        yield daemon


def test_containers_join_one_is_killed_and_another_comes(project: Project, daemon: Daemon) -> None:
    project.file("test_l.py", TESTS)
    folders = ["/usr", "/lib", "/lib64", "/bin", "/etc", sys.prefix, sys.base_prefix]
    volumes = " ".join(each for each in dict.fromkeys(folders) if Path(each).exists())
    project.file("pytest.ini", SETTINGS.format(image=IMAGE, host=daemon.host, volumes=volumes))
    pool = ("--drm-workers", "2..3", "--drm-worker-type", "cpu=1,memory=1GiB")
    running = project.start(*pool, "--drm-report-dir", "out", "-v")
    with daemon.client() as api:
        first = wait_until(lambda: [each for each in api.containers() if each["State"] == "running"])
        running.wait_for(lambda: running.out().count("PASSED") >= 5)
        api.kill(first[0]["Id"])
        ran = running.end()
        assert ran.account() == {"passed": 60}, ran.out
        assert api.containers(all=True) == []
    events = [json.loads(line) for line in (project.root / "out" / "events.ndjson").read_text().splitlines()]
    kinds = [each["event"] for each in events]
    assert kinds.count("InstanceRequested") >= 3
    assert "WorkerLost" in kinds
