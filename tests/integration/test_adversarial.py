"""The adversarial suite, first half: tests that kill, hang, multiply and fight back, and signals to the controller.

In each case the right test is blamed, the others finish, the account is exact, and no process and no
file is left. (The second half, what tests do to files and streams, is ``test_adversarial_io``.)
"""

from __future__ import annotations

import signal

import pytest
from projects import MODES, Project

from drm.model import events
from drm.model.death import DeathKind
from drm.model.work import Outcome
from drm.summary import TestRecord

PRELUDE = """
import ctypes, os, resource, signal, subprocess, sys, threading, time
import pytest

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
"""
INNOCENT = """
@pytest.mark.parametrize("n", range(12))
def test_innocent(n, tmp_path):
    assert tmp_path.exists()
    time.sleep(0.01)
"""
STUCK = """
@pytest.mark.parametrize("n", range(4))
def test_stuck(n):
    open(f"stuck-{n}", "w").close()
    time.sleep(600)
"""
MANY = """
@pytest.mark.parametrize("n", range(300))
def test_rest(n):
    time.sleep(0.05)
"""
# Name: what the test does, the kind of its death or None, its outcome, and words of its message.
CASES: dict[str, tuple[str, DeathKind | None, Outcome, str]] = {
    "sigkill": ("os.kill(os.getpid(), signal.SIGKILL)", DeathKind.CRASH, Outcome.FAILED, "signal SIGKILL"),
    "sigkill_of_the_group": ("os.killpg(0, signal.SIGKILL)", DeathKind.CRASH, Outcome.FAILED, "signal SIGKILL"),
    "segv": ("ctypes.string_at(0)", DeathKind.CRASH, Outcome.FAILED, "signal SIGSEGV"),
    "abort": ("os.abort()", DeathKind.CRASH, Outcome.FAILED, "signal SIGABRT"),
    "sigterm_to_itself": (
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n    os.kill(os.getpid(), signal.SIGTERM)",
        DeathKind.CRASH,
        Outcome.FAILED,
        "signal SIGTERM",
    ),
    "exit": ("os._exit(23)", DeathKind.CRASH, Outcome.FAILED, "exit code 23"),
    "exit_in_a_thread": (
        "t = threading.Thread(target=os._exit, args=(9,)); t.start(); time.sleep(60)",
        DeathKind.CRASH,
        Outcome.FAILED,
        "exit code 9",
    ),
    "stops_itself": ("os.kill(os.getpid(), signal.SIGSTOP)", DeathKind.HUNG, Outcome.FAILED, "it was stopped"),
    "asleep_in_c": (
        "libc = ctypes.PyDLL(None)\n    while True:\n        libc.sleep(600)",
        DeathKind.TIMEOUT,
        Outcome.FAILED,
        "longer than its timeout",
    ),
    "asleep_and_deaf": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n    time.sleep(600)",
        DeathKind.TIMEOUT,
        Outcome.FAILED,
        "longer than its timeout",
    ),
    "busy_for_ever": ("while True: pass", DeathKind.TIMEOUT, Outcome.FAILED, "longer than its timeout"),
    "waits_for_a_lock": (
        "lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()",
        DeathKind.TIMEOUT,
        Outcome.FAILED,
        "longer than its timeout",
    ),
    "recursion": ("def down(): down()\n    down()", None, Outcome.FAILED, "RecursionError"),
    "system_exit": ("sys.exit(3)", None, Outcome.FAILED, "SystemExit"),
    "many_children": (
        "for _ in range(60):\n        subprocess.Popen(['sleep', '600'])",
        None,
        Outcome.PASSED,
        "",
    ),
    "fork_bomb": (  # bounded: five generations, 2**5 processes that each wait for ever
        "for _ in range(5): os.fork()\n    if os.getpid() != PARENT.get('pid', os.getpid()): time.sleep(600)",
        None,
        Outcome.PASSED,
        "",
    ),
    "daemon": (
        """if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "600"])
        os._exit(0)
    os.wait()""",
        None,
        Outcome.PASSED,
        "",
    ),
    "zombies": ("for _ in range(20):\n        if os.fork() == 0: os._exit(0)", None, Outcome.PASSED, ""),
    "takes_every_signal": (
        """for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass""",
        None,
        Outcome.PASSED,
        "",
    ),
}
MARKS = {name: "@pytest.mark.drm(timeout=1)" for name, case in CASES.items() if case[1] is DeathKind.TIMEOUT}
NOT_SPAWNED = {"daemon"}  # where a spawned executor dies by itself, nobody is left who knows of its daemons


