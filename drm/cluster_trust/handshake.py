"""What the two sides of the door say: lines of JSON over TLS, each proving that it knows the token without saying it.

door   -> {"nonce": N}
worker -> {"nonce": M, "proof": HMAC(token, "worker" N M), "facts": {...}}
door   -> {"proof": HMAC(token, "coordinator" N M), "granted": {...}} or {"refused": [lines]}
"""

from __future__ import annotations

import hmac
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from drm.model.errors import LostError

LONGEST_LINE = 256 * 1024  # facts name packages, a few hundred at most


class Line:
    """One end of a connection with a deadline for all that is said. LostError when it passes, or on nonsense."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = sock
        self._deadline = deadline
        self._buffer = b""

    def _hurry(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)

    def say(self, message: Mapping[str, Any]) -> None:
        self._hurry()
        self._socket.sendall(json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n")

    def hear(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._hurry()
            data = self._socket.recv(65536)
            if not data:
                raise LostError("the other side hung up")
            self._buffer += data
            if len(self._buffer) > LONGEST_LINE:
                raise LostError("the other side says too much at once")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise LostError("the other side does not speak drm's words")
        return message


def proof(token: bytes, role: str, nonces: tuple[str, str]) -> str:
    """Return what only one who knows the token can say of these two nonces, and ``role`` only once."""
    return hmac.new(token, "\0".join((role, *nonces)).encode("utf-8"), "sha256").hexdigest()


def is_proof(given: object, token: bytes, role: str, nonces: tuple[str, str]) -> bool:
    return isinstance(given, str) and given.isascii() and hmac.compare_digest(given, proof(token, role, nonces))
