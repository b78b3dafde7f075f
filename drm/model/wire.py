"""The bytes that processes of one run exchange: frames of JSON.

A frame is a 4-byte big-endian length and that many bytes of JSON: a list whose
first item names the message. JSON, not pickle: a worker's bytes are data, and
cannot make the coordinator run code.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from drm.model.errors import LostError

MAX_FRAME_BYTES = 256 * 2**20
_MOST_VALUES = 8_000_000  # in one frame; an empty list is 3 bytes of JSON, and 64 here
_FEW_BYTES = 2**20  # hold too few values to count them
_LENGTH = struct.Struct("!I")


def _text(value: Any) -> str:
    """Return ``repr(value)``, or pytest's own words where that cannot be had: tests pass on what they like."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(error).__name__} in repr of {type(value).__name__} object>"


_parse = json.JSONDecoder().raw_decode
_dumps = json.JSONEncoder(separators=(",", ":"), default=_text, check_circular=False).encode


def encode_frame(message: list[Any]) -> bytes:
    """Return the frame of a message. What JSON cannot hold is replaced by its ``repr``."""
    try:
        body = _dumps(message).encode("ascii")
    except (ValueError, TypeError, RecursionError):
        body = json.dumps(_tame(message, depth=50), default=_text).encode("ascii")
    if len(body) > MAX_FRAME_BYTES:
        raise LostError(f"a message of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


def _tame(value: Any, *, depth: int) -> Any:
    """Return ``value`` with odd keys, cycles and deep nesting turned into text."""
    if depth == 0:
        return "<nested too deeply>"
    if isinstance(value, dict):
        return {str(key): _tame(item, depth=depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tame(item, depth=depth - 1) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else _text(value)


class FrameReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[list[Any]]:
        """Return the messages that ``data`` completes; LostError if the stream is no frame stream."""
        buffer = self._buffer
        buffer += data
        messages = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > MAX_FRAME_BYTES:
                raise LostError(f"a frame announces {length} bytes; the other side does not speak this protocol")
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            messages.append(self._decode(bytes(buffer[start + _LENGTH.size : end])))
            start = end
        del buffer[:start]
        return messages

    @staticmethod
    def _decode(body: bytes) -> list[Any]:
        if len(body) > _FEW_BYTES and sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
            raise LostError(f"a frame of {len(body)} bytes holds more than {_MOST_VALUES} values")
        try:
            message = _parse(body.decode("ascii"))[0]
        except (ValueError, RecursionError) as error:
            raise LostError(f"a frame holds no JSON ({error})") from error
        if not isinstance(message, list) or not message or not isinstance(message[0], str):
            raise LostError("a frame holds no message")
        return message
