"""Numbering events and handing them to their consumers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from drm.model.errors import DrmError
from drm.model.events import Event, utc_text
from drm.ports import Clock, EventSink


class Recorder:
    """The one voice: gives each event its number and time and every sink the event.

    A sink that fails is dropped, and the person is told once; the run goes on.
    """

    def __init__(self, clock: Clock, sinks: Sequence[EventSink], say: Callable[[str], None]) -> None:
        self._clock = clock
        self._sinks = list(sinks)
        self._say = say
        self._seq = 0
        self._started_s = clock.now()

    def elapsed_s(self) -> float:
        return self._clock.now() - self._started_s

    def record(self, kind: type[Event], **fields: Any) -> None:
        self._seq += 1
        event = kind(
            seq=self._seq, at=utc_text(self._clock.utc()), elapsed_s=round(self.elapsed_s(), 6), **fields
        )
        for sink in tuple(self._sinks):
            self._guard(sink, lambda sink=sink: sink.emit(event))  # type: ignore[misc]

    def flush(self) -> None:
        for sink in tuple(self._sinks):
            self._guard(sink, sink.flush)

    def close(self) -> None:
        for sink in tuple(self._sinks):
            self._guard(sink, sink.close)
        self._sinks.clear()

    def _guard(self, sink: EventSink, action: Callable[[], None]) -> None:
        try:
            action()
        except (DrmError, OSError) as error:
            self._sinks.remove(sink)
            self._say(f"{type(sink).__name__} stopped recording: {error}")
