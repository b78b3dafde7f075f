"""Running in the controller itself (``--drm-executors 0``, benchmarks): as pytest does, with everything recorded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from itertools import zip_longest

import pytest

from drm.coordinator.accounts import Accounts
from drm.coordinator.ending import record_end
from drm.coordinator.recorder import Recorder
from drm.model import events
from drm.model.resources import Resources
from drm.model.work import Outcome, Task, Usage
from drm.session import LOCAL_WORKER
from drm.worker.measure import Meter
from drm.worker.reports import ReportEncoder, outcome_of

_HERE = "master"  # pytest-xdist's name for the process that controls


def is_benchmark(item: pytest.Item) -> bool:
    """Tell whether pytest-benchmark is to measure the test: then nothing else may run, and this process is told."""
    session = getattr(item.config, "_benchmarksession", None)
    if session is None or session.disabled or session.skip:
        return False
    return "benchmark" in getattr(item, "fixturenames", ())


class InlineRun:
    """A pytest plugin that records what pytest runs. For --pdb, benchmarks, and suites that must not be forked."""

    def __init__(
        self,
        recorder: Recorder,
        accounts: Accounts,
        ids: Mapping[pytest.Item, str],
        keep: Callable[..., None] | None = None,
    ) -> None:
        """``keep``: given what tests reported, for a run that goes on with this one."""
        self._keep = keep
        self._recorder = recorder
        self._accounts = accounts
        self._ids = ids
        self._meter = Meter()
        self._reports: list[pytest.TestReport] = []
        self._last = ""

    def start(self, tasks: list[Task], capacity: Resources) -> None:
        """Begin a record in which there is nothing but what runs here."""
        self._accounts.open(tasks)
        self._recorder.record(events.TestsDiscovered, task_ids=tuple(task.task_id for task in tasks))
        self._recorder.record(events.WorkerReady, worker_id=LOCAL_WORKER, worker_type=LOCAL_WORKER, capacity=capacity)

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
        broken_off = True  # by Ctrl-C or pytest.exit
        try:
            result = yield
            broken_off = False
            return result
        finally:
            wall, cpu, peak = self._meter.stop()
            usage = Usage(wall_s=wall, cpu_s=cpu, peak_rss_bytes=int(peak))
            outcome, message = outcome_of(self._reports)
            if broken_off and all(report.when == "setup" and report.passed for report in self._reports):
                outcome = Outcome.NOT_RUN
            self._recorder.record(events.AttemptFinished, **where, outcome=outcome, usage=usage)
            if outcome is not Outcome.NOT_RUN and self._accounts.settle(task_id, outcome):
                if self._keep is not None:
                    encoder = ReportEncoder(item.config)
                    encoder.begin(item)
                    self._keep("reports", task_id, "", [encoder.encode(report) for report in self._reports], "")
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

    def run(self, session: pytest.Session) -> None:
        """Run the tests one after another, as pytest's own loop would, until one of them asks to stop."""
        items = list(self._ids)
        session.config.pluginmanager.register(self, "drm-inline")
        try:
            for item, following in zip_longest(items, items[1:]):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.shouldfail or session.shouldstop:
                    return
        finally:
            session.config.pluginmanager.unregister(self)

    def finish(self, reason: str) -> None:
        record_end(self._recorder, self._accounts, reason)
