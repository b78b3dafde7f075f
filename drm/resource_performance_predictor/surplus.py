"""What this run's attempts use beyond what their own past says: an executor that has grown, another library."""

from __future__ import annotations

from collections import deque

__all__ = ["Surplus"]

_WINDOW, _FROM, _EVERY = 100, 20, 10  # attempts
_LEVEL = 0.97


class Surplus:
    """Bytes that 97 in 100 of the newest attempts have not used beyond what was to be reserved for them.

    0 until twenty attempts were seen. Told of each before it is learnt.
    """

    __slots__ = ("_due", "_seen", "bytes")

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=_WINDOW)
        self._due = _FROM
        self.bytes = 0

    def see(self, beyond: float) -> None:
        """Take what an attempt used more (or less) than would have been reserved, in bytes."""
        self._seen.append(beyond)
        self._due -= 1
        if self._due <= 0:
            self._due = _EVERY
            ranked = sorted(self._seen)
            self.bytes = max(0, int(ranked[int(_LEVEL * len(ranked))]))
