"""How pytest is told of tests that passed and said nothing: many at a time, where all it does is draw a dot for each.

Telling pytest of one test is some ten calls of hooks, which is more than the test itself if that is short.
"""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

__all__ = ["PassedTests"]

# Modules of pytest that do nothing about a call that passed, but for the terminal, which is told here.
_DEAF = frozenset(f"_pytest.{name}" for name in ("logging", "main", "runner", "skipping", "subtests", "terminal"))
_USED = (
    "_add_stats",
    "_is_last_item",
    "_progress_nodeids_reported",
    "_screen_width",
    "_show_progress_info",
    "_width_of_current_line",
    "_write_progress_information_if_past_edge",
)


class PassedTests:
    """Collects the reports of tests that passed, and shows them as pytest's terminal would have, one after another."""

    def __init__(self, config: pytest.Config, reporter: Any) -> None:
        self._reporter = reporter
        self._reports: list[pytest.TestReport] = []
        self._listeners = [
            entry.function
            for entry in config.hook.pytest_runtest_logreport.get_hookimpls()
            if entry.function.__module__ not in _DEAF
        ]
        progress = reporter._show_progress_info
        collected = reporter._session.testscollected
        self._progress_width = len(f" [{collected}/{collected}]" if progress == "count" else " [100%]")
        self._shows_progress = bool(progress)

    @classmethod
    def of(cls, config: pytest.Config, reporter: Any) -> PassedTests | None:
        """Return one, unless the terminal shows more than dots, or is not as this module knows it."""
        if type(reporter) is not TerminalReporter or not all(hasattr(reporter, name) for name in _USED):
            return None
        if reporter.showlongtestinfo or reporter._show_progress_info not in (False, "progress", "count"):
            return None
        return cls(config, reporter)

    def put(self, report: pytest.TestReport) -> None:
        self._reports.append(report)

    def show(self) -> None:
        """Tell pytest of all that were put in since."""
        reports, self._reports = self._reports, []
        if not reports:
            return
        for listener in self._listeners:
            for report in reports:
                listener(report)
        reporter = self._reporter
        reporter._tests_ran, reporter._current_logreport = True, reports[-1]
        reporter._add_stats("passed", reports)
        ids = [getattr(report, "id", report.nodeid) for report in reports]
        while ids:
            line, ids = self._one_line(ids)
            reporter._progress_nodeids_reported.update(line)
            reporter._tw.write("." * len(line), green=True)
            if self._shows_progress and not reporter._is_last_item:
                reporter._write_progress_information_if_past_edge()
        reporter.flush()

    def _one_line(self, ids: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return those whose dots go onto the terminal's line before it writes the progress, and the others."""
        if not self._shows_progress:
            return ids, []
        reporter = self._reporter
        room = max(1, reporter._screen_width - 1 - self._progress_width - reporter._width_of_current_line)
        return ids[:room], ids[room:]
