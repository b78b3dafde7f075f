"""Ctrl-C, SIGTERM and SIGKILL to the controller at any time: no process, no folder, a readable record."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects import MODES, Project, Running, wait_until

from drm.model.work import Outcome
from drm.reporting.ndjson import read_events
from drm.summary import summarise

SUITE = """
import os, pathlib, time
import pytest

@pytest.fixture(scope="session")
def resource():
    path = pathlib.Path(f"resource-{os.getpid()}")
    path.touch()
    yield path
    path.unlink()

@pytest.mark.parametrize("n", range(400))
def test_n(n, resource):
    time.sleep(0.02)
    pathlib.Path("running").touch()
"""
SEED = 20261123
ROOT = Path(__file__).resolve().parents[2]


def begin(project: Project, mode: str, tests: int = 400) -> Running:
    project.file("test_long.py", SUITE.replace("400", str(tests)))
    return project.start("--drm-report-dir", str(project.report_dir), *MODES[mode])


def recorded(project: Project) -> list[object]:
    """Return the readable part of the record: after SIGKILL its last line may be half written."""
    path = project.report_dir / "events.ndjson"
    return list(read_events(path, on_note=lambda _: None)) if path.exists() else []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_run_ends_in_order(project: Project, mode: str, number: int) -> None:
    running = begin(project, mode)
    running.wait_for((project.root / "running").exists)
    running.process.send_signal(number)
    ran = running.end()
    assert ran.code == (2 if number == signal.SIGINT else 128 + number), ran.out
    assert "Traceback" not in ran.out
    assert "INTERNALERROR" not in ran.out
    assert not list(project.root.glob("resource-*")), "a session fixture was not torn down"
    events = project.events()
    assert type(events[-1]).__name__ == "RunFinished"
    summary = summarise(events)
    assert summary.collected == 400 == len(summary.tests)
    assert summary.count(Outcome.NOT_RUN) > 0
    assert summary.count(Outcome.PASSED) + summary.count(Outcome.NOT_RUN) == 400
    assert signal.Signals(number).name in summary.reason
    assert project.results().summary.counts == summary.counts
    project.assert_nothing_left()


def test_ctrl_c_breaks_off_a_test_that_sleeps(project: Project) -> None:
    """The test that runs is not waited for, its fixtures are torn down, and it is not called failed."""
    project.file(
        "test_sleep.py",
        "import pathlib, pytest, time\n"
        "@pytest.fixture\ndef kept():\n    pathlib.Path('up').touch()\n    yield\n    pathlib.Path('down').touch()\n"
        "def test_sleeps(kept):\n    time.sleep(600)\n",
    )
    running = project.start("--drm-report-dir", str(project.report_dir), "--drm-executors", "1")
    running.wait_for((project.root / "up").exists)
    running.process.send_signal(signal.SIGINT)
    ran = running.end()
    assert ran.code == 2, ran.out
    assert (project.root / "down").exists(), "it was killed when the grace was over"
    assert ran.account() == {"not run": 1}


@pytest.mark.parametrize("mode", MODES)
def test_ctrl_c_breaks_off_a_last_teardown(project: Project, mode: str) -> None:
    """Which may take minutes where nobody is in a hurry."""
    project.file(
        "test_slow.py",
        "import pathlib, pytest, time\n"
        "@pytest.fixture(scope='session')\n"
        "def slow():\n    yield\n    pathlib.Path('up').touch()\n    time.sleep(600)\n"
        "def test_a(slow): pass\n",
    )
    run = project.start(*MODES[mode])
    wait_until((project.root / "up").exists)
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    ran = run.end(timeout_s=30.0)
    assert ran.code == 2, ran.out
    assert ran.account() == {"passed": 1}
    assert time.monotonic() - began < 10.0


def test_ctrl_c_on_a_test_that_will_not_end(project: Project) -> None:
    """It goes on after SIGINT. A second Ctrl-C kills it before the grace is over."""
    project.file(
        "test_deaf.py",
        "import pathlib, signal, time\n"
        "def test_deaf():\n"
        "    signal.signal(signal.SIGINT, lambda *_: pathlib.Path('heard').touch())\n"
        "    pathlib.Path('up').touch()\n    time.sleep(600)\n",
    )
    running = project.start("--drm-report-dir", str(project.report_dir), "--drm-executors", "1")
    running.wait_for((project.root / "up").exists)
    running.process.send_signal(signal.SIGINT)
    running.wait_for((project.root / "heard").exists)
    began = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    ran = running.end()
    assert ran.code == 2, ran.out
    assert "INTERNALERROR" not in ran.out
    assert time.monotonic() - began < 4.0, "the second Ctrl-C was not heard"
    assert ran.account() == {"not run": 1}


def test_ctrl_c_while_the_command_imports(project: Project) -> None:
    """The first module that it needs is slow to load."""
    slow = "import pathlib, time\npathlib.Path('up').touch()\ntime.sleep(600)\n"
    project.file("slow/argparse.py", slow)
    log = project.root / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "drm", "report"],
            cwd=project.root,
            env=project.environment(PYTHONPATH=os.pathsep.join((str(project.root / "slow"), str(ROOT)))),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until((project.root / "up").exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 2
    finally:
        process.kill()
    assert log.read_text() == "drm: interrupted\n"


def test_ctrl_c_during_collection(project: Project) -> None:
    project.file(
        "test_slow.py", "import pathlib, time\npathlib.Path('up').touch()\ntime.sleep(600)\ndef test_a(): pass\n"
    )
    running = project.start("--drm-executors", "1")
    running.wait_for((project.root / "up").exists)
    running.process.send_signal(signal.SIGINT)
    ran = running.end()
    assert ran.code == 2, ran.out
    assert "INTERNALERROR" not in ran.out


def test_ctrl_c_while_workers_collect(project: Project) -> None:
    """Only the workers are slow to collect; nothing has begun yet."""
    project.file("test_a.py", "def test_a(): pass\n")
    project.file(
        "conftest.py",
        "import os, pathlib, time\n"
        "if pathlib.Path('first').exists():\n    pathlib.Path('second').touch()\n    time.sleep(600)\n"
        "pathlib.Path('first').touch()\n",
    )
    running = project.start("--drm-report-dir", str(project.report_dir), "--drm-workers", "2")
    running.wait_for((project.root / "second").exists)
    running.process.send_signal(signal.SIGINT)
    ran = running.end()
    assert ran.code == 2, ran.out
    assert ran.account() == {"not run": 1}
    assert "INTERNALERROR" not in ran.out


@pytest.mark.parametrize("mode", ["fork", "workers"])
def test_sigkill_leaves_nothing(project: Project, mode: str) -> None:
    """Nobody is left to tidy up but the kernel and the workers themselves."""
    running = begin(project, mode)
    running.wait_for((project.root / "running").exists)
    running.wait_for(lambda: any(type(event).__name__ == "TestFinished" for event in recorded(project)))
    running.process.kill()
    assert running.end().code == -signal.SIGKILL
    project.assert_nothing_left()
    summary = summarise(recorded(project))
    assert not summary.finished
    assert summary.count(Outcome.PASSED) > 0
    project.file("test_long.py", "def test_short(): pass\n")
    assert project.drm(mode=mode).code == 0  # the history was left sound


@pytest.mark.parametrize(("mode", "rounds", "longest_s"), [("fork", 6, 1.2), ("workers", 3, 2.0)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_at_any_time(project: Project, mode: str, rounds: int, longest_s: float, number: int) -> None:
    """From before the plugin is loaded until after the last test; the times are drawn, the seed is fixed."""
    chance = random.Random(f"{SEED} {mode} {number}")
    for attempt in range(rounds):
        (project.report_dir / "events.ndjson").unlink(missing_ok=True)
        running = begin(project, mode, tests=30)
        if mode == "workers" and number == signal.SIGKILL:  # before, nobody is there who could remove the folder
            running.wait_for(lambda: any("drm.worker" in command for command in project.processes().values()))
        delay_s = chance.uniform(0.05, longest_s)
        deadline = time.monotonic() + delay_s
        while time.monotonic() < deadline and running.process.poll() is None:
            time.sleep(0.005)
        running.process.send_signal(number)
        ran = running.end()
        what = f"round {attempt}, after {delay_s:.3f} s: {ran.code}\n{ran.out}"
        allowed = {0, 2, -signal.SIGINT} if number == signal.SIGINT else {0, -signal.SIGKILL}
        if "Fatal Python error: init_import_site" in ran.out:
            allowed = {1}  # Python itself was still starting: its own words, its own exit code
        assert ran.code in allowed, what
        assert "INTERNALERROR" not in ran.out, what
        project.assert_nothing_left()
        summary = summarise(recorded(project))
        if summary.finished:
            assert sum(count for _, count in summary.counts) == summary.collected == 30, what
        if summary.collected and number == signal.SIGINT:
            assert summary.finished, what
        if "interrupted" in summary.reason:  # it came while tests ran: DRM's to handle
            assert ran.code == 2, what
            assert ran.account().total() == 30, what


def test_ctrl_c_after_collection_and_before_the_first_test(project: Project) -> None:
    """git, which is asked for the revision in between, is one that interrupts who asks."""
    project.file("test_some.py", "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_n(n): pass\n")
    git = project.file("bin/git", '#!/bin/sh\nkill -INT "$PPID"\n')
    git.chmod(0o755)
    path = os.pathsep.join((str(git.parent), os.environ["PATH"]))
    ran = project.start("--drm-report-dir", str(project.report_dir), PATH=path).end()
    assert ran.code == 2, ran.out
    assert ran.account() == {"not run": 5}, ran.out
    project.assert_nothing_left()


@pytest.mark.parametrize("how", ["time.sleep(60)", "pytest.exit('enough')"])
def test_what_is_broken_off_in_the_controllers_own_process_did_not_pass(project: Project, how: str) -> None:
    project.file(
        "test_it.py",
        "import pathlib, time, pytest\ndef test_a(): pass\n"
        f"def test_b():\n    pathlib.Path('up').touch()\n    {how}\ndef test_c(): pass\n",
    )
    running = project.start("--drm-report-dir", str(project.report_dir), "--drm-executors", "0")
    wait_until((project.root / "up").exists)
    if "sleep" in how:
        running.process.send_signal(signal.SIGINT)
    ran = running.end()
    assert ran.code == 2, ran.out
    assert ran.account() == {"passed": 1, "not run": 2}