def suite(*names: str) -> str:
    tests = "".join(
        f"\n{MARKS.get(name, '')}\ndef test_{name}():\n    PARENT = {{'pid': os.getpid()}}\n    {CASES[name][0]}\n"
        for name in names
    )
    return PRELUDE + INNOCENT + tests + INNOCENT.replace("test_innocent", "test_innocent_too")


def blamed(project: Project) -> dict[str, TestRecord]:
    """Return the tests that are none of the innocent ones, which must have passed, at the first attempt."""
    tests = {test.task_id.partition("::test_")[2]: test for test in project.results().summary.tests}
    innocent = {name: test for name, test in tests.items() if name.startswith("innocent")}
    assert len(innocent) == 24
    assert {(test.outcome, test.attempts, test.flaky) for test in innocent.values()} == {(Outcome.PASSED, 1, False)}
    return {name: test for name, test in tests.items() if name not in innocent}


@pytest.mark.parametrize("mode", MODES)
def test_all_at_once(project: Project, mode: str) -> None:
    """Every case in one suite: whatever one does, the others come out as they would alone."""
    cases = {name: case for name, case in CASES.items() if mode != "spawn" or name not in NOT_SPAWNED}
    project.file("test_evil.py", suite(*cases))
    ran = project.drm("--junitxml=out.xml", mode=mode)
    assert ran.code == 1, ran.out
    assert "INTERNALERROR" not in ran.out
    assert "THE ACCOUNT DOES NOT ADD UP" not in ran.out
    found = blamed(project)
    for name, (_, _, outcome, words) in cases.items():
        assert found[name].outcome is outcome, f"{name}: {found[name].message}\n{ran.out[-4000:]}"
        assert words in found[name].message, name
    failed = sum(case[2] is Outcome.FAILED for case in cases.values())
    assert ran.account() == {"passed": 24 + len(cases) - failed, "failed": failed}
    assert ran.counts()["failed"] == failed
    deaths = {(e.task_id.partition("::test_")[2], e.death) for e in project.events() if getattr(e, "cause", "")}
    assert deaths == {(name, case[1]) for name, case in cases.items() if case[1] is not None}
    project.assert_nothing_left()


def test_the_stacks_of_a_crash_and_of_a_timeout_are_in_the_report(project: Project) -> None:
    project.file("test_evil.py", suite("segv", "asleep_in_c", "busy_for_ever", "waits_for_a_lock"))
    ran = project.drm("--junitxml=out.xml")
    report = ran.out[ran.out.index("= FAILURES =") :]
    junit = (project.root / "out.xml").read_text(encoding="utf-8")
    for name in ("segv", "asleep_in_c", "busy_for_ever", "waits_for_a_lock"):
        assert f"in test_{name}" in report
        assert f"in test_{name}" in junit


@pytest.mark.parametrize("code", ["raise KeyboardInterrupt", "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"])
def test_keyboard_interrupt_in_a_test_ends_the_run_as_in_pytest(project: Project, code: str) -> None:
    project.file("test_evil.py", PRELUDE + f"def test_interrupts():\n    {code}\n" + INNOCENT)
    serial, ran = project.serial(), project.drm("--drm-executors", "1", "--drm-order", "file")
    assert serial.code == ran.code == 2, ran.out
    assert "INTERNALERROR" not in ran.out
    account = ran.account()
    assert account.total() == 13
    assert account["failed"] == account["error"] == 0
    assert account["not run"] >= 1
    project.assert_nothing_left()


