"""Numbering events and handing them to their consumers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from drm.model.errors import DrmError
from drm.model.events import Event, utc_text
from drm.ports import Clock, EventSink


class Recorder:
    """The one voice: gives each event its number and time and every sink the event.

    A sink that fails is dropped, and the person is told once; the run goes on.
    """

    def __init__(
        self,
        clock: Clock,
        sinks: Sequence[EventSink],
        say: Callable[[str], None],
        *,
        after: tuple[int, float] = (0, 0.0),
    ) -> None:
        """``after``: number and ``elapsed_s`` of the last event of a record that goes on."""
        self._clock = clock
        self._sinks = tuple(sinks)
        self._say = say
        self._seq, elapsed_s = after
        self._started_s = clock.now() - elapsed_s
        self._started_at = clock.utc() - timedelta(seconds=elapsed_s)
        self._stamp = (-1, "")

    def elapsed_s(self) -> float:
        return self._clock.now() - self._started_s

    def record(self, kind: type[Event], **fields: Any) -> None:
        self._seq += 1
        elapsed = self._clock.now() - self._started_s
        event = kind(seq=self._seq, at=self._at(elapsed), elapsed_s=round(elapsed, 6), **fields)
        for sink in self._sinks:
            try:
                sink.emit(event)
            except (DrmError, OSError) as error:
                self._drop(sink, error)

    def _at(self, elapsed_s: float) -> str:
        """Return the time of day: that of the start plus what has gone by, so that it never runs backwards."""
        milliseconds = int(elapsed_s * 1000)
        if milliseconds != self._stamp[0]:
            moment = self._started_at + timedelta(milliseconds=milliseconds)
            self._stamp = (milliseconds, utc_text(moment))
        return self._stamp[1]

    def flush(self) -> None:
        for sink in self._sinks:
            try:
                sink.flush()
            except (DrmError, OSError) as error:
                self._drop(sink, error)

    def close(self) -> None:
        for sink in self._sinks:
            try:
                sink.close()
            except (DrmError, OSError) as error:
                self._drop(sink, error)
        self._sinks = ()

    def _drop(self, broken: EventSink, error: Exception) -> None:
        self._sinks = tuple(sink for sink in self._sinks if sink is not broken)
        self._say(f"{type(broken).__name__} stopped recording: {error}")
