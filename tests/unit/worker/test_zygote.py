"""The zygote and both launchers, with real processes: every executor is told of, none is left."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import select
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drm.worker import stacks
from drm.worker.launchers import Launcher, SpawnLauncher, ZygoteLauncher, describe_status
from drm.worker.linux import descendants_of
from drm.worker.stacks import write_on_signal
from drm.worker.zygote import Zygote, _fork

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the zygote is used on Linux only")


def act(executor_id: str, sock: socket.socket, stacks: int) -> None:
    """Do what the name says, as a test would."""
    if executor_id.startswith("exit"):
        os._exit(int(executor_id[4:]))
    elif executor_id.startswith("raise"):
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        raise ValueError("an error of the executor itself")
    elif executor_id.startswith("segv"):
        faulthandler.disable()
        os.kill(os.getpid(), signal.SIGSEGV)
    elif executor_id.startswith("children"):
        for leave in (lambda: None, os.setsid):
            if os.fork() == 0:
                leave()
                if os.fork() == 0:
                    time.sleep(600)
                os._exit(0)
    elif executor_id.startswith("large"):
        assert len(b"x" * 200_000_000)
    elif executor_id.startswith("stacks"):
        write_on_signal(stacks)
        sleep_in_c(sock)
    elif executor_id.startswith("wait"):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & ignores it
        try:
            sock.sendall(b"up")
            while not select.select([sock], [], [], 0.1)[0]:
                pass  # a signal in the instant before a wait does not break it off: look for it again
        except KeyboardInterrupt:
            os._exit(42)
    sock.close()


def sleep_in_c(sock: socket.socket) -> None:
    """Hold the interpreter for ever: no handler of Python's runs meanwhile."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sock.sendall(b"up")
    while True:  # pytest has no part in this: a sleep that a signal breaks off is begun again
        ctypes.PyDLL(None).sleep(600)


PROGRAM = f"import os, signal, socket, sys, time\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"


def fork(control: socket.socket, foreign: socket.socket) -> int:
    pid = os.fork()
    if pid == 0:
        foreign.close()
        Zygote(control, act).run()
    return pid