@pytest.mark.parametrize("option", ["-x", "--maxfail=2"])
@pytest.mark.parametrize("name", ["exit", "recursion"])
def test_the_account_is_exact_when_failures_cut_the_run_short(project: Project, option: str, name: str) -> None:
    twice = suite(name) + suite(name).replace(PRELUDE, "").replace("innocent", "innocent_again").replace(
        f"test_{name}", f"test_{name}_again"
    )
    project.file("test_evil.py", twice + MANY)
    ran = project.drm(option)
    assert ran.code == 1, ran.out
    account = ran.account()
    assert account.total() == 48 + 2 + 300
    assert 1 <= account["failed"] <= 2
    assert account["not run"] > 0
    assert not [event for event in project.events() if isinstance(event, events.RunFinished) and not event.reason]
    project.assert_nothing_left()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_controller_amid_it_all(project: Project, mode: str, number: int) -> None:
    """Executors are dead, deaf, asleep and surrounded by children when the signal comes."""
    names = ("exit", "many_children", "daemon", "zombies", "takes_every_signal", "recursion")
    project.file("test_evil.py", suite(*(name for name in names if mode != "spawn" or name not in NOT_SPAWNED)) + STUCK)
    running = project.start("--drm-report-dir", str(project.report_dir), *MODES[mode])
    running.wait_for(lambda: list(project.root.glob("stuck-*")))
    running.process.send_signal(number)
    ran = running.end()
    assert ran.code == (2 if number == signal.SIGINT else 128 + number), ran.out
    assert "INTERNALERROR" not in ran.out
    account = ran.account()
    assert account.total() == len(project.results().summary.tests)
    assert account["not run"] >= 4, "those that were broken off, and those that waited"
    assert "DOES NOT ADD UP" not in ran.out
    project.assert_nothing_left()


@pytest.mark.parametrize("executors", ["2", "0"])
def test_time_that_a_fixture_freezes_does_not_pass_for_that_of_tests(project: Project, executors: str) -> None:
    """As freezegun does it: the functions are replaced wherever a module has them, over several tests."""
    project.file(
        "conftest.py",
        """
import sys, time, pytest
real = {name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")}

def put(functions):
    for module in list(sys.modules.values()):
        for attribute, value in list(vars(module).items()) if module is not None else ():
            for name, function in functions.items():
                if value in (real[name], frozen[name]) and module.__name__ != "conftest":
                    setattr(module, attribute, function)

frozen = {name: lambda: 4e9 for name in real}

@pytest.fixture(scope="module", autouse=True)
def freeze():
    put(frozen)
    yield
    put(real)
""",
    )
    for name in ("a", "b"):
        project.file(f"test_{name}.py", "def test_1(): pass\ndef test_2(): pass\ndef test_3(): pass\n")
    ran = project.drm("--drm-executors", executors, "--drm-retries", "0")
    assert ran.code == 0, ran.out
    assert ran.account() == {"passed": 6}
    ended = [event for event in project.events() if isinstance(event, events.AttemptFinished)]
    assert all(0 <= event.usage.wall_s < 60 and event.elapsed_s < 60 for event in ended)
    assert all(event.at < "2095" for event in project.events())


def test_a_test_that_asks_its_parent_to_end(project: Project) -> None:
    """The parent is the zygote, which takes all executors along: the run ends, and says so."""
    project.file(
        "test_parent.py",
        "import os, signal, time\n"
        "def test_parent():\n    os.kill(os.getppid(), signal.SIGTERM)\n    time.sleep(60)\n"
        "def test_other(): pass\n",
    )
    ran = project.drm("--drm-executors", "2")
    assert ran.code == 3, ran.out
    assert "the only worker is gone" in ran.out
    project.assert_nothing_left()
