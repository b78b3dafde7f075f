"""What pytest brings itself, where that is not in test_plugin: debugging, stepwise, doctests, unittest, threads."""

from __future__ import annotations

import sys

import pytest
from projects import Project


def test_pdb_runs_in_the_controller(project: Project) -> None:
    project.file("test_p.py", "import os\ndef test_p():\n    print('PID', os.getpid(), os.getppid())\n    assert 0\n")
    for options in ((), ("--drm-workers", "1")):
        ran = project.run("--pdb", "-s", *options)
        assert "entering PDB" in ran.out
        assert "(Pdb)" in ran.out
        assert ran.code == 2, ran.out  # the end of its input quits the debugger
        assert "in this process" in ran.out


def test_stepwise_goes_on_where_it_stopped(project: Project) -> None:
    project.file(
        "test_s.py", "import pytest\n@pytest.mark.parametrize('n', range(40))\ndef test_n(n): assert n != 20\n"
    )
    options = ("-q", "--sw", "--drm-executors", "2")  # it asks for an order, and gets it
    first = project.run(*options)
    assert first.code == 2, first.out
    assert first.account() == {"passed": 20, "failed": 1, "not run": 19}
    assert "stopping after 1 failure" in first.out or "Test failed, continuing from this test next run" in first.out
    project.file("test_s.py", (project.root / "test_s.py").read_text().replace("!= 20", "!= 99"))
    again = project.run(*options)
    assert again.code == 0, again.out
    assert again.account() == {"passed": 20}


def test_doctests_and_unittest(project: Project) -> None:
    project.file("lib.py", 'def two():\n    """\n    >>> two()\n    2\n    """\n    return 2\n')
    project.file("notes.rst", "Notes\n=====\n\n>>> 1 + 1\n3\n")
    project.file(
        "test_u.py",
        """
import unittest

class Cases(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = []

    def tearDown(self):
        self.made.append(1)

    def test_one(self):
        for n in range(3):
            with self.subTest(n=n):
                self.assertEqual(self.made, [])

    async def helper(self):
        return 1

    def test_fails(self):
        self.assertIn(1, [2])

    @unittest.skip("not now")
    def test_skipped(self): pass

class Async(unittest.IsolatedAsyncioTestCase):
    async def test_async(self):
        self.assertTrue(True)
""",
    )
    options = ("--doctest-modules", "--doctest-glob=*.rst", "-q")
    serial, ran = project.serial(*options), project.drm(*options, "--drm-executors", "1")
    assert (serial.code, ran.code) == (1, 1), ran.out
    assert ran.counts() == serial.counts()


def test_a_suite_with_a_thread_is_not_forked(project: Project) -> None:
    project.file(
        "test_t.py",
        """
import os, threading, pytest
threading.Thread(target=threading.Event().wait, name="pump", daemon=True).start()

@pytest.mark.parametrize("n", range(4))
def test_n(n):
    assert "pump" in [thread.name for thread in threading.enumerate()], "it is a process that has collected"
""",
    )
    ran = project.drm()
    assert ran.account() == {"passed": 4}, ran.out
    ran.line(r"^drm: threads run after collection \(pump\), so that forking is not safe: executors are spawned")
    forked = project.run("--drm-start", "fork", "--drm-executors", "1")
    assert forked.account() == {"failed": 4}, "asked for, it is forked: the thread is not there"
    assert "forking is not safe" not in forked.out
    assert project.run("--drm-workers", "1").account() == {"passed": 4}, "nor is it in a separate worker"


LOOP = """
import asyncio
loop = asyncio.new_event_loop()
def turn(s): loop.run_until_complete(asyncio.wait_for(loop.run_in_executor(None, __import__("time").sleep, s), 20))
"""
CONNECTION = """
import socket
listening = socket.create_server(("127.0.0.1", 0))
calling = socket.create_connection(listening.getsockname())
answering = listening.accept()[0]
def turn(s):
    calling.sendall(b"what is twice two?"); answering.recv(64); answering.sendall(b"four"); calling.recv(4)
"""


