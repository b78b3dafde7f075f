"""One socket that carries messages both ways."""

from __future__ import annotations

import select
import socket
from collections import deque
from contextlib import suppress
from typing import Any

from drm.model.errors import LostError
from drm.model.wire import FrameReader, encode_frame

_CHUNK = 256 * 1024


class Channel:
    """Messages over a connected stream socket.

    The far side may die at any moment: then ``closed`` is true, what had arrived can still be
    read, and ``send`` raises LostError.
    """

    def __init__(self, sock: socket.socket, *, send_timeout_s: float | None = None) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._send_timeout_s = send_timeout_s
        self._reader = FrameReader()
        self._waiting: deque[list[Any]] = deque()
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: list[Any]) -> None:
        self.send_bytes(encode_frame(message))

    def send_bytes(self, frames: bytes) -> None:
        """Send encoded frames; waits while the far side is slow, at most ``send_timeout_s`` seconds.

        Without that limit it reads meanwhile: else two sides that send much at once would wait for each other.
        """
        view = memoryview(frames)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, InterruptedError):
                self._wait_to_send()
            except OSError as error:
                self._waiting.extend(self.receive())  # it may have said why
                self.closed = True
                raise LostError(f"the other side is gone ({error})") from error

    def _wait_to_send(self) -> None:
        if self._send_timeout_s is None:
            if self._ready(select.POLLIN | select.POLLOUT) & ~select.POLLOUT:
                self._waiting.extend(self.receive())
            if self.closed:
                raise LostError("the other side is gone")
        elif not self._ready(select.POLLOUT, self._send_timeout_s):
            raise LostError("the other side does not read")

    def _ready(self, events: int, timeout_s: float | None = None) -> int:
        """Wait for what poll(2) calls these events; return those that came, an end among them. (select(2) knows no
        descriptor above 1,023, and a suite may hold more.)"""
        poll = select.poll()
        poll.register(self._socket, events)
        ready = poll.poll(None if timeout_s is None else timeout_s * 1000)
        return ready[0][1] if ready else 0

    @property
    def has_waiting(self) -> bool:
        """Tell whether messages were read while sending; no selector tells of those."""
        return bool(self._waiting)

    def receive(self) -> list[list[Any]]:
        """Return the messages that are there, without waiting."""
        messages: list[list[Any]] = list(self._waiting)
        self._waiting.clear()
        while not self.closed:
            try:
                data = self._socket.recv(_CHUNK)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            if not data:
                self.closed = True
                break
            messages += self._reader.feed(data)
            if len(data) < _CHUNK:
                break
        return messages

    def next(self) -> list[Any] | None:
        """Wait for one message and return it; None when the far side is gone."""
        while not self._waiting:
            if self.closed:
                return None
            self._ready(select.POLLIN)
            self._waiting.extend(self.receive())
        return self._waiting.popleft()

    def peek(self) -> list[Any] | None:
        """Return the newest message that waits, if any, and leave it there."""
        self._waiting.extend(self.receive())
        return self._waiting[-1] if self._waiting else None

    def stop_hearing(self) -> None:
        """Let the far side find, when it next sends, that nobody listens."""
        with suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self.closed = True
        self._socket.close()
