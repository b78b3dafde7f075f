"""The nox sessions, run for real in a small project that has this project's noxfile and drm."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from drm.model.stages import COMPONENTS, STAGES

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "tests/unit/resource_optimizer/test_placement.py": "def test_it_fits():\n    assert True\n",
    "tests/unit/cloud_provider_manager/test_local.py": "def test_it_starts():\n    assert True\n",
    "tests/unit/test_events.py": "def test_it_counts():\n    assert True\n",
    "tests/integration/test_together.py": "def test_it_breaks():\n    assert 1 == 2\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder that looks like this project to its noxfile."""
    for name in ("noxfile.py", "setup.cfg"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "drm").symlink_to(ROOT / "drm")
    for name, text in TESTS.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


HERE = ("--no-venv", "--no-install")  # in the environment of this test


def nox(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run nox, untouched by what this test itself runs in."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("COVERAGE_", "NOX", "PYTEST_"))}
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", "")))
    command = [sys.executable, "-m", "nox", "--nocolor", *arguments]
    return subprocess.run(
        command, cwd=project, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


def status_of(project: Path, folder: str) -> dict[str, Any]:
    return json.loads((project / "reports" / folder / "status.json").read_text())


def test_list_reads_like_documentation(project: Path) -> None:
    listed = nox(project, "-l")
    assert listed.returncode == 0
    for stage in STAGES:
        assert f"* {stage.name} -> Stage: {stage.summary}." in listed.stdout
    for name in ("lint", "types", "report", "badges"):
        assert f"* {name} -> " in listed.stdout
    for python in ("3.11", "3.12", "3.13"):
        assert f"- tests-all-pythons-{python} -> " in listed.stdout


@pytest.mark.parametrize("session", ["unit", "report", "lint"])
def test_unknown_argument_is_named_in_one_line(project: Path, session: str) -> None:
    done = nox(project, *HERE, "-s", session, "--", "resource_optimiser")
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    complaints = [line for line in done.stdout.splitlines() if "unknown session argument" in line]
    assert len(complaints) == 1
    for component in COMPONENTS:
        assert component.slug in complaints[0]


def test_failed_stage_stops_neither_report_nor_badges(project: Path) -> None:
    done = nox(project, *HERE, "-s", "unit", "integration", "report", "badges")
    assert done.returncode == 1, done.stdout
    assert status_of(project, "unit")["status"] == "passed", done.stdout
    assert status_of(project, "integration") | {"status": "failed", "exit_code": 1} == status_of(project, "integration")
    for stage in ("unit", "integration"):
        for name in ("events.ndjson", "results.json", "junit.xml", "stage.log"):
            assert (project / "reports" / stage / name).is_file(), name
        assert list((project / "reports" / stage).glob(".coverage*"))
    assert "test_it_breaks" in (project / "reports/integration/stage.log").read_text()
    assert "test_it_breaks" in (project / "reports/report.md").read_text()
    assert (project / "reports/report.html").is_file()
    assert (project / ".github/badges/drm_status.json").is_file()
    assert json.loads((project / "reports/coverage.json").read_text())["totals"]["num_statements"] > 0
    assert "* report: success" in done.stdout
    assert "* badges: success" in done.stdout


def test_one_component(project: Path) -> None:
    done = nox(project, *HERE, "-s", "unit", "--", "resource_optimizer")
    assert done.returncode == 0, done.stdout
    results = (project / "reports/unit-resource_optimizer/junit.xml").read_text()
    assert "test_it_fits" in results
    assert "test_it_starts" not in results
    assert status_of(project, "unit-resource_optimizer")["components"] == ["resource_optimizer"]


def test_tests_of_no_single_component_belong_to_integration(project: Path) -> None:
    done = nox(project, *HERE, "-s", "unit", "--", "drm_integration")
    assert done.returncode == 0, done.stdout
    results = (project / "reports/unit-drm_integration/junit.xml").read_text()
    assert "test_it_counts" in results
    assert "test_it_fits" not in results


def test_component_without_tests_in_a_stage_is_skipped_and_said_so(project: Path) -> None:
    done = nox(project, *HERE, "-s", "integration", "--", "resource_optimizer")
    assert done.returncode == 0
    assert "the integration stage has no test of resource_optimizer" in done.stdout


def test_options_go_to_pytest(project: Path) -> None:
    done = nox(project, *HERE, "-s", "unit", "--", "-k", "test_it_starts", "-q")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "2 deselected" in done.stdout


def test_components_one_by_one_make_the_stage(project: Path) -> None:
    def left() -> set[str]:
        return {folder.name for folder in (project / "reports").iterdir() if folder.name.startswith("unit")}

    for name in ("unit", "unit-cloud_provider_manager-resource_optimizer", "unit-dynamic_resource_manager"):
        (project / "reports" / name).mkdir(parents=True)
    nox(project, *HERE, "-s", "unit", "--", "resource_optimizer")
    assert left() == {"unit-dynamic_resource_manager", "unit-resource_optimizer"}
    nox(project, *HERE, "-s", "unit", "--", "cloud_provider_manager")
    assert left() == {"unit-dynamic_resource_manager", "unit-resource_optimizer", "unit-cloud_provider_manager"}


def test_new_run_leaves_no_old_result(project: Path) -> None:
    for folder in ("unit", "unit-resource_optimizer"):
        (project / "reports" / folder).mkdir(parents=True)
        (project / "reports" / folder / "junit.xml").write_text("old")
    nox(project, *HERE, "-s", "unit", "--", "--no-such-option")
    assert not (project / "reports/unit-resource_optimizer").exists()
    assert not (project / "reports/unit/junit.xml").exists()
    assert status_of(project, "unit")["status"] == "failed"
    assert status_of(project, "unit")["exit_code"] == 4  # pytest's code for a wrong command line


def test_stages_can_be_collected_together() -> None:
    """Test files lie in no packages, so that each is imported by its bare name: one name, one file."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []


def test_performance_runs_alone() -> None:
    """nox never runs a session beside one that does not allow it."""
    pytest.importorskip("nox").registry.reset()
    noxfile = runpy.run_path(str(ROOT / "noxfile.py"))
    sessions = noxfile["nox"].registry.get()
    alone = {name for name, session in sessions.items() if not session.allow_parallel}
    unhurried = {"audit", "mutation", "package", "publish", "status", "tests-all-pythons"}
    assert alone == {"performance", "benchmarks-all", "report", "badges"} | unhurried
