"""The embedded engine with a real worker process on a tiny suite."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drm.engines.embedded import EmbeddedEngine
from drm.model import observations as seen
from drm.model.cluster import WorkerType
from drm.model.death import DeathKind
from drm.model.resources import Resources
from drm.model.wire import encode_frame
from drm.model.work import Outcome
from drm.worker.suite import Suite

KIND = WorkerType(
    name="kind", capacity=Resources(cpu_cores=2, memory_bytes=2**31), labels=frozenset({"ssd"}), usd_per_hour=1.0
)
TESTS = """
import os, time, warnings
import pytest

@pytest.fixture(scope="module")
def kept():
    yield os.getpid()
    assert os.environ.get("TEAR") is None, "torn"

def test_passes(kept): pass
def test_again(kept): assert kept == os.getpid()
def test_fails(): assert 0, "on purpose"
def test_warns(): warnings.warn("look", UserWarning)
def test_sleeps(): time.sleep(600)
def test_exits(): os._exit(3)
def test_ends_the_run(): pytest.exit("enough", returncode=7)
"""


class Bench:
    """An engine, its workers' processes, and all that was observed."""

    def __init__(self, folder: Path, **environment: str) -> None:
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_tiny.py").write_text(TESTS)
        suite = Suite(
            args=("-q", "-p", "no:cacheprovider"),
            cwd=str(folder),
            sys_path=tuple(sys.path),
            run_id="run",
            executor_count=2,
            basetemp=str(folder / "temp"),
        )
        self.engine = EmbeddedEngine(suite=suite)
        self.engine.listen()
        self.seen: list[seen.Observation] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = environment

    def worker(self, worker_id: str) -> None:
        command, environment = self.engine.join_command(worker_id, KIND)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        self.processes[worker_id] = subprocess.Popen(
            command,
            env={**ours, **environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **self._environment},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )

    def wait_for(self, kind: type[Any], *, timeout_s: float = 30.0, **fields: Any) -> Any:
        """Return the first observation of the kind with these values; earlier ones are forgotten."""
        deadline = time.monotonic() + timeout_s
        while True:
            while self.seen:
                found = self.seen.pop(0)
                if isinstance(found, kind) and all(getattr(found, name) == want for name, want in fields.items()):
                    return found
            assert time.monotonic() < deadline, f"no {kind.__name__} came"
            self.seen += self.engine.poll(0.1)

    def executor(self, executor_id: str, worker_id: str = "w0") -> seen.ExecutorReady:
        self.engine.spawn(worker_id, executor_id)
        return self.wait_for(seen.ExecutorReady, executor_id=executor_id)  # type: ignore[no-any-return]

    def send(self, executor_id: str, *names: str, next_task: str | None = None) -> None:
        batch = [(f"test_tiny.py::{name}", 1) for name in names]
        self.engine.send("w0", executor_id, batch, next_task, 5.0, (), 1.0)

    def close(self) -> None:
        self.engine.close()
        for process in self.processes.values():
            process.wait(15)
        assert self.engine._folder is not None
        assert not self.engine._folder.exists()


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**environment: str) -> Bench:
        bench = Bench(tmp_path, **environment)
        made.append(bench)
        bench.worker("w0")
        joined = bench.wait_for(seen.WorkerJoined)
        assert (joined.worker_id, joined.worker_type, joined.labels) == ("w0", "kind", KIND.labels)
        assert joined.capacity == KIND.capacity
        assert 2**20 < joined.held_bytes < 2**28
        assert joined.pid == bench.processes["w0"].pid
        return bench

    yield make
    for bench in made:
        bench.close()


def ended(bench: Bench, name: str) -> tuple[Outcome, str]:
    found = bench.wait_for(seen.AttemptEnded, task_id=f"test_tiny.py::{name}")
    return found.outcome, found.message


