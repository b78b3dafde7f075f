"""Reports that know the runs before: the facts of the folder, the trends of the history, the links of the provider."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from drm.ci_commands.context import current_context
from drm.ci_commands.links import links_of
from drm.history import past_trends
from drm.reporting.collect import Replay, build_report, replay_all
from drm.reporting.report import Report
from drm.reporting.text import one_line

__all__ = ["HISTORY", "report_of", "with_trends"]

HISTORY = Path(".drm", "history.db")
_NO_PROVIDER = "generic"


def report_of(
    reports_dir: Path, *, stages: Sequence[str] = (), history: Path = HISTORY, replay: Replay = replay_all
) -> Report:
    """Return the report of the folder, made here and now, with what the history remembers of its branch."""
    context = current_context()
    ci = "" if context.provider == _NO_PROVIDER else context.provider
    report = build_report(reports_dir, links=links_of(context), ci=ci, stages=stages, replay=replay)
    return with_trends(report, history)


def with_trends(report: Report, history: Path) -> Report:
    """Return the report with the last runs of its branch; without them where the history cannot be read."""
    return replace(report, trends=past_trends(history, report.branch, warn=_warn))


def _warn(line: str) -> None:
    print(f"drm: {one_line(line, 400)}", file=sys.stderr)
