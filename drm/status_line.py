"""How a run goes, under pytest's own progress: a few lines on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from drm.ports import Status
from drm.reporting.live import Activity, can_draw, draw
from drm.reporting.text import one_line

_LINE_EVERY_S = 10.0
_LONGEST_LINE = 4000
_LEAST_HEIGHT = 16  # of a terminal that has room for more than one line of ours


class StatusLine:
    """Shows the state of the run where it does not disturb what pytest writes.

    ``activity`` is fed with the run's events by whoever records them.
    """

    def __init__(self, config: pytest.Config, now: Any) -> None:
        self.activity = Activity()
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._now = now
        self._next_line_s = now() + _LINE_EVERY_S
        self._shown = 0  # lines of ours below the cursor
        self._lines: list[str] = []
        self._quiet = config.getoption("verbose", 0) < 0
        self._on_terminal = self._reporter is not None and self._reporter.isatty
        self._has_room = self._on_terminal and shutil.get_terminal_size().lines >= _LEAST_HEIGHT
        self._draws = self._has_room and can_draw()

    def show(self, status: Status) -> None:
        if self._reporter is None or self._quiet:
            return
        if self._on_terminal:
            lines = self._drawn(status)
            if len(lines) < self._shown:
                self.clear()
            self._lines, self._shown = lines, 0
            self.restore()
        elif self._now() >= self._next_line_s:
            self._next_line_s = self._now() + _LINE_EVERY_S
            news = self.activity.news()
            self.say(" | ".join(filter(None, (self._text(status), f"scaling: {news}" if news else ""))))

    def _drawn(self, status: Status) -> list[str]:
        width = self._reporter._tw.fullwidth - 1
        if self._draws:
            return draw(status, self.activity, self.activity.elapsed_s, width)
        return [f"\x1b[2m{self._text(status)}\x1b[0m"]

    def restore(self) -> None:
        """Show the lines again after pytest has written."""
        if self._lines and not self._shown:
            # IND (ESC D) makes sure that lines below exist, and keeps the column; then save the cursor,
            # write below, come back: pytest's own line is never touched.
            number = len(self._lines)
            below = "".join(f"\x1b[B\r\x1b[2K{line}" for line in self._lines)
            self._raw(f"{chr(27)}D" * number + f"\x1b[{number}A\x1b7{below}\x1b8")
            self._shown = number

    def _text(self, status: Status) -> str:
        from drm.reporting.terminal import status_line

        return status_line(
            workers=status.workers,
            executors=status.executors,
            running=status.running,
            reserved=status.reserved,
            capacity=status.capacity,
            finished=status.finished,
            total=status.total,
            failed=status.failed,
            eta_s=status.eta_s,
            held=status.held,
            width=self._reporter._tw.fullwidth - 1,
        )

    def clear(self) -> None:
        """Take the lines away before pytest writes."""
        if self._shown:
            below = "\x1b[B\r\x1b[2K" * self._shown
            self._raw(f"\x1b7{below}\x1b8")
            self._shown = 0

    def end(self) -> None:
        """Show no line any more."""
        self.clear()
        self._lines = []

    def say(self, line: str) -> None:
        tame = one_line(line, _LONGEST_LINE)  # there may be words in it of a worker, or of what it printed
        self.write(tame if tame.startswith("drm:") else f"drm: {tame}")

    def write(self, line: str) -> None:
        """Write a line of its own."""
        if self._reporter is not None:
            self.clear()
            if self._reporter._tw.width_of_current_line:
                self._reporter._tw.line()
            self._reporter.write_line(line)

    def _raw(self, text: str) -> None:
        self._reporter._tw._file.write(text)
        self._reporter._tw._file.flush()
