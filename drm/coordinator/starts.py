"""How the starts of workers went of late, by type: what boots take, and which types could not be had."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass

__all__ = ["Starts"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 180.0  # before a type that could not be had is asked for again
_REMEMBERED = 8


@dataclass(slots=True)
class _Failing:
    """A type that could not be had ``times`` in a row, since ``since_s``."""

    since_s: float
    times: int = 0
    until_s: float = -math.inf
    reason: str = ""


class Starts:
    """Remembers them. Reads no clock."""

    def __init__(self) -> None:
        self._boots: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))  # seconds
        self._failing: dict[str, _Failing] = {}

    def took(self, name: str, seconds: float) -> None:
        """A worker of the type has joined."""
        self._boots[name].append(seconds)
        self._failing.pop(name, None)

    def boot_s(self, name: str, default_s: float) -> float:
        """Return what a boot of the type takes: the mean of the last ones, or the default."""
        known = self._boots.get(name)
        return sum(known) / len(known) if known else default_s

    def failed(self, name: str, reason: str, now_s: float) -> bool:
        """No worker of the type could be had: leave it alone, longer each time. Return whether that is news."""
        failing = self._failing.setdefault(name, _Failing(now_s))
        is_news = not failing.times
        failing.times += 1
        failing.reason = reason
        failing.until_s = now_s + min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(failing.times - 1, 10))
        return is_news

    def room_is_free(self) -> None:
        """A worker is gone: there may be room now for what could not be had."""
        for failing in self._failing.values():
            failing.until_s = -math.inf

    def left_alone(self, name: str, now_s: float) -> tuple[float, str] | None:
        """Return until when the type is not asked for, and why; None if it may be."""
        failing = self._failing.get(name)
        return (failing.until_s, failing.reason) if failing is not None and now_s < failing.until_s else None

    def failing_s(self, name: str, now_s: float) -> float:
        """Return for how long the type could not be had; 0 where it was not asked for or could be."""
        failing = self._failing.get(name)
        return now_s - failing.since_s if failing is not None else 0.0
