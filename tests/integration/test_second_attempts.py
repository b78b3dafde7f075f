"""Tests that are tried again, are ended, or are killed for memory; and what is said of them everywhere."""

from __future__ import annotations

import os
import re
import signal
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import MODES, Project

from drm.model import events
from drm.model.death import DeathKind
from drm.model.work import Outcome

FLAKY = """
import os, pathlib, pytest

def first_time(name):
    try:
        pathlib.Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

@pytest.mark.parametrize("n", range(5))
def test_fine(n): pass

def test_crashes_once():
    if first_time("crashed"):
        os._exit(7)

def test_fails_once():
    assert not first_time("failed")

def test_fails_always():
    assert 0, "always"
"""


@pytest.mark.parametrize("mode", MODES)
def test_flaky_is_said_everywhere(project: Project, mode: str) -> None:
    project.file("test_flaky.py", FLAKY)
    ran = project.drm("--drm-retries", "crash=1,failure=1", "--junitxml=out.xml", "-v", mode=mode)
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 7, "failed": 1}
    assert "8 tests = 7 passed + 1 failed (2 flaky)" in ran.out
    assert ran.counts() == {"passed": 5, "flaky": 2, "failed": 1}
    assert ran.line(r"test_flaky.py::test_crashes_once .*FLAKY")
    assert ran.line(r"^drm: test_flaky.py::test_fails_once is flaky: passed on attempt 2; attempt 1: ")
    assert ran.line(r"^drm: test_flaky.py::test_crashes_once: attempt 1 .*exit code 7.*in the end: passed \(flaky\)$")
    assert ran.line(r"^FAILED test_flaky.py::test_fails_always - AssertionError: always")
    flaky = {test.task_id.partition("::")[2] for test in project.results().summary.tests if test.flaky}
    assert flaky == {"test_crashes_once", "test_fails_once"}
    assert {
        e.task_id.partition("::")[2] for e in project.events() if isinstance(e, events.TestFinished) and e.flaky
    } == flaky
    cases = {case.get("name"): case for case in ElementTree.parse(project.root / "out.xml").iter("testcase")}
    properties = {name: {p.get("name"): p.get("value") for p in case.iter("property")} for name, case in cases.items()}
    assert {name for name, found in properties.items() if "flaky" in found} == flaky
    assert "exit code 7" in str(properties["test_crashes_once"]["flaky"])


def test_without_retries_nothing_is_tried_again(project: Project) -> None:
    project.file("test_flaky.py", FLAKY)
    ran = project.drm("--drm-retries", "0")
    assert ran.account() == {"passed": 5, "failed": 3}
    assert {test.attempts for test in project.results().summary.tests} == {1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--drm-retries", "often"), "--drm-retries: 'often' does not say how often to try again; write 1, or"),
        (("--drm-retries", "crash=-1"), "--drm-retries: 'crash=-1' does not say"),
        (("--drm-scaling", "utilisation"), "--drm-scaling: 'utilisation' is no scaling policy; write makespan or"),
        (("--drm-timeout-factor", "0.5"), "--drm-timeout-factor: '0.5' is not a factor"),
    ],
)
def test_bad_options(project: Project, options: tuple[str, ...], words: str) -> None:
    project.file("test_a.py", "def test_a(): pass\n")
    ran = project.run(*options)
    assert ran.code == 4
    assert words in ran.out


