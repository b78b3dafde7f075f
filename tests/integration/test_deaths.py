"""Tests that kill their process, or would take others along: the right one is blamed, the others finish."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from projects import MODES, Project

from drm.model.events import WorkerLost
from drm.model.work import Outcome

DEADLY = '''
import ctypes, faulthandler, os, resource, shutil, signal, subprocess, sys, threading, time
import pytest

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

@pytest.mark.parametrize("n", range(15))
def test_before(n, tmp_path):
    assert os.getcwd() and tmp_path.exists()

def test_sigkill():
    os.kill(os.getpid(), signal.SIGKILL)

def test_exit_code():
    os._exit(23)

def test_exit_code_zero():
    os._exit(0)

def test_segv():
    faulthandler.disable()
    ctypes.string_at(0)

@pytest.mark.drm(timeout=0.5)
def test_timeout():
    time.sleep(600)

@pytest.mark.drm(timeout=0.5)
def test_timeout_with_deaf_children():
    subprocess.Popen(["sleep", "600"])
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    time.sleep(600)

def test_closes_every_descriptor():
    os.closerange(0, 4096)

def test_leaves_children():
    for _ in range(3):
        subprocess.Popen(["sleep", "600"])

def test_leaves_a_daemon():
    """Forked twice, in a session of its own: nobody's child."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "600"])
        os._exit(0)
    os.wait()

def test_leaves_a_zombie():
    if os.fork() == 0:
        os._exit(0)

def test_child_forked_inside_returns():
    """A child that forgets to exit would run the rest of the suite again."""
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)

def test_goes_elsewhere(tmp_path):
    os.chdir(tmp_path)

def test_takes_signals():
    # Not SIGCHLD: while that is ignored nobody can wait for a child, and tests after this one do (wait(2)).
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)

def test_leaves_a_thread():
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

def test_prints_much():
    line = "x" * 9999
    for _ in range(300):
        print(line)

def test_prints_nonsense():
    os.write(1, bytes(range(256)) * 10)
    assert not "seen"

def test_large_report():
    assert not "y" * 3_000_000

def test_unfit_values(record_property):
    record_property("object", object())
    record_property("bytes", b"\\xff")

@pytest.mark.parametrize("value", [object(), "\\ud800", b"\\xff", float("nan")], ids=["o", "s", "b", "f"])
def test_unfit_parameters(value):
    pass

def test_recursion():
    def down():
        down()
    down()

@pytest.mark.parametrize("n", range(15))
def test_after(n, tmp_path):
    assert tmp_path.exists()