def test_tests_run_and_everything_is_told(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(TEAR="1")
    bench.executor("gw0")
    bench.send("gw0", "test_passes", "test_fails", next_task="test_tiny.py::test_again")
    assert bench.wait_for(seen.AttemptBegan).task_id == "test_tiny.py::test_passes"
    passed = bench.wait_for(seen.AttemptEnded)
    assert (passed.outcome, len(passed.reports)) == (Outcome.PASSED, 3)
    assert 0 < passed.usage.peak_rss_bytes < 2**26, "what the zygote holds is not the test's"
    assert ended(bench, "test_fails") == (Outcome.FAILED, "AssertionError: on purpose")
    assert bench.wait_for(seen.BatchEnded).returned == ()
    bench.send("gw0", "no_such_test", "test_again", "test_warns", next_task="test_tiny.py::test_again")
    missing = bench.wait_for(seen.AttemptEnded)
    assert (missing.outcome, missing.reports) == (Outcome.ERROR, [])
    assert "make collection deterministic" in missing.message
    assert ended(bench, "test_again")[0] is Outcome.PASSED
    bench.engine.stop("w0", "gw0")
    assert bench.wait_for(seen.WarningRecorded).data["text"] == "look"
    late = bench.wait_for(seen.TeardownReported)
    assert late.task_id == "test_tiny.py::test_warns", "the last test that it was kept for"
    assert "torn" in late.message
    assert bench.wait_for(seen.ExecutorExited) == seen.ExecutorExited(worker_id="w0", executor_id="gw0", death=None)


def test_executors_end_in_every_way(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    for number, name in enumerate(("test_sleeps", "test_sleeps", "test_exits", "test_ends_the_run")):
        bench.executor(f"gw{number}")
        bench.send(f"gw{number}", name, "test_passes")
        bench.wait_for(seen.AttemptBegan, task_id=f"test_tiny.py::{name}")
        if number == 0:
            bench.engine.kill("w0", "gw0", DeathKind.TIMEOUT, "it took too long")
            death = bench.wait_for(seen.ExecutorExited).death
            assert (death.reason, death.signal) == ("it took too long", "SIGKILL")
        elif number == 1:
            bench.engine.interrupt("w0", "gw1")
            assert bench.wait_for(seen.StopAsked).kind == "interrupt"
            assert bench.wait_for(seen.ExecutorExited).death is None
        elif number == 2:
            death = bench.wait_for(seen.ExecutorExited).death
            assert (death.exit_code, death.signal, death.reason) == (3, None, "")
            assert death.peak_rss_bytes > 2**20
        else:
            asked = bench.wait_for(seen.StopAsked)
            assert (asked.kind, asked.message, asked.exit_code) == ("exit", "enough", 7)
    for call in (bench.engine.stop, bench.engine.interrupt, bench.engine.spawn):
        call("w9", "gw9")  # it died meanwhile: no error
    bench.engine.kill("w0", "gw9", DeathKind.STOPPED, "gone long ago")


def test_a_lost_worker_is_told_and_a_released_one_ends(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.worker("w1")
    bench.wait_for(seen.WorkerJoined, worker_id="w1")
    ready = bench.executor("gw0")
    bench.send("gw0", "test_sleeps")
    bench.wait_for(seen.AttemptBegan)
    bench.processes["w0"].send_signal(signal.SIGKILL)
    assert bench.wait_for(seen.WorkerLeft).worker_id == "w0"
    deadline = time.monotonic() + 10
    while Path(f"/proc/{ready.pid}").exists():
        assert time.monotonic() < deadline, "its executor is left"
        time.sleep(0.01)
    bench.engine.release("w1")
    assert bench.wait_for(seen.WorkerLeft).worker_id == "w1"
    assert bench.processes["w1"].wait(15) == 0


def test_strangers_are_turned_away(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    assert bench.engine._folder is not None
    assert bench.engine._folder.stat().st_mode & 0o077 == 0
    path = str(bench.engine._folder / "coordinator.sock")
    for greeting in (encode_frame(["hello", "w7"]), encode_frame(["give", "me"]), b"GET / HTTP/1.1\r\n\r\n", b""):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(10)
            stranger.connect(path)
            stranger.sendall(greeting)
            if not greeting:
                stranger.shutdown(socket.SHUT_WR)
            for _ in range(5):
                bench.engine.poll(0.02)
            assert stranger.recv(100) == b""
    bench.executor("gw0")  # the engine goes on
    bench.engine.wake()
    began = time.monotonic()
    while not [o for o in bench.engine.poll(5.0) if isinstance(o, seen.WorkerSampled)]:
        assert time.monotonic() - began < 10