def test_options_in_the_configuration(project: Project) -> None:
    project.file("pytest.ini", "[pytest]\n[drm]\nretries = failure=1\n")
    project.file("test_flaky.py", FLAKY)
    assert project.drm("-k", "fails_once").counts()["flaky"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_timeout_leaves_the_stacks_in_the_report(project: Project, mode: str) -> None:
    project.file(
        "test_stuck.py",
        """
import ctypes, pytest, threading, time

def asleep():
    time.sleep(600)

@pytest.mark.drm(timeout=0.5)
def test_stuck_in_c():
    threading.Thread(target=asleep, daemon=True).start()
    libc = ctypes.PyDLL(None)  # keeps the interpreter to itself
    while True:
        libc.sleep(600)

def test_fine(): pass
""",
    )
    ran = project.drm("--junitxml=out.xml", mode=mode)
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 1, "failed": 1}
    assert ran.line("^FAILED test_stuck.py::test_stuck_in_c - killed: the test ran longer than its timeout of 500 ms")
    for text in (ran.out, (project.root / "out.xml").read_text()):
        assert "in test_stuck_in_c" in text
        assert "in asleep" in text
    (ended,) = [event for event in project.events() if isinstance(event, events.AttemptFinished) and event.cause]
    assert (ended.death, ended.outcome) == (DeathKind.TIMEOUT, Outcome.FAILED)


def test_a_crash_leaves_its_stack_in_the_report_where_pytest_would_show_it(project: Project) -> None:
    project.file("test_segv.py", "import ctypes\ndef test_segv(): ctypes.string_at(0)\ndef test_fine(): pass\n")
    ran = project.drm()
    assert ran.account() == {"passed": 1, "failed": 1}
    (stack,) = re.findall(r"Fatal Python error: Segmentation fault", ran.out)
    report = ran.out[ran.out.index("= FAILURES =") :]
    assert stack in report
    assert "in test_segv" in report


def test_a_test_far_slower_than_ever_is_ended(project: Project) -> None:
    project.file("test_slow.py", "import os, time\ndef test_slow(): time.sleep(float(os.environ.get('NAP', 0.01)))\n")
    assert project.drm().code == 0
    began = time.monotonic()
    ran = project.drm("--drm-timeout-factor", "10", NAP="60")
    assert ran.account() == {"failed": 1}, ran.out
    assert "the test ran longer than 5.0 s, where it took" in ran.out
    assert "in test_slow" in ran.out, "the stacks"
    assert time.monotonic() - began < 40


def test_a_stopped_executor_is_found_and_its_test_tried_again(project: Project) -> None:
    project.file(
        "test_stop.py",
        "import os, signal, pathlib, pytest\n"
        "def test_stops():\n"
        "    if not pathlib.Path('stopped').exists():\n"
        "        pathlib.Path('stopped').touch()\n"
        "        os.kill(os.getpid(), signal.SIGSTOP)\n"
        "@pytest.mark.parametrize('n', range(10))\n"
        "def test_fine(n): pass\n",
    )
    ran = project.drm()
    assert ran.code == 0, ran.out
    assert ran.account() == {"passed": 11}
    (hung,) = [event for event in project.events() if isinstance(event, events.AttemptFinished) and event.cause]
    assert hung.death is DeathKind.HUNG
    assert "it was stopped (by SIGSTOP or the like)" in hung.cause


def test_a_test_that_is_too_late_does_not_harm_the_next(project: Project) -> None:
    """It turns SIGTERM into an exception, so that it ends after its time was up, and its executor goes on."""
    project.file(
        "test_late.py",
        "import pytest, signal, time\n"
        "def end(*_): raise RuntimeError('ended')\n"
        "@pytest.mark.drm(timeout=0.5)\n"
        "def test_late():\n    signal.signal(signal.SIGTERM, end)\n    time.sleep(600)\n"
        "@pytest.mark.parametrize('n', range(20))\n"
        "def test_next(n): time.sleep(0.2)\n",
    )
    ran = project.drm("--drm-executors", "1", "--drm-order", "file")
    assert ran.account() == {"passed": 20, "failed": 1}, ran.out
    assert "longer than its timeout of 500 ms" in ran.line("^FAILED test_late.py::test_late")
    assert all(test.attempts == 1 for test in project.results().summary.tests)


# -- memory, in a cgroup where the kernel kills

_CGROUP = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup (version 1) of 300 MiB; whoever enters it is the kernel's to kill."""
    folder = _CGROUP / f"drm-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(300 * 2**20))
    except OSError as error:
        pytest.skip(f"no cgroup can be made here ({error})")
    yield folder
    folder.rmdir()


