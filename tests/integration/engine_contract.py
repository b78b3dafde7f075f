"""What every engine has to do, as tests over a ``Place``: where an engine is made, and workers for it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drm.engines.common import MessagingEngine
from drm.model import observations as seen
from drm.model.cluster import WorkerType
from drm.model.death import DeathKind
from drm.model.resources import Resources
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
    assert not os.path.exists("tear"), "torn"

def test_passes(kept): pass
def test_again(kept): assert kept == os.getpid()
def test_fails(): assert 0, "on purpose"
def test_warns(): warnings.warn("look", UserWarning)
def test_sleeps(): time.sleep(600)
def test_exits(): os._exit(3)
def test_ends_the_run(): pytest.exit("enough", returncode=7)
def test_prints(): print("x" * 300_000)
"""


def make_suite(folder: Path) -> Suite:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_tiny.py").write_text(TESTS)
    return Suite(
        args=("-q", "-p", "no:cacheprovider"),
        cwd=str(folder),
        sys_path=tuple(sys.path),
        run_id="run",
        executor_count=2,
        basetemp=str(folder / "temp"),
    )


class Place:
    """An engine, and workers that join it. Subclasses say how; ``kills`` tells whether a worker can die alone."""

    kills = True

    def __init__(self, folder: Path, engine: MessagingEngine) -> None:
        self.is_closed = False
        self.said: list[str] = []
        self.folder = folder
        self.engine = engine
        self.seen: list[seen.Observation] = []
        self.members: dict[str, seen.WorkerJoined] = {}

    def worker(self, worker_id: str) -> None:
        """Let a worker join; it is to be of type ``KIND``."""
        raise NotImplementedError

    def close(self) -> None:
        self.is_closed = True
        self.engine.close()

    def wait_for(self, kind: type[Any], *, timeout_s: float = 60.0, **fields: Any) -> Any:
        """Return the first observation of the kind with these values; earlier ones are forgotten."""
        deadline = time.monotonic() + timeout_s
        while True:
            while self.seen:
                found = self.seen.pop(0)
                if isinstance(found, kind) and all(getattr(found, name) == want for name, want in fields.items()):
                    return found
            assert time.monotonic() < deadline, f"no {kind.__name__} came; {self.said}"
            self.look()

    def joined(self, worker_id: str = "w0") -> seen.WorkerJoined:
        self.worker(worker_id)
        deadline = time.monotonic() + 60
        while worker_id not in self.members:  # they join in any order
            assert time.monotonic() < deadline, f"{worker_id} did not join; {self.said}"
            self.look()
        return self.members[worker_id]

    def look(self) -> None:
        found = self.engine.poll(0.1)
        self.members |= {each.worker_id: each for each in found if isinstance(each, seen.WorkerJoined)}
        self.seen += found

    def executor(self, executor_id: str, worker_id: str = "w0") -> seen.ExecutorReady:
        self.engine.spawn(worker_id, executor_id)
        return self.wait_for(seen.ExecutorReady, executor_id=executor_id)  # type: ignore[no-any-return]

    def send(self, executor_id: str, *names: str, next_task: str | None = None) -> None:
        batch = [(f"test_tiny.py::{name}", 1) for name in names]
        self.engine.send("w0", executor_id, batch, next_task, 5.0, (), 1.0)

    def ended(self, name: str) -> tuple[Outcome, str]:
        found = self.wait_for(seen.AttemptEnded, task_id=f"test_tiny.py::{name}")
        return found.outcome, found.message


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is left"
        time.sleep(0.01)


