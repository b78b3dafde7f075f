"""Bytes both ways over calls that may fail and have been carried out all the same: each arrives once, in order.

A call that ended with ActorUnavailableError "may or may not have been executed"
(https://docs.ray.io/en/latest/ray-core/fault_tolerance/actors.html). So whoever sends numbers what it sends and
keeps it until it is acknowledged, and whoever receives drops what it has had already.
"""

from __future__ import annotations

CHUNK_BYTES = 64 * 1024  # below 100 KiB Ray sends values along with the call, past its object store
# A call costs about a millisecond of processor time, whatever its size.
_EVERY_S, _MOST_S, _AT_ONCE_S = 0.005, 0.02, 0.015
_BYTES_PER_S = 100_000


class Outbox:
    """Gives what gathers as pieces numbered from 1, one at a time: each again until it is heard of."""

    def __init__(self) -> None:
        self._fresh = bytearray()
        self._piece = b""
        self._last = 0

    @property
    def kept_bytes(self) -> int:
        return len(self._fresh) + len(self._piece)

    def put(self, data: bytes) -> None:
        """Take bytes; they gather while a piece is on its way."""
        self._fresh += data

    def acknowledged(self, number: int) -> None:
        """The other side has all pieces up to this one."""
        if number >= self._last:
            self._piece = b""

    def has_after(self, number: int) -> bool:
        """Tell whether there is more for one who has the pieces up to this one."""
        return bool(self._piece and number < self._last) or bool(self._fresh)

    def after(self, number: int) -> tuple[int, bytes]:
        """Return the piece that follows, with its number; empty, with ``number``, where there is none."""
        if number >= self._last and self._fresh:
            self._piece = bytes(self._fresh[:CHUNK_BYTES])
            del self._fresh[:CHUNK_BYTES]
            self._last += 1
        return (self._last, self._piece) if number < self._last else (number, b"")


class Inbox:
    """Tells pieces that are new from those that come again."""

    def __init__(self) -> None:
        self.last = 0

    def accept(self, number: int) -> bool:
        """Tell whether the piece is the next one. ValueError when one before it is missing."""
        if number <= self.last:
            return False
        if number != self.last + 1:
            raise ValueError(f"piece {number} came after piece {self.last}")
        self.last = number
        return True


class Pace:
    """Lets a few pieces go at once after a silence, and in a stream of them gathers what comes: the generic cell rate
    algorithm (ITU-T I.371)."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Return how long the next piece is to wait, 0 or less where it may go."""
        return self._due_s - _AT_ONCE_S - now_s

    def gone(self, now_s: float, size: int | None = None) -> None:
        """A piece goes. One of few bytes (``size``) is an answer that somebody waits for; of many bytes, in a stream,
        more may gather, for up to 20 ms. Without a size the gap is 5 ms."""
        gap_s = _EVERY_S if size is None else min(_MOST_S, size / _BYTES_PER_S)
        self._due_s = max(self._due_s, now_s) + gap_s


def pieces(data: bytes) -> list[bytes]:
    """Return ``data`` cut into pieces of at most ``CHUNK_BYTES``."""
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