def test_who_the_kernel_kills_for_memory_is_known(project: Project, small_cgroup: Path) -> None:
    """DRM is told of far more memory than there is and does not see it coming: the kernel kills."""
    project.file(
        "test_hog.py",
        "import pytest\n"
        "def test_hog():\n    assert len(bytearray(b'x') * 900_000_000) > 0\n"
        "@pytest.mark.parametrize('n', range(5))\n"
        "def test_modest(n): pass\n",
    )
    enter = ("sh", "-c", f'echo $$ > {small_cgroup}/cgroup.procs && exec "$@"', "sh")
    ran = project.drm("--drm-retries", "0", wrap=enter)
    assert ran.account() == {"passed": 5, "failed": 1}, ran.out
    kills = [event for event in project.events() if isinstance(event, events.AttemptFinished) and event.cause]
    assert {event.death for event in kills} == {DeathKind.MEMORY}
    assert any("killed by the kernel for memory (signal SIGKILL)" in event.cause for event in kills), ran.out


# -- the account


def test_an_account_that_does_not_add_up_is_an_error(project: Project) -> None:
    project.file("test_a.py", "def test_a(): pass\ndef test_b(): pass\n")
    project.file(
        "conftest.py",
        "from drm.coordinator.accounts import Accounts\nAccounts.counts = lambda self: (('passed', 1),)\n",
    )
    ran = project.drm()
    assert ran.code == 3, ran.out
    assert ran.line("^drm: THE ACCOUNT DOES NOT ADD UP: of 2 tests, 1 have an outcome; this is an error of DRM$")
    assert project.results().exit_code == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_crash_counts_although_its_second_attempt_never_came(project: Project, number: int) -> None:
    project.file(
        "test_a.py",
        "import os, pathlib, time\n"
        "def test_dies():\n"
        "    if pathlib.Path('died').exists():\n        time.sleep(600)\n"
        "    pathlib.Path('died').touch()\n    os._exit(1)\n"
        "def test_waits(): time.sleep(600)\n",
    )
    running = project.start("--drm-report-dir", str(project.report_dir), "--drm-executors", "1", "--drm-order", "file")
    running.wait_for((project.root / "died").exists)
    running.wait_for(
        lambda: (
            (project.report_dir / "events.ndjson").exists()
            and '"death":"crash"' in (project.report_dir / "events.ndjson").read_text()
        )
    )
    running.process.send_signal(number)
    ran = running.end()
    account = ran.account()
    assert account.total() == 2
    assert account["not run"] >= 1


STRAGGLER = """
import pathlib, time, pytest

@pytest.mark.drm(idempotent=True)
def test_slow_once():
    if pathlib.Path("slow").exists():
        try:
            pathlib.Path("begun").touch(exist_ok=False)
        except FileExistsError:
            return
        time.sleep(300)

@pytest.mark.parametrize("n", range(3))
def test_other(n):
    time.sleep(0.01)
"""


def test_a_straggler_is_started_again_and_the_first_to_end_counts(project: Project) -> None:
    project.file("test_straggler.py", STRAGGLER)
    assert project.drm(executors="2").account() == {"passed": 4}  # from now on it is known how long they take
    project.file("slow", "")
    ran = project.drm(executors="2")
    assert ran.code == 0, ran.out
    assert ran.account() == {"passed": 4}
    attempts = [
        (e.attempt, e.outcome, e.death)
        for e in project.events()
        if isinstance(e, events.AttemptFinished) and e.task_id.endswith("test_slow_once")
    ]
    assert attempts == [(2, Outcome.PASSED, None), (1, None, DeathKind.OUTRUN)]
    (test,) = [test for test in project.results().summary.tests if test.task_id.endswith("test_slow_once")]
    assert (test.outcome, test.attempts, test.flaky) == (Outcome.PASSED, 2, False)
    assert test.wall_s < 60, "of the attempt that counts"
