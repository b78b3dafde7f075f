"""What pytest shows of a test that died with its process, and of one that passed only when it was tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter

_PLUGIN = "drm-flaky"


class Ending(TerminalRepr):
    """A failure without a traceback; its first line is what pytest's short summary and junit.xml's message say."""

    def __init__(self, text: str, location: tuple[str, int | None, str]) -> None:
        self._text = text
        path, line, _ = location
        self.reprcrash = ReprFileLocation(path=path, lineno=(line or 0) + 1, message=text.partition("\n")[0])

    def toterminal(self, tw: TerminalWriter) -> None:
        tw.line(self._text)

    def __str__(self) -> str:
        return self._text


class _FlakyStatus:
    """Counts flaky tests by themselves in pytest's own account, and shows them as ``R`` (tried again)."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> Any:
        if report.when == "call" and report.passed and hasattr(report, "drm_flaky"):
            return "flaky", "R", ("FLAKY", {"yellow": True})
        return None


def mark_flaky(config: pytest.Config, reports: Sequence[pytest.TestReport], why: str) -> None:
    """Say in the reports of a test, and so in junit.xml, that it is flaky and why."""
    if not config.pluginmanager.has_plugin(_PLUGIN):  # other runs do without the hook, which is called per report
        config.pluginmanager.register(_FlakyStatus(), _PLUGIN)
    for report in reports:
        report.drm_flaky = why  # type: ignore[attr-defined]
        report.user_properties = [*report.user_properties, ("flaky", why)]
