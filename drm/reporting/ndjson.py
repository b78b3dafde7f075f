"""events.ndjson: the record of a run, one event per line."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from drm.model.errors import ConfigError, DrmError
from drm.model.events import FORMAT_VERSION, Event, RunStarted
from drm.reporting.event_lines import event_of, line_of
from drm.reporting.files import cannot_write

__all__ = ["EventReader", "NdjsonSink", "read_events"]

_log = logging.getLogger("drm")
_LATEST_S = 1e9  # 30 years: what is later, or no number, is no time of a run
_REMEDY = "delete it and run the tests again"


class NdjsonSink:
    """Writes each event as one line. ``emit`` only collects; ``flush`` encodes and hands over to the system.

    What was flushed survives the death of this process. Raises DrmError when the file cannot be written.
    """

    def __init__(self, path: Path, *, after: int | None = None) -> None:
        """``after``: go on with a file, after so many bytes. ConfigError where somebody writes it now."""
        self.path = Path(path)
        self._pending: list[Event] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = self.path.open("wb" if after is None else "r+b", buffering=0)
            is_ours = _lock(self._file)
            if after is not None:
                if not is_ours:
                    raise ConfigError(f"{self.path} is being written", remedy="its run goes on: let it end, or kill it")
                self._file.truncate(after)
                self._file.seek(after)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def emit(self, event: Event) -> None:
        """Take the event; it is written at the next ``flush``."""
        self._pending.append(event)

    def flush(self) -> None:
        """Write the collected events through to the system."""
        if not self._pending:
            return
        data = memoryview(("\n".join(map(line_of, self._pending)) + "\n").encode("ascii"))
        self._pending.clear()
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()


def _lock(file: IO[bytes]) -> bool:
    """Take the file for this process, not for its forks; False where another has it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # a file system without locks
    return True


def read_events(path: Path, *, on_note: Callable[[str], None] = _log.warning) -> Iterator[Event]:
    """Yield the events of a file.

    A last line that was only half written (the run was killed) is left out, and
    ``on_note`` is told in one line. Damage before it raises ConfigError with file,
    line number and remedy.
    """
    return EventReader(path).read(on_note=on_note)


class EventReader:
    """Reads a file of events; each ``read`` goes on where the last one ended. ``offset``: bytes read."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._lines = 0
        self.offset = 0

    def read(self, *, on_note: Callable[[str], None] = _log.warning) -> Iterator[Event]:
        """Yield the events that have been written since; as ``read_events``."""
        try:
            with self._path.open("rb") as lines:
                lines.seek(self.offset)
                for line in lines:
                    number = self._lines + 1
                    if not line.endswith(b"\n"):
                        on_note(f"{self._path}: line {number} is only half written and was left out")
                        return
                    event = _parse(line, self._path, number)
                    if event.seq != number:
                        raise ConfigError(
                            f"{self._path}: line {number} has event {event.seq} where {number} was due", remedy=_REMEDY
                        )
                    self._lines, self.offset = number, self.offset + len(line)
                    yield event
        except OSError as error:
            raise DrmError(f"{self._path}: cannot be read ({error.strerror or error})", remedy=_REMEDY) from error


_scan = json.JSONDecoder().raw_decode  # json.loads would guess the encoding of each line


def _parse(line: bytes, path: Path, number: int) -> Event:
    where = f"{path}: line {number}"
    try:
        text = line.decode("utf-8", "surrogatepass")
        data, end = _scan(text)
        if text[end:] != "\n":
            data = json.loads(text)  # there may be blanks around it
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is damaged (no JSON: {error})", remedy=_REMEDY) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{where} is damaged (no JSON object)", remedy=_REMEDY)
    try:
        event = event_of(data)
        if not -_LATEST_S < event.elapsed_s < _LATEST_S:
            raise ValueError(f"elapsed_s is {event.elapsed_s}")
        newer = isinstance(event, RunStarted) and event.format_version > FORMAT_VERSION
    except (DrmError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{where} is damaged ({error})", remedy=_REMEDY) from error
    if newer:
        raise ConfigError(
            f"{where} was written in format {data['format_version']}, this drm reads up to {FORMAT_VERSION}",
            remedy="use a newer drm",
        )
    return event
