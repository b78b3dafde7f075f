"""Bytes both ways over calls that may fail and have been carried out all the same: each arrives once, in order.

A call that ended with ActorUnavailableError "may or may not have been executed"
(https://docs.ray.io/en/latest/ray-core/fault_tolerance/actors.html). So whoever sends numbers what it sends and
keeps it until it is acknowledged, and whoever receives drops what it has had already.
"""

from __future__ import annotations

from collections import deque

CHUNK_BYTES = 64 * 1024  # below 100 KiB Ray sends values along with the call, past its object store
_EVERY_S, _AT_ONCE = 0.005, 4  # a call costs about a millisecond of processor time, whatever its size


class Outbox:
    """Numbers pieces from 1 and keeps them until the other side has them."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, bytes]] = deque()
        self.last = 0
        self.kept_bytes = 0

    def put(self, data: bytes) -> int:
        """Take a piece; return its number."""
        self.last += 1
        self._sent.append((self.last, data))
        self.kept_bytes += len(data)
        return self.last

    def acknowledged(self, number: int) -> None:
        """The other side has all pieces up to this one."""
        while self._sent and self._sent[0][0] <= number:
            self.kept_bytes -= len(self._sent.popleft()[1])

    def after(self, number: int) -> list[tuple[int, bytes]]:
        """Return the pieces that follow a number, as far as they are kept."""
        found = []
        for piece in reversed(self._sent):
            if piece[0] <= number:
                break
            found.append(piece)
        return found[::-1]


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
    """Lets a few pieces go at once after a silence, and in a stream of them gathers what comes within 5 ms: the generic
    cell rate algorithm (ITU-T I.371)."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Return how long the next piece is to wait, 0 or less where it may go; it counts as gone then."""
        wait_s = self._due_s - (_AT_ONCE - 1) * _EVERY_S - now_s
        self._due_s = max(self._due_s, now_s) + _EVERY_S
        return wait_s


def pieces(data: bytes) -> list[bytes]:
    """Return ``data`` cut into pieces of at most ``CHUNK_BYTES``."""
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