class EngineContract:
    """The cases. A subclass has a fixture ``make_place`` that makes a ``Place`` in a folder."""

    @pytest.fixture
    def place(self, make_place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
            monkeypatch.delenv(name, raising=False)
        made = make_place(tmp_path)
        yield made
        if not made.is_closed:
            made.close()

    def test_a_worker_joins_with_what_it_has(self, place: Place) -> None:
        joined = place.joined()
        assert (joined.worker_id, joined.worker_type, joined.labels) == ("w0", "kind", KIND.labels)
        assert joined.capacity == KIND.capacity
        assert 2**20 < joined.held_bytes < 2**32, "a fork of this process, which other tests may have made large"
        assert Path(f"/proc/{joined.pid}").exists()
        place.wait_for(seen.WorkerSampled, worker_id="w0")

    def test_tests_run_and_everything_is_told(self, place: Place) -> None:
        (place.folder / "tear").touch()
        place.joined()
        place.executor("gw0")
        place.send("gw0", "test_passes", "test_fails", next_task="test_tiny.py::test_again")
        assert place.wait_for(seen.AttemptBegan).task_id == "test_tiny.py::test_passes"
        passed = place.wait_for(seen.AttemptEnded)
        assert (passed.outcome, len(passed.reports)) == (Outcome.PASSED, 3)
        assert 0 < passed.usage.peak_rss_bytes < 2**26, "what the zygote holds is not the test's"
        assert place.ended("test_fails") == (Outcome.FAILED, "AssertionError: on purpose")
        assert place.wait_for(seen.BatchEnded).returned == ()
        place.send("gw0", "no_such_test", "test_again", "test_warns", next_task="test_tiny.py::test_again")
        missing = place.wait_for(seen.AttemptEnded)
        assert (missing.outcome, missing.reports) == (Outcome.ERROR, [])
        assert "make collection deterministic" in missing.message
        assert place.ended("test_again")[0] is Outcome.PASSED
        place.engine.stop("w0", "gw0")
        assert place.wait_for(seen.WarningRecorded).data["text"] == "look"
        late = place.wait_for(seen.TeardownReported)
        assert late.task_id == "test_tiny.py::test_warns", "the last test that it was kept for"
        assert "torn" in late.message
        assert place.wait_for(seen.ExecutorExited) == seen.ExecutorExited(worker_id="w0", executor_id="gw0", death=None)

    def test_executors_end_in_every_way(self, place: Place) -> None:
        place.joined()
        for number, name in enumerate(("test_sleeps", "test_sleeps", "test_exits", "test_ends_the_run")):
            place.executor(f"gw{number}")
            place.send(f"gw{number}", name, "test_passes")
            place.wait_for(seen.AttemptBegan, task_id=f"test_tiny.py::{name}")
            if number == 0:
                place.engine.kill("w0", "gw0", DeathKind.TIMEOUT, "it took too long")
                death = place.wait_for(seen.ExecutorExited).death
                assert (death.reason, death.signal) == ("it took too long", "SIGKILL")
            elif number == 1:
                place.engine.interrupt("w0", "gw1")
                assert place.wait_for(seen.StopAsked).kind == "interrupt"
                assert place.wait_for(seen.ExecutorExited).death is None
            elif number == 2:
                death = place.wait_for(seen.ExecutorExited).death
                assert (death.exit_code, death.signal, death.reason) == (3, None, "")
                assert death.peak_rss_bytes > 2**20
            else:
                asked = place.wait_for(seen.StopAsked)
                assert (asked.kind, asked.message, asked.exit_code) == ("exit", "enough", 7)
        for call in (place.engine.stop, place.engine.interrupt, place.engine.spawn):
            call("w9", "gw9")  # it died meanwhile: no error
        place.engine.kill("w0", "gw9", DeathKind.STOPPED, "gone long ago")

    def test_what_is_large_arrives_whole(self, place: Place) -> None:
        place.joined()
        place.executor("gw0")
        place.send("gw0", "test_prints", "test_passes")
        found = place.wait_for(seen.AttemptEnded, task_id="test_tiny.py::test_prints")
        assert "x" * 300_000 in str(found.reports)
        assert place.ended("test_passes")[0] is Outcome.PASSED

    def test_a_released_worker_ends(self, place: Place) -> None:
        place.joined()
        ready = place.executor("gw0")
        place.engine.release("w0")
        assert place.wait_for(seen.WorkerLeft).worker_id == "w0"
        wait_gone(ready.pid)

    def test_a_worker_that_dies_is_told_and_another_goes_on(self, place: Place) -> None:
        if not place.kills:
            pytest.skip("a worker inside this process does not die alone")
        joined = place.joined("w0")
        place.joined("w1")
        ready = place.executor("gw0")
        place.send("gw0", "test_sleeps")
        place.wait_for(seen.AttemptBegan)
        os.kill(joined.pid, signal.SIGKILL)
        assert place.wait_for(seen.WorkerLeft).worker_id == "w0"
        wait_gone(ready.pid)
        place.executor("gw1", "w1")

    def test_closing_leaves_no_process(self, place: Place) -> None:
        joined = place.joined()
        ready = place.executor("gw0")
        place.send("gw0", "test_sleeps")
        place.wait_for(seen.AttemptBegan)
        place.close()
        wait_gone(ready.pid)
        if joined.pid != os.getpid():
            wait_gone(joined.pid)

    def test_waking_ends_a_poll(self, place: Place) -> None:
        place.joined()
        for _ in range(3):
            place.engine.wake()
            began = time.monotonic()
            place.engine.poll(20.0)
            assert time.monotonic() - began < 10
