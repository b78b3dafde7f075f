"""A run with real worker processes, driven wave by wave."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from drm.model.cluster import WorkerType
from drm.model.events import AttemptFinished, AttemptStarted, Event, ScalingDecided, TestFinished, WorkerReady
from drm.model.resources import Requirements, Resources
from drm.model.work import Task
from drm.ports import Status
from drm.reporting.ndjson import read_events
from drm.run_options import RunOptions
from drm.session import Journal, Run, new_run_id
from drm.worker.suite import Suite

GIB = 2**30

WORKER_TYPES = (
    WorkerType(name="cpu", capacity=Resources(cpu_cores=1, memory_bytes=1 * GIB), usd_per_hour=0.05),
    WorkerType(name="highmem", capacity=Resources(cpu_cores=1, memory_bytes=6 * GIB), usd_per_hour=0.2),
    WorkerType(  # no GPU is needed for this: the label stands for one
        name="gpu",
        capacity=Resources(cpu_cores=1, memory_bytes=1 * GIB),
        labels=frozenset({"gpu"}),
        usd_per_hour=1.0,
    ),
)

SUITE = """
import os, time
import pytest

@pytest.mark.parametrize("n", range(60))
def test_cpu(n):
    time.sleep(0.4)

@pytest.mark.parametrize("n", range(6))
def test_highmem(n):
    time.sleep(0.4)

@pytest.mark.parametrize("n", range(6))
def test_gpu(n):
    time.sleep(0.4)

def test_long():
    time.sleep(1.5)
