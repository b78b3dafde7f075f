"""Plugins that need nothing of DRM, and get nothing in their way."""

from __future__ import annotations

import re

import pytest
from projects import Project, junit_of


def test_pytest_timeout(project: Project) -> None:
    """By signal the test fails; by thread its process ends, which is told with the stacks it printed."""
    pytest.importorskip("pytest_timeout")
    project.file(
        "test_t.py",
        """
import time, pytest

@pytest.mark.timeout(0.3)
def test_signal():
    time.sleep(60)

@pytest.mark.timeout(0.3, method="thread")
def test_thread():
    time.sleep(60)

@pytest.mark.parametrize("n", range(5))
def test_fine(n): pass
""",
    )
    ran = project.drm("-p", "timeout")
    assert ran.account() == {"passed": 5, "failed": 2}, ran.out
    assert "Failed: Timeout (>0.3s) from pytest-timeout" in ran.out
    messages = {test.task_id: test.message for test in project.results().summary.tests}
    assert "exit code 1" in messages["test_t.py::test_thread"]
    assert re.search(r"Stack of MainThread.*in test_thread\n +time.sleep\(60\)", ran.out, re.DOTALL), ran.out


@pytest.mark.parametrize("mode", ["fork", "spawn"])
def test_pytest_rerunfailures(project: Project, mode: str) -> None:
    """With pytest-xdist installed it has a thread, which forbids no fork."""
    pytest.importorskip("pytest_rerunfailures")
    project.file(
        "test_r.py",
        """
import pathlib, pytest

@pytest.mark.flaky(reruns=3)
def test_flaky():
    seen = pathlib.Path("seen")
    text = seen.read_text() if seen.exists() else ""
    seen.write_text(text + "x")
    assert len(text) >= 2

def test_bad():
    assert 0
""",
    )
    ran = project.drm("-p", "xdist", "-p", "rerunfailures", "--reruns=1", mode=mode)
    assert ran.counts() == {"failed": 1, "passed": 1, "rerun": 3}, ran.out
    assert ran.account() == {"passed": 1, "failed": 1}
    assert "forking is not safe" not in ran.out


def test_pytest_asyncio(project: Project) -> None:
    pytest.importorskip("pytest_asyncio")
    project.file("pytest.ini", "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = session\n")
    project.file(
        "test_a.py",
        """
import asyncio, pytest, pytest_asyncio

@pytest_asyncio.fixture(scope="session")
async def loop_id():
    yield id(asyncio.get_running_loop())

@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("n", range(8))
async def test_n(n, loop_id):
    await asyncio.sleep(0)
    assert id(asyncio.get_running_loop()) == loop_id
    assert n != 5
""",
    )
    ran = project.drm("-q", "-p", "asyncio")
    assert ran.account() == {"passed": 7, "failed": 1}, ran.out


@pytest.mark.parametrize("mode", ["fork", "spawn"])
def test_pytest_randomly(project: Project, mode: str) -> None:
    """Every test sees the random numbers of a serial run with that seed."""
    pytest.importorskip("pytest_randomly")
    project.file(
        "test_r.py",
        "import pytest, random\n@pytest.mark.parametrize('n', range(6))\n"
        "def test_n(n, record_property): record_property('number', random.random())\n",
    )
    options = ("-q", "-p", "randomly", "--randomly-seed=7")
    assert project.serial(*options, "--junitxml=serial.xml").code == 0
    ran = project.drm(*options, "--junitxml=drm.xml", mode=mode)
    assert ran.code == 0, ran.out
    assert junit_of(project.root / "drm.xml") == junit_of(project.root / "serial.xml")


def test_pytest_mock(project: Project) -> None:
    pytest.importorskip("pytest_mock")
    project.file(
        "test_m.py",
        """
import os, pytest

@pytest.mark.parametrize("n", range(4))
def test_patched(n, mocker):
    mocker.patch("os.getcwd", return_value="elsewhere")
    assert os.getcwd() == "elsewhere"

def test_not_patched(session_mocker):
    assert os.getcwd() != "elsewhere"
""",
    )
    assert project.drm("-q", "-p", "pytest_mock").account() == {"passed": 5}


@pytest.mark.parametrize("mode", ["fork", "spawn"])
def test_pytest_html(project: Project, mode: str) -> None:
    pytest.importorskip("pytest_html")
    project.file(
        "test_h.py",
        """
import pytest, pytest_html

@pytest.mark.parametrize("n", range(6))
def test_n(n, extras, pytestconfig):
    extras.append(pytest_html.extras.text(f"note of {n}"))
    print(f"output of {n}")
    assert n != 4
""",
    )
    project.file(
        "conftest.py",
        """
import pathlib, pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    yield
    if hasattr(session.config, "workerinput") and pathlib.Path("r.html").exists():
        pathlib.Path("written by an executor").touch()
""",
    )
    ran = project.drm(
        "-p", "html", "-p", "html_fixtures", "-p", "metadata", "--html=r.html", "--self-contained-html", "-v", mode=mode
    )
    assert ran.account() == {"passed": 5, "failed": 1}, ran.out
    page = (project.root / "r.html").read_text()
    assert "1 Failed," in page
    assert "5 Passed," in page
    for n in range(6):
        assert page.count(f"test_h.py::test_n[{n}]") >= 1
        assert f"output of {n}" in page
    assert ran.out.count("Generated html report") == 1
    assert not (project.root / "written by an executor").exists()
    assert "pytest_testnodedown failed" not in ran.out


def test_hypothesis(project: Project) -> None:
    """A failing example is found, kept and found again first; a seed gives the examples of the serial run."""
    project.file(
        "test_y.py",
        """
from hypothesis import given, settings, strategies as st

@settings(max_examples=20, database=None)
@given(st.lists(st.booleans()))  # integers are drawn from the constants of all modules, too
def test_drawn(n):
    print(n)

@given(st.lists(st.integers()))
def test_finds(values):
    assert sum(values) < 1000
""",
    )
    options = ("-p", "hypothesispytest", "--hypothesis-seed=3", "--hypothesis-show-statistics", "-ojunit_logging=all")
    serial = project.serial(*options, "--junitxml=serial.xml")
    ran = project.drm(*options, "--junitxml=drm.xml")
    assert (serial.code, ran.code) == (1, 1), ran.out
    assert "Failing test case: test_finds(" in ran.out
    assert "test_y.py::test_finds:" in ran.out, "the statistics are shown"
    drawn = [
        [row[2] for row in junit_of(project.root / name) if row[:2] == ("test_y::test_drawn", "system-out")]
        for name in ("serial.xml", "drm.xml")
    ]
    assert drawn[0][0].count("\n") >= 20
    assert drawn[0] == drawn[1]
    for phase in ("generate", "reuse"):  # what one run found, the next one begins with
        again = project.drm("-p", "hypothesispytest", "--hypothesis-show-statistics", "-k", "finds")
        assert f"during {phase} phase" in again.out