@pytest.mark.parametrize(
    ("opened", "said"),
    [
        (LOOP, r"collection opened an event loop \(epoll\)"),
        (CONNECTION, r"collection opened a connection to 127\.0\.0\.1:\d+ and"),
        ("import socket; a, b = socket.socketpair(); turn = lambda s: None", "collection opened a pair of sockets"),
    ],
    ids=["loop", "connection", "pair"],
)
def test_what_two_processes_must_not_share_is_not_forked(project: Project, opened: str, said: str) -> None:
    project.file("shared.py", opened)
    project.file(
        "test_s.py",
        """
import pytest, shared

@pytest.mark.parametrize("n", range(6))
def test_turn(n):
    shared.turn(0.05)
""",
    )
    ran = project.drm("--drm-executors", "2")
    assert ran.account() == {"passed": 6}, ran.out
    ran.line(rf"^drm: {said}.*so that forking is not safe: executors are spawned")


@pytest.mark.parametrize(
    "opened",
    [
        "listening = socket.create_server(('127.0.0.1', 0))",
        "log = socket.socket(type=socket.SOCK_DGRAM); log.connect(('127.0.0.1', 9))",
        "import asyncio; loop = asyncio.new_event_loop(); loop.close()",
    ],
    ids=["listening", "datagrams", "closed"],
)
def test_what_processes_may_share_is_forked(project: Project, opened: str) -> None:
    project.file("test_s.py", f"import socket\n{opened}\ndef test_a(): pass\n")
    assert "forking is not safe" not in project.drm().out


def test_what_others_left_open_is_forked(project: Project) -> None:
    """A program that starts pytest may hand it its own sockets."""
    handing = (
        "import os, socket, sys; pair = socket.socketpair(); [one.set_inheritable(True) for one in pair]; "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    project.file("test_s.py", "def test_a(): pass\n")
    assert "forking is not safe" not in project.drm(wrap=(sys.executable, "-c", handing)).out


@pytest.mark.parametrize(("library", "mark"), [("gevent.monkey", "saved"), ("eventlet.patcher", "already_patched")])
def test_a_patched_interpreter_is_not_forked(project: Project, library: str, mark: str) -> None:
    """The libraries are made up, with the one attribute by which they tell that they have patched something."""
    package, _, module = library.partition(".")
    project.file(f"{package}/__init__.py", "")
    project.file(f"{package}/{module}.py", f"{mark} = {{}}\n")
    project.file("test_s.py", f"import {library}\ndef test_a(): pass\n")
    assert "forking is not safe" not in project.drm().out
    project.file(f"{package}/{module}.py", f"{mark} = {{'select': {{}}}}\n")
    project.drm().line(rf"^drm: {package} has patched what waits, so that forking is not safe")


NATIVE = r"""
#include <pthread.h>
#include <unistd.h>
static void *wait_for_ever(void *unused) { for (;;) pause(); }
static pthread_t made;
static void end(void) { pthread_cancel(made); pthread_join(made, 0); }
void begin(void) { pthread_create(&made, 0, wait_for_ever, 0); }
void begin_and_end_before_a_fork(void) { begin(); pthread_atfork(end, 0, 0); }
"""


@pytest.mark.parametrize(("function", "safe"), [("begin", False), ("begin_and_end_before_a_fork", True)])
def test_threads_that_are_not_python_s(project: Project, function: str, safe: bool) -> None:
    """A pool that ends itself before a fork (as OpenBLAS does) is no reason not to fork."""
    import shutil
    import subprocess

    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = project.file("native.c", NATIVE)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-pthread", "-o", project.root / "native.so", source], check=True, timeout=60
    )
    project.file(
        "test_t.py",
        f"import ctypes\nctypes.CDLL('./native.so').{function}()\ndef test_a(): pass\ndef test_b(): pass\n",
    )
    ran = project.run()
    assert ran.account() == {"passed": 2}, ran.out
    assert ("forking is not safe" not in ran.out) is safe
    if not safe:
        ran.line(r"threads run after collection \(.*, not Python's\)")
