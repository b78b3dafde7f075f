"""``drm ci analyze``: the numbers of a real history, and the lines for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_ci_discover import HOSTILE, drm_ci, environment

SUITE = """
import time
import pytest

@pytest.mark.drm(cpu=2, memory="3GiB", lock="db")
def test_asks(): pass

def test_slow(): time.sleep(0.3)

def test_uses(browser): pass

@pytest.fixture
def browser(): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").write_text(SUITE)
    return tmp_path


def run(folder: Path) -> None:
    command = [sys.executable, "-m", "drm", "run", "--drm-no-report", "--drm-cpus", "2", "-q"]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True, timeout=60)


def test_before_and_after_the_first_run(folder: Path) -> None:
    before = {test["id"]: test for test in json.loads(drm_ci(folder, "analyze", "--json").stdout)["tests"]}
    assert not (folder / ".drm").exists()  # to look leaves nothing behind
    asks, slow, uses = (before[f"tests/test_a.py::test_{name}"] for name in ("asks", "slow", "uses"))
    assert asks["memory_bytes"] == {"value": 3 * 2**30, "source": "marker", "because": "@pytest.mark.drm"}
    assert asks["claims"] == {"lock db": 2**30}
    assert (slow["wall_s"]["source"], slow["memory_bytes"]["source"]) == ("default", "default")
    assert (uses["memory_bytes"]["source"], uses["memory_bytes"]["value"]) == ("fixture", 2**30)

    run(folder)
    ran = drm_ci(folder, "analyze", "--json", "--worker-type", "cpu=1,memory=8GiB,price=3600,name=one")
    after = json.loads(ran.stdout)
    rows = {test["id"]: test for test in after["tests"]}
    slow = rows["tests/test_a.py::test_slow"]
    assert slow["wall_s"]["source"] == "history"
    assert 0.3 <= slow["wall_s"]["value"] < 10
    assert rows["tests/test_a.py::test_uses"]["memory_bytes"]["source"] == "history"
    (fit,) = after["workers"]
    assert [(row["id"], row["certain"]) for row in fit["misfits"]] == [("tests/test_a.py::test_asks", True)]
    assert fit["misfits"][0]["reason"] == "needs 2 cpu; the largest worker has 1"
    assert fit["usd"] == pytest.approx(fit["makespan_s"])
    assert 0.3 <= fit["makespan_s"] < 10


def test_text(folder: Path) -> None:
    ran = drm_ci(folder, "analyze", "--worker-type", "cpu=2,memory=1GiB,name=small", "--worker-type", "cpu=4")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "3 tests never measured: their times are guesses; drm run measures them\n" in ran.stdout
    assert "on small\n  1 test  does not fit  needs 3 GiB of memory; the largest worker has 1 GiB" in ran.stdout
    assert "it uses the fixture browser" in ran.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--worker-type", "cpu=four"], "--worker-type 'cpu=four': cpu: 'four' is not"),
        (["--worker-type", "cpus=4"], "unknown key 'cpus'; did you mean 'cpu'?"),
        (["--worker-type", "name=a", "--worker-type", "name=a"], "two are called 'a'; give each its own name=..."),
        (["--workers", "0"], "--workers: '0' is not a count"),
        (["--tests", "many"], "--tests: 'many' is not a number of tests; give a number, or all"),
    ],
)
def test_wrong_options_are_a_line(folder: Path, options: list[str], message: str) -> None:
    ran = drm_ci(folder, "analyze", *options)
    assert (ran.returncode, ran.stdout) == (4, "")
    assert message in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_damaged_history_is_a_line_and_costs_nothing_else(folder: Path) -> None:
    (folder / ".drm").mkdir()
    (folder / ".drm/history.db").write_bytes(b"SQLite format 3\0" + b"no" * 4000)
    ran = drm_ci(folder, "analyze")
    assert ran.returncode == 0
    assert ran.stderr.startswith("drm: history ")
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stdout.startswith("stage ")


def test_names_do_no_harm(folder: Path) -> None:
    (folder / "conftest.py").write_text(HOSTILE)
    (folder / "tests/test_odd.py").write_text("")
    ran = drm_ci(folder, "analyze", "--tests", "all", "--worker-type", "cpu=1,memory=1MiB")
    assert ran.returncode == 0
    assert "\x1b" not in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) < 400
    assert not [line for line in ran.stdout.splitlines() if line.startswith("::")]
    assert len(json.loads(drm_ci(folder, "analyze", "--json").stdout)["tests"]) == 9


def test_what_cannot_be_collected_is_said_and_the_rest_analyzed(folder: Path) -> None:
    (folder / "tests/test_bad.py").write_text("1 / 0\n")
    ran = drm_ci(folder, "analyze")
    assert ran.returncode == 2
    assert ran.stderr == "drm: cannot collect tests/test_bad.py: ZeroDivisionError: division by zero\n"
    assert ran.stdout.startswith("stage ")
