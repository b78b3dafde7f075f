"""``drm bench compare`` on a project of its own: a slowdown is found and named, and nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
class Work:
    def slow(self):
        return sum(number * number for number in range({n}))

def other():
    return sorted(range(500), key=lambda number: -number)
"""
BENCHMARKS = """
from app import Work, other

def test_slow(benchmark):
    benchmark.pedantic(Work().slow, rounds=25)

def test_slow_no_more(benchmark):
    benchmark.pedantic(other, rounds=25)
"""
QUIET = ("-p", "no:asyncio", "-p", "no:django")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "benchmarks").mkdir(parents=True)
    (project / "app.py").write_text(APP.format(n=2000))
    (project / "benchmarks" / "test_app.py").write_text(BENCHMARKS)
    (project / "benchmarks" / "test_broken.py").write_text("def test_x(benchmark): benchmark.pedantic(int)\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    return project


def compare(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_", "GIT_"))}
    return subprocess.run(
        [sys.executable, "-m", "drm", "bench", "compare", *arguments],
        cwd=folder,
        env={**ours, "TMPDIR": str(folder.parent), **extra},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def left_behind(folder: Path) -> list[str]:
    trees = git(folder, "worktree", "list", "--porcelain").count("worktree ")
    return [*(["a worktree"] if trees != 1 else []), *(path.name for path in folder.parent.glob("drm-bench-*"))]


def test_a_slowdown_is_found_and_named_and_nothing_is_left(folder: Path) -> None:
    (folder / "app.py").write_text(APP.format(n=6000))
    ran = compare(folder, "HEAD", "--json", "--pairs", "3", "--", "benchmarks/test_app.py", *QUIET)
    assert ran.returncode == 1, ran.stderr
    rows = {row["name"].partition("::")[2]: row for row in json.loads(ran.stdout)}
    assert rows["test_slow"]["verdict"] == "slower"
    assert 2 < rows["test_slow"]["ratios"]["median"] < 4.5
    assert rows["test_slow"]["changed"] == ["app.py: Work.slow"]
    assert "1 seem slower" in ran.stderr
    assert left_behind(folder) == []
    assert git(folder, "status", "--porcelain") == " M app.py\n", "the working tree is as it was"
    assert git(folder, "stash", "list") == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "'nowhere' is no commit here; give a branch"),
        (("HEAD", "--pairs", "1"), "--pairs 1: too few"),
        (("HEAD", "--", "benchmarks/none.py"), "pytest ended with 4 in HEAD"),
        (("HEAD", "--", "benchmarks/test_broken.py", "-k", "nothing"), "no benchmark was run"),
        (("HEAD", "--timeout", "0.01"), "took longer than 0.01 s"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_nothing_is_left(
    folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    ran = compare(folder, *arguments)
    assert ran.returncode == 4
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("drm: ")
    assert said in last
    assert left_behind(folder) == []


def test_outside_a_repository(tmp_path: Path) -> None:
    ran = compare(tmp_path, "HEAD", GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert ran.returncode == 4
    assert "is in no git repository" in ran.stderr
