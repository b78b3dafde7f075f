"""Running in the controller itself (``--drm-executors 0``): pytest's own loop, with everything recorded."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from drm.coordinator.accounts import Accounts
from drm.coordinator.ending import record_end
from drm.model import events
from drm.model.resources import Resources
from drm.model.work import Outcome, Task, Usage
from drm.session import LOCAL_WORKER, Journal
from drm.worker.measure import Meter
from drm.worker.reports import outcome_of

_HERE = "master"  # pytest-xdist's name for the process that controls


class InlineRun:
    """A pytest plugin that records what pytest runs. For --pdb, benchmarks, and suites that must not be forked."""

    def __init__(self, journal: Journal, capacity: Resources, ids: dict[pytest.Item, str]) -> None:
        self._recorder = journal.recorder
        self._capacity = capacity
        self._ids = ids
        self._accounts = Accounts()
        self._meter = Meter()
        self._reports: list[pytest.TestReport] = []
        self._last = ""

    def start(self, tasks: list[Task]) -> None:
        self._accounts.open(tasks)
        self._recorder.record(events.TestsDiscovered, task_ids=tuple(task.task_id for task in tasks))
        self._recorder.record(
            events.WorkerReady, worker_id=LOCAL_WORKER, worker_type=LOCAL_WORKER, capacity=self._capacity
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        task_id = self._ids[item]
        attempt = self._accounts.begin(task_id)
        where = {"task_id": task_id, "attempt": attempt, "worker_id": LOCAL_WORKER, "executor_id": _HERE}
        amounts = self._accounts.task(task_id).requirements.amounts
        self._recorder.record(events.AttemptStarted, **where, reserved=amounts)
        self._recorder.flush()
        self._reports, self._last = [], task_id
        self._meter.start()
        try:
            return (yield)
        finally:
            wall, cpu, peak = self._meter.stop()
            usage = Usage(wall_s=wall, cpu_s=cpu, peak_rss_bytes=int(peak))
            outcome, message = outcome_of(self._reports)
            self._recorder.record(events.AttemptFinished, **where, outcome=outcome, usage=usage)
            if outcome is not Outcome.NOT_RUN and self._accounts.settle(task_id, outcome):
                self._recorder.record(
                    events.TestFinished,
                    task_id=task_id,
                    outcome=outcome,
                    attempts=attempt,
                    wall_s=wall,
                    message=message,
                )
            self._recorder.flush()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(report)

    def finish(self, reason: str) -> None:
        record_end(self._recorder, self._accounts, reason)
