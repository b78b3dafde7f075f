"""``drm plan``: what a run would do, told before it does; nothing is run and nothing is created."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = """
import pathlib
import pytest

@pytest.mark.parametrize("n", range(40))
@pytest.mark.drm(memory="1GiB")
def test_small(n):
    pathlib.Path("was_run").touch()

@pytest.mark.drm(gpu=1)
def test_on_a_gpu():
    pathlib.Path("was_run").touch()
"""
AWS = """
[drm]
provider = aws
budget = 5
[drm:aws]
region = us-east-1
image = ami-123
types = c7i.large m7i.large g6.xlarge
zones = us-east-1a us-east-1b
"""


def plan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(SUITE, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-m", "drm", "plan", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_types_decisions_cost_and_makespan_are_told_and_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(AWS, encoding="utf-8")
    done = plan(tmp_path, "--drm-workers", "0..20", "--drm-value-of-time", "5")
    told = done.stdout
    assert done.returncode == 0, told + done.stderr
    assert "type         c7i.large from aws (2 cpu, 4 GiB)" in told
    assert "type         g6.xlarge from aws" in told
    assert "rejected     m7i.large from aws: a test-second costs 1.4e-05 USD, and 1.24e-05 USD on c7i.large" in told
    assert "up c7i.large: 0 -> " in told
    for word in (
        "trigger queue_pressure",
        "inputs waiting 40",
        "alternatives by_runnable_tests: 20 workers",
        "boot_s 60",
    ):
        assert word in told
    assert "makespan     1m0" in told, "a boot of a minute, and tests of which nothing is known"
    assert "cost         0.0" in told
    assert not (tmp_path / "was_run").exists()
    assert not (tmp_path / ".drm").exists()


def test_without_separate_workers_the_plan_is_of_this_machine(tmp_path: Path) -> None:
    done = plan(tmp_path, "--drm-gpus", "0", "--drm-executors", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "workers      this machine alone" in done.stdout
    assert "not run      test_it.py::test_on_a_gpu: it needs 1 gpu" in done.stdout
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("ini", "problem"),
    [
        (AWS.replace("provider = aws", "provider = awz"), "'awz' is no provider; write one or more of local, docker"),
        (AWS.replace("image = ami-123\n", ""), "provider aws: image is not set"),
        (AWS.replace("c7i.large", "c7i.lage"), "type 'c7i.lage' is not in the catalogue of aws"),
        (AWS.replace("us-east-1a", "mars-1a"), "has no price of c7i.large in 'mars-1'"),
        (AWS.replace("region", "regoin"), "unknown key 'regoin'"),
        (AWS.replace("budget = 5", "budget = lots"), "'lots' is no amount"),
        (AWS.replace("budget = 5", "lease = 5s"), "'5s' is too short"),
    ],
)
def test_what_makes_no_provider_is_told_in_a_line(tmp_path: Path, ini: str, problem: str) -> None:
    (tmp_path / "pytest.ini").write_text(ini, encoding="utf-8")
    done = plan(tmp_path, "--drm-workers", "0..20")
    assert done.returncode == 4, done.stdout + done.stderr
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if problem in line]
    assert line.startswith("ERROR: ")
