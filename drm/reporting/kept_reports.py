"""reports.ndjson: what tests reported, beside the events, so that a run can be taken up again as if nothing had been.

One JSON list per line: ``["reports", test, executor, reports, flaky]``; for a test without a report of its own
``["failure", test, executor, message, wall_s]``; or ``["late", test, executor, report]``.
A test that passed and said nothing has no line: its TestFinished says it all. A line is written before the events of
its round are: a test that has ended in ``events.ndjson`` has its line here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from drm.model.errors import ConfigError
from drm.model.events import Event
from drm.reporting.files import cannot_write
from drm.worker.reports import is_plain_pass

__all__ = ["KEPT_REPORTS", "KeptReports", "read_kept_reports"]

KEPT_REPORTS = "reports.ndjson"
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class KeptReports:
    """Implements ``drm.ports.EventSink``, for its ``flush``, and keeps what it is told. DrmError where it cannot."""

    def __init__(self, path: Path, *, go_on: bool = False) -> None:
        """``go_on``: what is there already is kept."""
        self._path = path
        self._pending: list[str] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if go_on:
                _cut_half_line(path)
            self._file: IO[bytes] = path.open("ab" if go_on else "wb", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error

    def keep(self, kind: str, task_id: str, *what: Any) -> None:
        """Take what is to be written at the next ``flush``, as it is now: telling pytest of a report changes it."""
        if not (kind == "reports" and is_plain_pass(what[1]) and not what[2]):
            self._pending.append(_encode([kind, task_id, *what]))

    def emit(self, event: Event) -> None:
        """Nothing to do: events have a file of their own."""

    def flush(self) -> None:
        if not self._pending:
            return
        data = memoryview(("\n".join(self._pending) + "\n").encode("ascii"))
        self._pending.clear()
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self) -> None:
        if not self._file.closed:
            try:
                self.flush()
            finally:
                self._file.close()


def read_kept_reports(path: Path) -> dict[str, list[list[Any]]]:
    """Return the lines of each test, as they were kept; half a line at the end is left out."""
    kept: dict[str, list[list[Any]]] = {}
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return kept
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})", remedy="start the run again") from None
    for number, line in enumerate(lines, 1):
        try:
            kind, task_id, *what = json.loads(line)
            if len(what) != {"reports": 3, "failure": 3, "late": 2}[kind]:
                raise ValueError(kind)
            kept.setdefault(task_id, []).append([kind, *what])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError(f"{path}: line {number} is damaged", remedy="start the run again") from None
    return kept


def _cut_half_line(path: Path) -> None:
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        with path.open("r+b") as file:
            file.truncate(whole)