"""

NEEDS = {
    "test_cpu": Requirements(amounts=Resources(cpu_cores=1)),
    "test_long": Requirements(amounts=Resources(cpu_cores=1)),
    "test_highmem": Requirements(amounts=Resources(cpu_cores=1, memory_bytes=4 * GIB), sources=(("memory", "marker"),)),
    "test_gpu": Requirements(amounts=Resources(cpu_cores=1), labels=frozenset({"gpu"})),
}


class Ears:
    """The surface of a run without a pytest session: keeps what it is told."""

    def __init__(self) -> None:
        self.delivered: dict[str, int] = defaultdict(int)
        self.deaths: dict[str, str] = {}
        self.lines: list[str] = []
        self.statuses: list[Status] = []

    def deliver(self, task_id: str, executor_id: str, reports: list[Any], flaky: str) -> None:
        self.delivered[task_id] += 1

    def deliver_failure(self, task_id: str, executor_id: str, message: str, wall_s: float) -> None:
        self.delivered[task_id] += 1
        self.deaths[task_id] = message

    def deliver_late(self, task_id: str, executor_id: str, report: Any) -> None:
        """Nothing to keep."""

    def deliver_warning(self, data: dict[str, Any]) -> None:
        """Nothing to keep."""

    def settle(self) -> None:
        """Nothing was kept back."""

    def executor_starts(self, executor_id: str) -> dict[str, Any]:
        return {"workerid": executor_id}

    def executor_ended(self, executor_id: str, output: dict[str, Any], error: str) -> None:
        """Nothing to keep."""

    def show_line(self, executor_id: str, test: str, line: str) -> None:
        """Nothing to keep."""

    def stop_wanted(self) -> str:
        return ""

    def say(self, line: str) -> None:
        self.lines.append(line)

    def show_status(self, status: Status) -> None:
        self.statuses.append(status)


class Cluster:
    """A coordinator with a pool of workers of three kinds, and the events of its run."""

    def __init__(self, folder: Path, record: Path, *, most: int) -> None:
        suite_file = folder / "test_load.py"
        suite_file.write_text(SUITE, encoding="utf-8")
        # Where they are installed: plugins that want to be greeted by a controller's plugin, and here is none.
        addopts = "-p no:cacheprovider -p no:rerunfailures -p no:randomly"
        (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {addopts}\n", encoding="utf-8")
        options = RunOptions(
            executors=(1, 1),
            workers=(1, most),
            worker_types=WORKER_TYPES,
            capacity=Resources(cpu_cores=8, memory_bytes=32 * GIB),  # its tests sleep: more workers than cores are fine
            silent_s=4.0,
            report_dir=record,
            rootdir=folder,
            command=("e2e",),
        )
        self.ears = Ears()
        self.record = record
        self.journal = Journal(options, run_id=new_run_id(), say=self.ears.say)
        suite = Suite(
            args=("test_load.py",),
            cwd=str(folder),
            sys_path=tuple(sys.path),
            run_id=self.journal.run_id,
            executor_count=most,
            basetemp=str(folder / "tmp"),
        )
        (folder / "tmp").mkdir()
        self.run = Run(options, self.journal, self.ears, suite)
        self._next: dict[str, int] = defaultdict(int)
        self._closed = False

    def tasks(self, **counts: int) -> list[Task]:
        """Return that many further tests of each kind: ``tasks(cpu=3, gpu=1)``."""
        made = []
        for kind, count in counts.items():
            for _ in range(count):
                number = self._next[kind]
                self._next[kind] += 1
                name = f"test_{kind}" + ("" if kind == "long" else f"[{number}]")
                task_id = f"test_load.py::{name}"
                made.append(Task(task_id=task_id, scope="test_load.py", requirements=NEEDS[f"test_{kind}"]))
        return made

    def submit(self, tasks: Sequence[Task]) -> None:
        self.run.submit(tasks, {})

    def until(self, done: Callable[[], bool], *, timeout_s: float) -> None:
        """Let the coordinator work until ``done``; fail after the deadline."""
        deadline = self.run.journal.recorder.elapsed_s() + timeout_s
        while not done():
            assert self.run.journal.recorder.elapsed_s() < deadline, "nothing came of it in time"
            self.run.coordinator.step()

    def workers(self) -> int:
        return len(self.run.manager.snapshot(0.0).ready)

    def pids(self) -> dict[str, int]:
        """Return the process of each worker that has joined."""
        return {event.worker_id: event.pid for event in self.events() if isinstance(event, WorkerReady)}

    def running(self, task_id: str) -> list[str]:
        """Return the workers on which an attempt of the test is under way."""
        begun: dict[tuple[str, int], str] = {}
        for event in self.events():
            if isinstance(event, AttemptStarted) and event.task_id == task_id:
                begun[task_id, event.attempt] = event.worker_id
            elif isinstance(event, AttemptFinished) and event.task_id == task_id:
                begun.pop((task_id, event.attempt), None)
        return list(begun.values())

    def all_running(self) -> dict[str, list[str]]:
        """Return the tests that are under way, by worker."""
        begun: dict[tuple[str, int], str] = {}
        for event in self.events():
            if isinstance(event, AttemptStarted):
                begun[event.task_id, event.attempt] = event.worker_id
            elif isinstance(event, AttemptFinished):
                begun.pop((event.task_id, event.attempt), None)
        found: dict[str, list[str]] = defaultdict(list)
        for (task_id, _), worker_id in begun.items():
            found[worker_id].append(task_id)
        return found

    def events(self) -> list[Event]:
        return list(read_events(self.record / "events.ndjson"))

    def close(self) -> list[Event]:
        if not self._closed:
            self._closed = True
            self.run.coordinator.close()
        return self.events()


def kinds_of_workers(events: Sequence[Event]) -> dict[str, str]:
    return {event.worker_id: event.worker_type for event in events if isinstance(event, WorkerReady)}


def placements(events: Sequence[Event]) -> dict[str, set[str]]:
    """Return for each kind of test the kinds of workers its attempts began on."""
    kinds = kinds_of_workers(events)
    found: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if isinstance(event, AttemptStarted):
            found[event.task_id.partition("::")[2].partition("[")[0]].add(kinds[event.worker_id])
    return found


def outcomes(events: Sequence[Event]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for event in events:
        if isinstance(event, TestFinished):
            found[event.task_id].append(event.outcome.value)
    return found


def decisions(events: Sequence[Event]) -> list[ScalingDecided]:
    return [event for event in events if isinstance(event, ScalingDecided)]


def lost_attempts(events: Sequence[Event]) -> list[AttemptFinished]:
    return [event for event in events if isinstance(event, AttemptFinished) and event.outcome is None]