class Bench:
    """A launcher and what it said."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.said: list[list[Any]] = []
        self.sockets: dict[str, socket.socket] = {}
        self.stacks: dict[str, int] = {}
        self._selector = selectors.DefaultSelector()
        launcher.start(self._selector, self.said.append)

    def spawn(self, executor_id: str) -> None:
        ours, theirs = socket.socketpair()
        self.sockets[executor_id] = ours
        self.stacks[executor_id] = stacks.make_file()
        self.launcher.spawn(executor_id, theirs, self.stacks[executor_id])
        theirs.close()

    def wait_for(self, condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline, self.said
            for key, _ in self._selector.select(0.1):
                key.data()
        return value

    def find(self, name: str, executor_id: str) -> list[Any] | None:
        return next((m for m in self.said if m[0] == name and m[1:2] == [executor_id]), None)

    def status(self, executor_id: str) -> str:
        return describe_status(self.wait_for(lambda: self.find("exited", executor_id))[2])

    def pid(self, executor_id: str) -> int:
        return int(self.wait_for(lambda: self.find("spawned", executor_id))[2])

    def close(self) -> None:
        self.launcher.close()
        for sock in self.sockets.values():
            sock.close()
        while self.stacks:
            os.close(self.stacks.popitem()[1])
        self._selector.close()


def spawn_command(executor_id: str) -> dict[str, str]:
    return {**os.environ, "DRM_TEST_ACT": executor_id}


def make_spawn() -> SpawnLauncher:
    code = (
        PROGRAM + "import test_zygote; "
        "test_zygote.act(os.environ['DRM_TEST_ACT'], socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))"
    )
    return SpawnLauncher((sys.executable, "-c", code), spawn_command)


@pytest.fixture(params=["fork", "spawn"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(ZygoteLauncher(fork) if request.param == "fork" else make_spawn())
    before = set(descendants_of(os.getpid()))
    yield made
    made.close()
    left = set(descendants_of(os.getpid())) - before
    assert not {pid for pid in left if runs(pid)}, "processes are left"


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_how_executors_end_is_told(bench: Bench) -> None:
    bench.wait_for(lambda: ["collected"] in bench.said)
    wanted = {"ok": "exit code 0", "exit3": "exit code 3", "segv": "signal SIGSEGV"}
    for name in wanted:
        bench.spawn(name)
    assert {name: bench.status(name) for name in wanted} == wanted
    bench.spawn("raise")
    assert bench.status("raise") in ("exit code 70", "exit code 1")
    for name in wanted:
        names = [message[0] for message in bench.said if message[1:2] == [name]]
        assert names == ["spawned", "exited"]


def test_peak_memory_is_told(bench: Bench) -> None:
    for name in ("ok", "large"):
        bench.spawn(name)
        bench.status(name)
    small, large = (bench.find("exited", name)[3] for name in ("ok", "large"))  # type: ignore[index]
    assert large > 195_000  # KiB
    # A spawned process starts with the peak of its parent, which getrusage(2) keeps over exec: it may hide the rest.
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert small < large or large <= ours


def test_an_executor_is_killed_or_interrupted(bench: Bench) -> None:
    for name in ("wait1", "wait2"):
        bench.spawn(name)
        bench.pid(name)
        bench.sockets[name].settimeout(15)
        assert bench.sockets[name].recv(2) == b"up"
    bench.launcher.signal("wait1", signal.SIGKILL)
    bench.launcher.signal("wait2", signal.SIGINT)
    bench.launcher.signal("nobody", signal.SIGKILL)
    assert bench.status("wait1") == "signal SIGKILL"
    assert bench.status("wait2") == "exit code 42"


def test_stacks_are_written_by_a_process_that_python_cannot_reach(bench: Bench) -> None:
    bench.spawn("stacks")
    bench.sockets["stacks"].settimeout(15)
    bench.pid("stacks")
    assert bench.sockets["stacks"].recv(2) == b"up"
    bench.launcher.signal("stacks", stacks.STACKS_SIGNAL)
    bench.wait_for(lambda: "in act" in stacks.read(bench.stacks["stacks"]))
    assert "in sleep_in_c" in stacks.read(bench.stacks["stacks"])
    bench.launcher.signal("stacks", signal.SIGKILL)
    assert bench.status("stacks") == "signal SIGKILL"
    assert "in sleep_in_c" in stacks.read(bench.stacks["stacks"]), "they outlive the process"


def test_close_ends_what_runs(bench: Bench) -> None:
    bench.spawn("wait")
    pid = bench.pid("wait")
    assert runs(pid)
    bench.close()
    assert not runs(pid)


def test_a_zygote_takes_along_whatever_its_executors_left() -> None:
    before = descendants_of(os.getpid())  # servers that other tests share
    bench = Bench(ZygoteLauncher(fork))
    bench.wait_for(lambda: ["collected"] in bench.said)
    (zygote,) = [pid for pid in descendants_of(os.getpid()) if pid not in before and os.getsid(pid) == pid]
    bench.spawn("children")
    assert bench.status("children") == "exit code 0"
    left = bench.wait_for(lambda: descendants_of(zygote))
    assert left, "a daemon of a test belongs to the zygote now"
    bench.close()
    assert not [pid for pid in [zygote, *left] if runs(pid)]


def test_the_end_of_a_zygote_is_told() -> None:
    bench = Bench(ZygoteLauncher(fork))
    bench.wait_for(lambda: ["collected"] in bench.said)
    bench.spawn("wait")
    executor = bench.pid("wait")
    zygote = int(Path(f"/proc/{executor}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(zygote, signal.SIGKILL)
    gone = bench.wait_for(lambda: next((m for m in bench.said if m[0] == "gone"), None))
    assert gone == ["gone", "the zygote ended (signal SIGKILL)"]
    bench.wait_for(lambda: not runs(executor))
    bench.spawn("late")  # no error: "gone" was told
    bench.close()


@pytest.mark.parametrize(("failures", "pid"), [(2, 5), (9, None)])
def test_a_fork_for_which_there_is_no_room_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, pid: int | None
) -> None:
    answers: list[Any] = [BlockingIOError("pids limit")] * failures + [5]
    waited: list[float] = []

    def fork() -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return int(answer)

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(time, "sleep", waited.append)
    assert _fork() == pid
    assert sum(waited) <= 2.0
