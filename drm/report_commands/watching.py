"""The report of a folder in which a run goes on: made anew when something has been written, and not too often."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from drm.report_commands.past import report_of
from drm.reporting.collect import RECORDS
from drm.reporting.following import Follower
from drm.reporting.html import render_html
from drm.reporting.report import Report, RunReport, State
from drm.reporting.text import plural

__all__ = ["Watched", "as_it_goes"]

_FRESH_S = 60.0
_LEAST_S = 1.0
_SHARE = 4  # of the time one page takes to make: no more than a fifth of a core is spent on pages


class Watched:
    """One folder of reports. ``page`` may be called from several threads."""

    def __init__(self, reports_dir: Path, *, history: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._folder = reports_dir
        self._history = history
        self._now = now
        self._follower = Follower()
        self._lock = threading.Lock()
        self._made: tuple[object, str] = (None, "")
        self._next_s = float("-inf")

    def state(self) -> tuple[tuple[str, int, int], ...]:
        """Return what tells whether something has been written: path, size and time of every record."""
        return tuple(sorted(self._records()))

    def _records(self) -> Iterator[tuple[str, int, int]]:
        for folder, folders, names in os.walk(self._folder):
            folders[:] = [name for name in folders if name not in ("badges", "ci")]
            for name in names:
                if name in RECORDS or name == "benchmark.json":
                    path = os.path.join(folder, name)
                    try:
                        stat = os.stat(path)
                    except OSError:  # gone since
                        continue
                    yield path, stat.st_size, stat.st_mtime_ns

    def is_shown(self, state: object) -> bool:
        """Tell whether the last page that was made is of this state."""
        return state == self._made[0]

    def is_due(self) -> bool:
        """Tell whether a new page may be made by now."""
        return self._now() >= self._next_s

    def page(self) -> str:
        """Return the page as of now, or the last one where nothing has changed or it would be too soon."""
        with self._lock:
            state = self.state()
            if self._made[1] and (state == self._made[0] or not self.is_due()):
                return self._made[1]
            began_s = self._now()
            report = report_of(self._folder, history=self._history, replay=self._follower.replay)
            page = render_html(as_it_goes(report, self._folder, time.time()), live=True)
            ended_s = self._now()
            self._next_s = ended_s + max(_LEAST_S, _SHARE * (ended_s - began_s))
            self._made = (state, page)
            return page


def as_it_goes(report: Report, folder: Path, epoch_s: float) -> Report:
    """Return the report with a verdict that says so where a run goes on: it is not over, and so no error yet.

    A run goes on as long as its record has no end, and was written to within the last minute.
    """
    going = [
        run
        for stage in report.sections
        for run in stage.runs
        if run.summary.run_id and not run.summary.finished and _age_s(folder, run, epoch_s) < _FRESH_S
    ]
    if not going:
        return report
    tests = [test for run in going for test in run.summary.tests]
    done = sum(test.finished_s is not None for test in tests)
    bad = sum(test.outcome.is_bad for test in tests)
    names = ", ".join(run.name for run in going)
    failed = f", {bad} failed" if bad else ""
    return replace(
        report,
        state=State.FAILING if bad else State.PARTIAL,
        headline=f"Running ({names}): {done} of {plural(len(tests), 'test')} done{failed}.",
    )


def _age_s(folder: Path, run: RunReport, epoch_s: float) -> float:
    ages = [epoch_s]
    for name in run.files:
        with suppress(OSError):
            ages.append(epoch_s - (folder / name).stat().st_mtime)
    return min(ages)