'''

DEAD = {
    "test_sigkill": "SIGKILL",
    "test_exit_code": "exit code 23",
    "test_exit_code_zero": "exit code 0",
    "test_segv": "SIGSEGV",
    "test_timeout": "timeout of 500 ms",
    "test_timeout_with_deaf_children": "timeout of 500 ms",
    "test_closes_every_descriptor": "",
}
FAILED = {"test_prints_nonsense", "test_large_report", "test_recursion"}


@pytest.mark.parametrize("mode", MODES)
def test_the_right_test_is_blamed_and_the_others_finish(project: Project, mode: str) -> None:
    project.file("test_deadly.py", DEADLY)
    # Where a spawned executor dies by itself, nobody is left who would know of its daemons.
    options = ("-k", "not daemon") if mode == "spawn" else ()
    ran = project.drm("-p", "no:faulthandler", "--junitxml=out.xml", *options, mode=mode)
    assert ran.code == 1, ran.out
    assert "INTERNALERROR" not in ran.out
    tests = {test.task_id.partition("::")[2]: test for test in project.results().summary.tests}
    bad = {name for name, test in tests.items() if test.outcome is not Outcome.PASSED}
    assert bad == set(DEAD) | FAILED, ran.out[-3000:]
    for name, words in DEAD.items():
        assert tests[name].outcome is Outcome.FAILED
        assert words in tests[name].message
        assert "executor gw" in tests[name].message
    account = ran.account()
    assert account == {"passed": len(tests) - len(bad), "failed": len(bad)}
    assert ran.counts()["failed"] == len(bad)
    twice = {name for name in DEAD if "timeout" not in name}
    assert {name for name, test in tests.items() if test.attempts != 1} == twice
    assert not [name for name, test in tests.items() if test.flaky]
    project.assert_nothing_left()


@pytest.mark.parametrize("options", [("--drm-executors", "1"), ("--drm-workers", "1")], ids=" ".join)
def test_a_spawned_executor_takes_daemons_along(project: Project, options: tuple[str, ...]) -> None:
    project.file("test_deadly.py", DEADLY)
    ran = project.run("--drm-start", "spawn", *options, "-k", "daemon or leaves_children or with_deaf_children")
    assert ran.account() == {"passed": 2, "failed": 1}
    project.assert_nothing_left()


def test_a_test_that_takes_too_much_memory(project: Project) -> None:
    project.file(
        "test_hog.py",
        """
import time, pytest

@pytest.mark.parametrize("n", range(10))
def test_modest(n):
    assert len(bytes(1_000_000))

def test_hog():
    kept = []
    for _ in range(70):
        kept.append(b"x" * 10_000_000)
    time.sleep(60)
""",
    )
    ran = project.drm("--drm-memory", "600MiB")
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 10, "failed": 1}
    (hog,) = [test for test in project.results().summary.tests if test.task_id == "test_hog.py::test_hog"]
    said = re.search(
        r"it used ([\d.]+) MiB with .* reserved when .* of the worker's limit of 600 MiB were used", hog.message
    )
    # The limit is the worker's: what the zygote and the other executor hold counts too, beside the hog's own.
    assert said is not None, hog.message
    assert 400 < float(said[1]) < 800
    assert ran.line("^FAILED test_hog.py::test_hog")


def test_a_fixture_that_kills(project: Project) -> None:
    """The test that was being set up is blamed; one whose teardown dies was not finished either."""
    project.file(
        "test_fixture.py",
        """
import os, pytest

@pytest.fixture
def deadly():
    os._exit(9)

@pytest.fixture
def dies_late():
    yield
    os._exit(9)

def test_setup(deadly): pass
def test_teardown(dies_late): pass
def test_fine(): pass
""",
    )
    ran = project.drm()
    assert ran.account() == {"passed": 1, "failed": 2}
    assert ran.code == 1


def test_a_session_fixture_whose_teardown_fails_or_dies(project: Project) -> None:
    """All tests have ended by then; what failed is told, nothing is lost."""
    project.file(
        "conftest.py",
        """
import os, pytest

@pytest.fixture(scope="session")
def fails():
    yield
    assert 0, "torn down badly"
""",
    )
    project.file("test_late.py", "def test_one(fails): pass\ndef test_two(fails): pass\n")
    serial, ran = project.serial(), project.drm("--drm-executors", "1")
    assert (serial.code, ran.code) == (1, 1), ran.out
    assert ran.counts() == serial.counts() == {"passed": 2, "error": 1}
    assert ran.account() == {"passed": 1, "error": 1}
    project.file("conftest.py", (project.root / "conftest.py").read_text().replace("assert 0,", "os._exit(9)  #"))
    ran = project.drm("--drm-executors", "1")
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 1, "error": 1}
    ran.line(r"^E? *its process ended in the teardown that followed: .*exit code 9")
    assert "ended while it ran no test" not in ran.out


def test_an_executor_that_dies_between_tests_is_not_its_last_ones_fault(project: Project) -> None:
    """The kernel takes executors first when memory is short; SIGKILL tells no more."""
    project.file(
        "conftest.py",
        "import os, pytest\n@pytest.fixture(scope='session')\ndef f():\n yield\n os.kill(os.getpid(), 9)\n",
    )
    project.file("test_late.py", "def test_one(f): pass\n")
    ran = project.drm("--drm-executors", "1")
    assert (ran.code, ran.account()) == (0, {"passed": 1})
    ran.line("an executor ended while it ran no test: .*SIGKILL")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("how", "code"), [("raise KeyboardInterrupt('enough')", 2), ("pytest.exit('enough', returncode=7)", 7)]
)
def test_a_last_teardown_that_asks_for_the_end(project: Project, how: str, code: int, mode: str) -> None:
    project.file("conftest.py", f"import pytest\n@pytest.fixture(scope='session')\ndef f():\n    yield\n    {how}\n")
    project.file("test_late.py", "def test_one(f): pass\n")
    serial, ran = project.serial(), project.drm(mode=mode)
    assert (serial.code, ran.code) == (code, code), ran.out
    assert ran.account() == {"passed": 1}


@pytest.mark.parametrize("mode", MODES)
def test_what_is_registered_for_the_end_is_done_once(project: Project, tmp_path: Path, mode: str) -> None:
    """By the process that has registered it: a fork would remove the folders of all others."""
    project.file(
        "conftest.py",
        f"""
import os

def note(text):
    with open({str(tmp_path / "notes")!r}, "a") as notes:
        notes.write(f"{{text}} {{os.getpid()}}\\n")
""",
    )
    project.file(
        "test_e.py",
        f"""
import atexit, os, pathlib, tempfile, weakref
from conftest import note

shared, pid = tempfile.TemporaryDirectory(), os.getpid()
atexit.register(lambda: note(f"imported {{pid}}"))

class Thing: pass
kept = []

def test_a():
    folder = tempfile.TemporaryDirectory()
    kept.append(folder)
    pathlib.Path({str(tmp_path / "folder")!r}).write_text(folder.name)
    pid = os.getpid()
    atexit.register(lambda: note(f"tested {{pid}}"))
    atexit.register(lambda: note(f"shared {{pid}}" if pathlib.Path(shared.name).exists() else "removed"))
""",
    )
    ran = project.drm("--drm-executors", "1", mode="fork") if mode == "fork" else project.drm(mode=mode)
    assert (ran.code, ran.account()) == (0, {"passed": 1}), ran.out
    lines = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    assert all(by == pid for _, by, pid in lines), "each by its own"
    assert [what for what, *_ in lines if what != "imported"] == ["shared", "tested"]
    assert not Path((tmp_path / "folder").read_text()).exists()


@pytest.mark.parametrize("mode", MODES)
def test_every_test_kills(project: Project, mode: str) -> None:
    """A new executor for each test; the run does not give up, and every test is told."""
    project.file(
        "test_all.py",
        "import os, pytest\n@pytest.mark.parametrize('n', range(8))\ndef test_n(n): os._exit(1)\n",
    )
    ran = project.drm("-q", mode=mode)
    assert ran.code == 1
    assert ran.account() == {"failed": 8}
    assert {event.outcome for event in project.events() if type(event).__name__ == "AttemptFinished"} == {
        Outcome.FAILED
    }


def test_what_an_ended_executor_still_held_runs_once(project: Project, tmp_path: Path) -> None:
    """A test that does not heed SIGTERM may end all the same before SIGKILL, with more tests at hand."""
    project.file(
        "test_n.py",
        """
import os, signal, time, pytest

@pytest.mark.drm(timeout=0.5)
def test_slow():
    if "NAP" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(float(os.environ["NAP"]))

@pytest.mark.parametrize("n", range(30))
def test_noted(n):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{n}\\n")
""",
    )
    notes = tmp_path / "notes"
    options = ("--drm-executors", "1", "--drm-order", "file")
    assert project.drm(*options, NOTES=str(notes)).account() == {"passed": 31}
    notes.unlink()
    ran = project.drm(*options, NOTES=str(notes), NAP="1")
    assert ran.account() == {"passed": 30, "failed": 1}, ran.out
    assert sorted(map(int, notes.read_text().split())) == list(range(30))


def test_a_worker_that_is_stopped_is_lost_and_its_tests_run_elsewhere(project: Project) -> None:
    """It holds its connection, so that nobody is told; and SIGTERM alone would not end it."""
    project.file(
        "test_stop.py",
        "import os, pathlib, signal, time\n"
        "def test_first():\n"
        "    if not pathlib.Path('stopped').exists():\n"
        "        pathlib.Path('stopped').touch()\n"
        "        zygote = os.getppid()\n"
        "        agent = pathlib.Path(f'/proc/{zygote}/stat').read_text().rpartition(')')[2].split()[1]\n"
        "        os.kill(int(agent), signal.SIGSTOP)\n"
        "        time.sleep(600)\n"
        "def test_other(): pass\n",
    )
    ran = project.drm("--drm-lost-after", "3", mode="workers")
    assert ran.code == 0, ran.out
    assert ran.account() == {"passed": 2}
    (lost,) = [event for event in project.events() if isinstance(event, WorkerLost)]
    assert lost.reason == "nothing was heard of it for 3 s"
    project.assert_nothing_left()


def test_a_worker_whose_tests_sleep_is_not_lost_for_having_no_news(project: Project) -> None:
    """An agent tells of what is used when that changes; where nothing does, it is asked, and answers."""
    project.file("test_sleep.py", "import time\ndef test_sleeps(): time.sleep(6)\n")
    ran = project.drm("--drm-lost-after", "2", mode="workers")
    assert ran.code == 0, ran.out
    assert ran.account() == {"passed": 1}
    assert not [event for event in project.events() if isinstance(event, WorkerLost)]
    project.assert_nothing_left()


def test_a_provider_that_ends_no_machine_is_a_line_and_costs_no_outcome(project: Project) -> None:
    project.file(
        "conftest.py",
        "from drm.cloud_provider_manager.providers.local import LocalProvider\n"
        "from drm.model.errors import LostError\n"
        "def terminate(self, instance_id): raise LostError('the provider does not answer')\n"
        "LocalProvider.terminate = terminate\n",
    )
    project.file("test_a.py", "def test_a(): pass\n")
    ran = project.drm("--junitxml=junit.xml", mode="workers")
    assert ran.code == 3, ran.out
    assert "INTERNALERROR" not in ran.out
    assert "drm: a machine may be left: the provider does not answer; drm reap ends it" in ran.out
    assert "--resume" not in ran.out
    assert ran.account() == ran.counts() == {"passed": 1}
    assert (project.root / "junit.xml").read_text().count("<testcase") == 1
    project.assert_nothing_left()


def test_a_limit_for_silence_that_is_none(project: Project) -> None:
    ran = project.drm("--drm-lost-after", "soon", mode="workers")
    assert ran.code == 4
    assert "--drm-lost-after: 'soon' is not a time" in ran.out


def test_a_worker_that_stands_still_as_a_whole_is_lost_and_nothing_of_it_is_left(project: Project) -> None:
    """Its zygote and its executors take no notice of anything either, until they are let go on."""
    project.file(
        "test_freeze.py",
        "import os, pathlib, signal, time\n"
        "def test_first():\n"
        "    if not pathlib.Path('stopped').exists():\n"
        "        pathlib.Path('stopped').touch()\n"
        "        zygote = os.getppid()\n"
        "        agent = pathlib.Path(f'/proc/{zygote}/stat').read_text().rpartition(')')[2].split()[1]\n"
        "        for pid in (int(agent), zygote, os.getpid()):\n"
        "            os.kill(pid, signal.SIGSTOP)\n"
        "def test_other(): pass\n",
    )
    ran = project.drm("--drm-lost-after", "3", mode="workers")
    assert ran.code == 0, ran.out
    assert ran.account() == {"passed": 2}
    assert [event.reason for event in project.events() if isinstance(event, WorkerLost)]
    project.assert_nothing_left()


def test_a_zygote_that_is_stopped_still_ends_its_executors(project: Project) -> None:
    project.file(
        "test_stop.py",
        "import os, pathlib, signal, time, pytest\n"
        "@pytest.mark.drm(timeout=1)\n"
        "def test_slow():\n"
        "    os.kill(os.getppid(), signal.SIGSTOP)\n"
        "    time.sleep(600)\n"
        "def test_other(): pass\n",
    )
    ran = project.drm("--drm-executors", "1")
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 1, "failed": 1}
    project.assert_nothing_left()
