"""The executor: one process that runs tests, one at a time, and reports each before it begins the next."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from drm.model.errors import LostError
from drm.worker.channel import Channel
from drm.worker.coverage_data import CoverageData
from drm.worker.fence import Fence
from drm.worker.gpus import VisibleGpus
from drm.worker.ground import Ground
from drm.worker.late_teardown import late_teardown
from drm.worker.lease import Lease
from drm.worker.live import show_live
from drm.worker.measure import Meter
from drm.worker.pools import ThreadPools
from drm.worker.protocol import counts_as_failure
from drm.worker.report_bounds import limit_captured
from drm.worker.reports import ReportEncoder, encode_warning, first_line, outcome_of
from drm.worker.running_time import running_s
from drm.worker.shortcuts import Locations, protocol_of, take_shortcuts

_ENDING = (KeyboardInterrupt, pytest.exit.Exception)  # of the session, not of a phase of a test
_LOOK_S = 0.005  # how often, between short tests, the channel is looked at for a stop


class Executor:
    """Runs batches that arrive on its channel until told to stop.

    What a test reported is on its way before the next test begins, in one system
    call with the word that it begins: so nothing is lost with a process that dies, and
    the coordinator always knows which test it was running. ``threads``: the pools as the zygote has bound them.
    """

    def __init__(
        self,
        session: pytest.Session,
        channel: Channel,
        items: Mapping[str, pytest.Item],
        *,
        threads: ThreadPools | None = None,
        max_failures: int | None = 0,
    ) -> None:
        self._session = session
        self._config = session.config
        self._channel = channel
        self._items = items
        self._encoder = ReportEncoder(session.config)
        self._meter = Meter()
        self._protocol: Callable[..., Any] = session.config.hook.pytest_runtest_protocol
        self._gpus = VisibleGpus(os.environ)
        self._threads = threads or ThreadPools(os.environ)
        self._locations = Locations()
        self._reports: list[pytest.TestReport] = []
        self._has_parts = False
        self._hears_warnings = False  # pytest repeats those of collection to who is registered later
        self._outgoing: list[list[Any]] = []
        self._last: tuple[str, pytest.Item] | None = None
        self._announced: Any = None
        self._looked_s = 0.0
        self._max_failures = max_failures or 0  # without -x and --maxfail, pytest gives None
        self._failures = 0
        self._coverage = CoverageData.find()
        self._ground = Ground(session.config)
        self._lease = Lease.find(os.environ)
        self._sending = threading.Lock()  # tests may print from any thread
        if session.config.getoption("drm_live", False):
            show_live(session.config, self._show)
        limit_captured(session.config)

    def serve(self, *, tear_down: bool = True) -> None:
        """Run until told to stop, or until nobody listens any more; then tear everything down.

        ``tear_down=False`` leaves ``pytest_sessionfinish`` to the pytest session around it.
        """
        self._config.pluginmanager.register(self, "drm-executor")
        self._hears_warnings = True
        if self._lease is not None:
            self._config.pluginmanager.register(Fence(self._lease), "drm-fence")
        take_shortcuts(self._session)
        self._protocol = protocol_of(self._config)
        self._put(["settled", self._meter.base_bytes])
        try:
            self._serve_to_the_end(tear_down)
        finally:
            if self._coverage is not None:
                self._coverage.save()

    def _serve_to_the_end(self, tear_down: bool) -> None:
        try:
            with self._asking():
                self._serve_batches()
            with self._asking():
                self._settle(None)
            if tear_down:
                with self._unheard():
                    self._config.hook.pytest_sessionfinish(session=self._session, exitstatus=int(self._failures > 0))
            self._flush()
        except LostError:
            return

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Tell the controller where the end of the session is asked for."""
        try:
            yield
        except KeyboardInterrupt as error:
            self._ask("interrupt", str(error))
        except pytest.exit.Exception as error:
            self._ask("exit", str(error.msg), error.returncode)

    def _serve_batches(self) -> None:
        while True:
            message = self._channel.next()
            if message is None or message[0] == "stop":
                return
            self._run_batch(*message[1:])

    def _run_batch(
        self, batch: list[tuple[str, int]], next_task: str | None, budget_s: float, gpus: list[int], cores: float
    ) -> None:
        started = running_s()
        self._gpus.show(gpus)
        self._threads.bound(cores)
        tasks = [task_id for task_id, _ in batch]
        returned: list[str] = []
        for index, (task_id, attempt) in enumerate(batch):
            late = index > 0 and (running_s() - started > budget_s or self._told_to_stop())
            if late or 0 < self._max_failures <= self._failures:  # -x: the controller is about to stop the run
                returned = tasks[index:]
                break
            following = tasks[index + 1] if index + 1 < len(tasks) else next_task
            self._run_test(task_id, attempt, following)
            if self._session.shouldfail or self._session.shouldstop:
                kind = "fail" if self._session.shouldfail else "stop"
                self._ask(kind, str(self._session.shouldfail or self._session.shouldstop))
                returned = tasks[index + 1 :]
                break
        self._put(["idle", returned])
        self._flush()

    def _told_to_stop(self) -> bool:
        now = running_s()
        if now - self._looked_s < _LOOK_S:
            return False
        self._looked_s = now
        message = self._channel.peek()
        return message is not None and message[0] == "stop"

    def _run_test(self, task_id: str, attempt: int, following: str | None) -> None:
        if self._lease is not None:
            self._lease.wait()
        self._put(["begin", task_id, attempt])
        item = self._items.get(task_id)
        if item is None:
            self._put(["missing", task_id, attempt])
            return
        if item is not self._announced:
            self._settle(item)
        self._flush()
        self._reports, self._has_parts = [], False
        self._last = (task_id, item)
        self._announced = self._neighbour(following)
        self._locations.settle(item)
        self._encoder.begin(item)
        self._ground.restore()
        self._meter.start()
        self._protocol(item=item, nextitem=self._announced)
        usage = self._meter.stop()
        if self._coverage is not None:
            self._coverage.flush()
        outcome, message = outcome_of(self._reports)
        self._put(["end", task_id, attempt, outcome, message, list(map(self._encoder.encode, self._reports)), usage])

    def _neighbour(self, following: str | None) -> Any:
        """Return the item or collector that decides which fixtures stay set up: the next test, or else the session."""
        return self._items.get(following, self._session) if following is not None else self._session

    def _settle(self, upcoming: pytest.Item | None) -> None:
        """Tear down what the upcoming test does not share.

        Needed where another test comes than the last batch announced. An error then belongs to
        the last test that ran, whose reports have been sent already.
        """
        if self._last is None:
            return
        task_id, item = self._last
        teardown = functools.partial(self._session._setupstate.teardown_exact, upcoming)  # no frame of a traceback
        with late_teardown(self._config, item):
            call = pytest.CallInfo.from_call(teardown, when="teardown", reraise=_ENDING)
        if call.excinfo is not None:
            report = item.ihook.pytest_runtest_makereport(item=item, call=call)
            self._put(["late", task_id, first_line(report), self._encoder.encode(report)])

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        """Keep output from the terminal, which is the controller's (not with -s)."""
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None or not capture.is_globally_capturing():
            yield
            return
        capture.resume_global_capture()
        try:
            yield
        finally:
            capture.suspend_global_capture(in_=False)
            capture.read_global_capture()

    def _ask(self, kind: str, message: str, exit_code: int | None = None) -> None:
        self._put(["ask", kind, message, exit_code])
        self._flush()

    def _put(self, message: list[Any]) -> None:
        self._outgoing.append(message)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        with self._sending:
            self._channel.send(["many", *outgoing])

    def _show(self, test: str, line: str) -> None:
        if self._sending.acquire(timeout=1):  # not for ever: a signal's handler may print while we send
            try:
                with suppress(LostError):
                    self._channel.send(["many", ["live", test, line]])
            finally:
                self._sending.release()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Iterator[None]:
        """Send what plugins leave for the controller, when the last of them has."""
        result = yield
        if self._config.workeroutput:  # type: ignore[attr-defined]
            self._put(["output", self._config.workeroutput])  # type: ignore[attr-defined]
            with suppress(LostError):
                self._flush()
        return result

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if type(report) is not pytest.TestReport:
            self._has_parts = True
        elif self._has_parts and report.when == "call":
            # A test with failed subtests is made a failure where pytest asks for the status of its report,
            # which nobody does here: there is no terminal.
            passed = report.passed
            self._config.hook.pytest_report_teststatus(report=report, config=self._config)
            if passed and report.failed:
                report.drm_parts_failed = True  # type: ignore[attr-defined]
        self._failures += counts_as_failure(vars(report))
        self._reports.append(report)

    @pytest.hookimpl
    def pytest_warning_recorded(self, warning_message: Any, when: Any, nodeid: str, location: Any) -> None:
        if self._hears_warnings:
            self._put(["warning", encode_warning(warning_message, when, nodeid, location)])
