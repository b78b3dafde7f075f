"""pytest as the surface of a run: what tests reported becomes pytest's own hook calls, as if they had run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pytest

from drm.model.errors import LostError
from drm.nodes import Nodes
from drm.passed_tests import PassedTests
from drm.ports import Status
from drm.pytest_reports import Ending, mark_flaky
from drm.quarantine import REASON, is_in_quarantine
from drm.status_line import StatusLine
from drm.worker.reports import ReportDecoder, decode_warning, is_plain_fixture_phase, is_plain_pass

# Modules of pytest that listen to reports and do nothing about a setup or teardown that passed.
_DEAF = frozenset(
    f"_pytest.{name}"
    for name in ("cacheprovider", "logging", "main", "runner", "skipping", "stepwise", "subtests", "terminal")
)


class PytestSurface:
    """Implements ``drm.ports.Surface`` over a collected pytest session."""

    def __init__(
        self, session: pytest.Session, items: Mapping[str, pytest.Item], status: StatusLine, nodes: Nodes
    ) -> None:
        self._session = session
        self._config = session.config
        self._items = items
        self._nodes = nodes
        self._decoder = ReportDecoder(session.config, items)
        self._status = status
        self._hooks: dict[Any, Any] = {}
        self._reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")

    def deliver(self, task_id: str, executor_id: str, reports: list[Any], flaky: str) -> None:
        try:
            self._deliver(self._items[task_id], executor_id, reports, flaky)
        except LostError as error:
            self.deliver_failure(task_id, executor_id, str(error), 0.0)

    def _deliver(self, item: pytest.Item, executor_id: str, reports: list[Any], flaky: str) -> None:
        if not flaky and is_plain_pass(reports) and self._nobody_keeps:
            call = self._decoder.decode_call(item, reports, executor_id)
            if self._passed is not None:
                self._passed.put(call)
            else:
                self._log(item, [call], (False,))
            return
        decoded = self._decoder.decode(item, reports, executor_id)
        plain = [not flaky and is_plain_fixture_phase(data) for data in reports]
        if flaky:
            mark_flaky(self._config, decoded, flaky)
        self._log(item, decoded, plain)

    def deliver_failure(self, task_id: str, executor_id: str, message: str, wall_s: float) -> None:
        item = self._items[task_id]
        failed = self._report(item, "call" if executor_id else "setup", "failed", message, wall_s, executor_id)
        if executor_id and is_in_quarantine(item):  # as if it had failed by itself
            failed.outcome, failed.wasxfail = "skipped", REASON
        ended = self._report(item, "teardown", "passed", None, 0.0, executor_id)
        self._log(item, [failed, ended], (False, False))

    def deliver_late(self, task_id: str, executor_id: str, report: Any) -> None:
        item = self._items[task_id]
        try:
            decoded = report if isinstance(report, str) else self._decoder.decode(item, [report], executor_id)[0]
        except LostError as error:
            decoded = str(error)
        if isinstance(decoded, str):
            decoded = self._report(item, "teardown", "failed", decoded, 0.0, executor_id)
        self.settle()
        self._status.clear()
        self._config.hook.pytest_runtest_logreport(report=decoded)

    def deliver_warning(self, data: dict[str, Any]) -> None:
        self._config.hook.pytest_warning_recorded.call_historic(kwargs=decode_warning(data))

    def executor_starts(self, executor_id: str) -> dict[str, Any]:
        return self._nodes.up(executor_id)

    def executor_ended(self, executor_id: str, output: dict[str, Any], error: str) -> None:
        self._nodes.down(executor_id, output, error)

    def settle(self) -> None:
        if self._passed is not None:
            self._status.clear()
            self._passed.show()
            self._status.restore()

    def stop_wanted(self) -> str:
        return str(self._session.shouldfail or self._session.shouldstop or "")

    def say(self, line: str) -> None:
        self._status.say(line)

    def show_line(self, executor_id: str, test: str, line: str) -> None:
        self._status.write(f"[{executor_id} {test}] {line}" if test else f"[{executor_id}] {line}")

    def show_status(self, status: Status) -> None:
        self._status.show(status)

    def _log(self, item: pytest.Item, reports: list[pytest.TestReport], plain: Sequence[bool]) -> None:
        self.settle()
        self._status.clear()
        hook = self._hook_of(item)
        nodeid, location = item.nodeid, reports[0].location
        if not self._none_shown:
            hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for report, is_plain in zip(reports, plain, strict=True):
            if is_plain and self._nobody_asks:
                self._reporter._add_stats("", (report,))
            else:
                if hasattr(report, "drm_parts_failed"):
                    self._session.testsfailed -= 1  # it will count it, but where it runs it counts the parts alone
                hook.pytest_runtest_logreport(report=report)
        if not self._none_shown:
            hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)
        self._status.restore()

    @cached_property
    def _nobody_asks(self) -> bool:
        """Whether all that a passed setup or teardown can cause is that the terminal files it among what it shows not.

        So it is while no plugin but pytest's own listens; two thirds of all reports then need no call of hooks.
        """
        hooks = self._config.hook
        listeners = hooks.pytest_runtest_logreport.get_hookimpls() + hooks.pytest_report_teststatus.get_hookimpls()
        return self._reporter is not None and all(entry.function.__module__ in _DEAF for entry in listeners)

    @cached_property
    def _nobody_keeps(self) -> bool:
        """Whether nobody looks, at the end, at the setups and teardowns that passed and that the terminal has filed.

        pytest does for ``--durations``; with them a controller holds three times as many reports.
        """
        at_the_end = self._config.hook.pytest_terminal_summary.get_hookimpls()
        return (
            self._nobody_asks
            and self._config.getoption("durations") is None
            and all(entry.function.__module__.startswith(("_pytest.", "drm.")) for entry in at_the_end)
        )

    @cached_property
    def _passed(self) -> PassedTests | None:
        """Where tests wait that passed, to be shown together; None where each has to be told by itself."""
        return PassedTests.of(self._config, self._reporter) if self._nobody_keeps and self._none_shown else None

    @cached_property
    def _none_shown(self) -> bool:
        """Whether nobody wants to know that a test begins or is done: no plugin but pytest's, which shows no names."""
        hooks, reporter = self._config.hook, self._reporter
        told = {entry.function.__module__ for entry in hooks.pytest_runtest_logstart.get_hookimpls()}
        told_later = {entry.function.__module__ for entry in hooks.pytest_runtest_logfinish.get_hookimpls()}
        return (
            reporter is not None
            and not (reporter.showlongtestinfo or reporter.showfspath)
            and told <= {"_pytest.logging", "_pytest.terminal"}
            and told_later <= {"_pytest.logging"}  # before pytest 9 the terminal shows progress then
        )

    def _hook_of(self, item: pytest.Item) -> Any:
        """Return ``item.ihook``, found once per module: tests of one share it."""
        hook = self._hooks.get(item.parent)
        if hook is None:
            hook = self._hooks[item.parent] = item.ihook
        return hook

    @staticmethod
    def _report(
        item: pytest.Item, when: Any, outcome: Any, text: str | None, wall_s: float, executor_id: str
    ) -> pytest.TestReport:
        keywords: Any = dict.fromkeys(item.keywords, 1)
        longrepr: Any = None if text is None else Ending(text, item.location)
        report = pytest.TestReport(item.nodeid, item.location, keywords, outcome, longrepr, when, duration=wall_s)
        report.worker_id = executor_id  # type: ignore[attr-defined]
        return report
