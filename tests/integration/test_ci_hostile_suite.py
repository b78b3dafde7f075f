"""A suite whose tests are called anything, from pytest to what the CI provider is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from projects import Project

pytest.importorskip("defusedxml", reason="defusedxml is not installed: pip install defusedxml")

CONFTEST = """
import pytest

NAMES = ["]]>", "a\\\\n::error::injected", "##[error]x", "<script>alert(1)</script>", "| a | b |", "@octocat #12",
         "\\\\x1b[31mred", "x" * 2**20]


class Item(pytest.Item):
    def runtest(self):
        raise ValueError(self.name)

    def repr_failure(self, excinfo):
        return f"boom {self.name}"

    def reportinfo(self):
        return self.path, 0, self.name[:100]


class File(pytest.File):
    def collect(self):
        return [Item.from_parent(self, name=name) for name in NAMES]


def pytest_collect_file(file_path, parent):
    return File.from_parent(parent, path=file_path) if file_path.suffix == ".odd" else None
"""


def test_nothing_comes_of_a_hostile_suite(project: Project) -> None:
    project.file("conftest.py", CONFTEST.replace("\\\\", "\\"))
    project.file("names.odd", "")
    reports = project.root / "reports"
    ran = project.run("--drm-executors", "2", "--drm-report-dir", "reports/run", "--junitxml=reports/run/junit.xml")
    assert ran.code == 1, ran.out[-2000:]
    summary = project.root / "summary.md"
    environment = project.environment(
        GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary), GITHUB_WORKSPACE=str(project.root), GITHUB_SHA=""
    )
    done = subprocess.run(
        [sys.executable, "-m", "drm", "ci", "status", "--check"],
        cwd=project.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "drm: Failing: 0 of 8 tests passed; run: 8 of 8 tests did not pass."
    assert all(re.match(r"drm: |::error (file=names\.odd,)?(line=\d+,)?title=[^:]*::", line) for line in lines), lines
    assert len(lines) == 2 + 8
    assert not [line for line in lines if "other run" in line or "damaged" in line]
    assert all(line.isprintable() and len(line) < 4000 for line in lines)
    assert summary.stat().st_size < 60_000
    text = summary.read_text()
    assert "## Failures (8)" in text
    assert "<script" not in text
    assert Path(reports / "ci" / "junit.xml").stat().st_size < 1_000_000
