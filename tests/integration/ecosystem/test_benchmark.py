"""pytest-benchmark: measured, with nothing else running, and told as in a serial run."""

from __future__ import annotations

import json

import pytest
from projects import Project

pytest.importorskip("pytest_benchmark")

BENCHMARKS = """
import os, pytest

def alone():
    \"\"\"No executor is left: the one child of this process is the zygote, and that waits.\"\"\"
    def children(pid):
        return open(f"/proc/{pid}/task/{pid}/children").read().split()
    return [child for pid in children(os.getpid()) for child in children(pid)] == []

@pytest.mark.parametrize("n", range(4))
def test_one(benchmark, n):
    assert alone()
    benchmark.pedantic(lambda: sum(range(100)), rounds=3)
    assert n != FAILS

@pytest.mark.parametrize("n", range(10))
def test_other(n):
    assert "PYTEST_XDIST_WORKER" in os.environ
"""

OPTIONS = ("-p", "benchmark", "-q", "--benchmark-json=b.json")


def measured(project: Project) -> list[str]:
    return [entry["name"] for entry in json.loads((project.root / "b.json").read_text())["benchmarks"]]


def test_benchmarks_run_alone_after_the_others(project: Project) -> None:
    project.file("test_b.py", BENCHMARKS.replace("FAILS", "9"))
    ran = project.drm(*OPTIONS)
    assert ran.code == 0, ran.out
    assert ran.account() == {"passed": 14}
    ran.line("^drm: benchmarks run now in this process, alone, one after another")
    ran.line("benchmark: 4 tests")
    assert measured(project) == [f"test_one[{n}]" for n in range(4)]
    started = [event for event in project.events() if type(event).__name__ == "AttemptStarted"]
    assert [event.executor_id for event in started][-4:] == ["master"] * 4


def test_a_failed_benchmark_stops_the_run_with_x(project: Project) -> None:
    project.file("test_b.py", BENCHMARKS.replace("FAILS", "1"))
    ran = project.drm(*OPTIONS, "-x")
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 11, "failed": 1, "not run": 2}


def test_benchmarks_that_are_not_to_be_measured_are_tests_like_others(project: Project) -> None:
    project.file("test_b.py", BENCHMARKS.replace("FAILS", "9").replace("assert alone()", ""))
    ran = project.drm("-p", "benchmark", "-q", "--benchmark-disable")
    assert ran.account() == {"passed": 14}
    assert "benchmarks run now" not in ran.out
