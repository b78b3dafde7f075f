"""Reports that know the runs before: the facts of the folder, the trends of the history, the links of the provider."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from drm.ci_commands.context import current_context
from drm.ci_commands.links import links_of
from drm.history import past_trends
from drm.model.errors import DrmError
from drm.model.trends import Trends
from drm.reporting.collect import Replay, build_report, replay_all
from drm.reporting.report import Report
from drm.reporting.text import one_line
from drm.reporting.trends_file import TRENDS, merged, read_trends

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
    return with_trends(report, history, sorted(reports_dir.glob(f"*/{TRENDS}")))


def with_trends(report: Report, history: Path, kept: Iterable[Path] = ()) -> Report:
    """Return the report with the last runs of its branch: as the history has them, and as runs have left them
    (``kept``); without what cannot be read."""
    return replace(report, trends=merged(report.branch, _found(report.branch, history, kept)))


def _found(branch: str, history: Path, kept: Iterable[Path]) -> Iterator[Trends]:
    yield past_trends(history, branch, warn=_warn)
    for path in kept:
        try:
            yield read_trends(path)
        except DrmError as error:
            _warn(str(error))


def _warn(line: str) -> None:
    print(f"drm: {one_line(line, 400)}", file=sys.stderr)
