"""pytest-cov: what is measured under DRM is what a serial run measures, also in executors that die."""

from __future__ import annotations

import json
import os

import pytest
from projects import MODES, Project

pytest.importorskip("pytest_cov")

LIB = """
def low(n):
    return n - 1 if n else None

def high(n):
    if n > 5:
        return n
    return -n

def last():
    return "covered by the last test before the death"

def never():
    return 0
"""

TESTS = """
import os, signal, time, pytest, lib

class TestInOrder:
    def test_last(self):
        lib.last()

    def test_dies(self):
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.parametrize("n", range(10))
def test_n(n):
    time.sleep(0.05)
    lib.low(n)
    lib.high(n)
"""

COV = ("-q", "-p", "pytest_cov", "--cov=lib", "--cov-branch", "--cov-report=json:cov.json")


@pytest.fixture(autouse=True)
def _measured_by_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the runs apart from the coverage that is measured of these very tests: both would write one file."""
    for name in os.environ:
        if name.startswith("COVERAGE_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("mode", MODES)
def test_the_figures_are_a_serial_run_s_though_an_executor_dies(project: Project, mode: str) -> None:
    project.file("lib.py", LIB)
    project.file("test_c.py", TESTS)

    def measured() -> tuple[dict[str, float], list[int]]:
        report = json.loads((project.root / "cov.json").read_text())
        return report["totals"], report["files"]["lib.py"]["missing_lines"]

    assert project.serial(*COV, "-k", "not dies").code == 0
    serial = measured()
    ran = project.drm(*COV, mode=mode)
    assert ran.account() == {"passed": 11, "failed": 1}, ran.out
    assert measured() == serial
    assert len(serial[1]) == 1
    assert "CoverageWarning" not in ran.out
    assert not list(project.root.glob(".coverage.*")), "files of executors are combined and gone"


def test_cov_fail_under_fails_the_run(project: Project) -> None:
    project.file("lib.py", LIB)
    project.file("test_c.py", "import lib\ndef test_low(): lib.low(1)\n")
    ran = project.run(*COV, "--cov-fail-under=90")
    assert ran.code == 1, ran.out
    ran.line("ERROR: Coverage failure: total of .* is less than fail-under=90")


def test_coverage_run_measures_executors_without_any_setting(project: Project) -> None:
    project.file("lib.py", LIB)
    project.file("test_c.py", TESTS)
    project.file("run.py", "import pytest, sys\nsys.exit(pytest.main(['-p', 'drm.pytest_plugin', '--drm', '-q']))\n")
    project.python("-m", "coverage", "run", "--parallel-mode", "--source=.", "run.py")
    project.python("-m", "coverage", "combine", "--quiet")
    project.python("-m", "coverage", "json", "-o", "cov.json")
    report = json.loads((project.root / "cov.json").read_text())
    assert len(report["files"]["lib.py"]["missing_lines"]) == 1
