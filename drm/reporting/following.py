"""Summaries of runs that go on: each time only what has been written since is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from drm.reporting.ndjson import EventReader
from drm.summary import RunSummary, Summarizer

__all__ = ["Follower"]

_HEAD = 4096  # bytes by which one run's file is told from the next one's


@dataclass(slots=True)
class _Followed:
    reader: EventReader
    head: bytes
    summarizer: Summarizer = field(default_factory=Summarizer)
    summary: RunSummary | None = None


class Follower:
    """Implements ``drm.reporting.collect.Replay`` for files that are asked for again and again.

    Half a last line is one that is being written: nothing is noted, it is read when it is whole.
    """

    def __init__(self) -> None:
        self._files: dict[Path, _Followed] = {}

    def replay(self, path: Path, on_note: Callable[[str], None]) -> RunSummary:  # noqa: ARG002 - see above
        """Return what the run came to so far. Raises as ``read_events``; then the file is read from its begin again."""
        followed = self._files.pop(path, None)
        head = _head(path)
        if followed is None or not head.startswith(followed.head) or path.stat().st_size < followed.reader.offset:
            followed = _Followed(reader=EventReader(path), head=head.partition(b"\n")[0])
        for event in followed.reader.read(on_note=lambda _: None):
            followed.summarizer.feed(event)
            followed.summary = None
        if followed.summary is None:
            followed.summary = followed.summarizer.summary()
        self._files[path] = followed
        return followed.summary


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:  # said by the reader
        return b""
