"""A canary: secrets of the person who runs tests are nowhere in what a whole run records, reports, prints and starts.

They are in the environment and in the credentials of a cluster, as they are in use; the tests end in every way.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from projects import MODES, Project

pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")

from drm.cluster_trust import COORDINATOR, WORKER, environment, make_trust
from drm.engines.ray_engine.environment import ray_environment
from drm.engines.ray_engine.node import NodeSettings, Ports

CANARY = "canary-7f3a"
NAMES = ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "DRM_GITLAB_TOKEN", "GITLAB_TOKEN", "DB_PASSWORD", "DRM_JOIN_TOKEN")
SUITE = """
import os
import time
import warnings

import pytest


def test_passes():
    time.sleep(0.5)  # so that its process is looked at


def test_fails(tmp_path):
    warnings.warn("careful")
    print("some output")
    assert 1 == 2


def test_dies():
    os._exit(3)


@pytest.mark.drm(timeout=1)
def test_takes_too_long():
    time.sleep(60)


@pytest.mark.drm(cpu=99)
def test_fits_nowhere():
    pass


@pytest.fixture(scope="module")
def torn():
    yield
    raise RuntimeError("teardown")


def test_is_torn_down_badly(torn):
    pass
"""
FORMATS = "json,md,html,junit,ctrf,trace,openmetrics"


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trust") / "cluster"
    make_trust(folder, coordinator=[], workers=[])
    return folder


def secrets_of(credentials: Path) -> list[str]:
    """Return what is secret of the credentials: the tokens, and a line of each key."""
    folders = (credentials / COORDINATOR, credentials / WORKER)
    keys = [(folder / "key.pem").read_text().splitlines()[1] for folder in folders]
    return [*((folder / "token").read_text() for folder in folders), *keys]


@pytest.mark.parametrize("mode", ["fork", "spawn", "workers"])
def test_no_secret_is_in_what_a_run_leaves_prints_and_starts(project: Project, credentials: Path, mode: str) -> None:
    project.file("test_all.py", SUITE)
    given = {name: f"{CANARY}-{name}" for name in NAMES} | {"DRM_CLUSTER_FOLDER": str(credentials)}
    commands: set[str] = set()
    running = project.start(
        *("--drm-report-dir", str(project.report_dir), *MODES[mode], f"--junitxml={project.root}/junit.xml", "-v"),
        *("-rA", "--drm-retries", "1", "--durations=5"),
        **given,
    )
    while running.process.poll() is None:
        commands.update(project.processes().values())
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(0.05)
    ran = running.end()
    assert ran.code == 1, ran.out
    command = [sys.executable, "-m", "drm", "report", str(project.report_dir), "--format", FORMATS]
    reported = project.python(*command[1:], "--output-dir", str(project.root / "written"))
    assert len(list((project.root / "written").iterdir())) >= 7
    assert any("drm.worker" in each for each in commands) == (mode != "fork"), commands
    texts = {
        "printed": ran.out,
        "reported": reported,
        "arguments of processes": "\n".join(commands),
        **{
            str(path): path.read_bytes().decode("latin-1")
            for folder in (project.root, project.temp)
            for path in folder.rglob("*")
            if path.is_file()
        },
    }
    assert {"events.ndjson", "results.json", "report.html", "junit.xml"} <= {Path(name).name for name in texts}
    for where, text in texts.items():
        for secret in (CANARY, *secrets_of(credentials)):
            assert secret not in text, f"a secret is in {where}"


def test_no_secret_is_in_what_a_node_of_ray_is_started_with(credentials: Path, tmp_path: Path) -> None:
    for role, coordinator in ((COORDINATOR, ""), (WORKER, "10.0.0.1:7410")):
        trust = environment(credentials / role)
        settings = NodeSettings(
            name="w1", host="10.0.0.2", ports=Ports(first=7000), coordinator=coordinator, told={"cpu": 1}, trust=trust
        )
        shown = "\n".join((*settings.command(tmp_path), repr(settings), json.dumps(ray_environment(trust))))
        for secret in secrets_of(credentials):
            assert secret not in shown
