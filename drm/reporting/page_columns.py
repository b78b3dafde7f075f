"""Columns of numbers as the page carries them: packed, compressed together, and named by place, length and kind.

A column is ``[offset, count, kind]``. Kinds: ``u`` whole numbers from 0 on, ``z`` signed ones (zigzag), both 32 bits
wide with the bytes of one significance side by side, because zeros then lie together and cost nothing; ``d``: bytes,
each the difference to the one before it (modulo 256), for what moves slowly.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from array import array
from collections.abc import Iterable
from typing import Any

__all__ = ["Columns", "pack"]

_MOST = 2**31 - 1  # what a signed one can be, away from 0


class Columns:
    """Collects columns; ``body`` is all of them, one after the other."""

    def __init__(self) -> None:
        self.body = bytearray()

    def unsigned(self, values: Iterable[float]) -> list[Any]:
        """Add whole numbers; those below 0 or too large for 32 bits become the nearest that fits."""
        numbers = list(values)
        try:
            return self._wide("u", array("I", numbers))  # type: ignore[arg-type]  # most often they are, and fit
        except (OverflowError, TypeError):
            return self._wide("u", array("I", [min(max(int(value), 0), 2 * _MOST) for value in numbers]))

    def signed(self, values: Iterable[float]) -> list[Any]:
        """Add whole numbers of either sign."""
        fitting = (min(max(int(value), -_MOST), _MOST) for value in values)
        return self._wide("z", array("I", [value << 1 if value >= 0 else (-value << 1) - 1 for value in fitting]))

    def steps(self, values: Iterable[float]) -> list[Any]:
        """Add whole numbers of which the page is to see the sums: each as the difference to the one before it."""
        before, differences = 0, []
        for value in values:
            now = int(value)
            differences.append(now - before)
            before = now
        return self.signed(differences)

    def shares(self, values: Iterable[float], most: float) -> list[Any]:
        """Add amounts as shares of ``most``, in 200ths; what is above 127.5 % is shown as that."""
        scale = 200 / most if most > 0 else 0.0
        before, differences = 0, bytearray()
        for value in values:
            now = min(max(int(value * scale + 0.5), 0), 255)
            differences.append((now - before) & 255)
            before = now
        return self._place("d", len(differences), bytes(differences))

    def _wide(self, kind: str, numbers: array[int]) -> list[Any]:
        if sys.byteorder == "big":
            numbers.byteswap()
        data = numbers.tobytes()
        return self._place(kind, len(numbers), b"".join(data[plane::4] for plane in range(4)))

    def _place(self, kind: str, count: int, data: bytes) -> list[Any]:
        place = [len(self.body), count, kind]
        self.body += data
        return place


def pack(header: dict[str, Any], columns: Columns) -> str:
    """Return the header and the columns as the page carries them: length, header, columns; gzip; base64.

    What UTF-8 cannot hold (a lone surrogate) goes in as JSON writes it, ``\\ud800``.
    """
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("ascii")
    whole = len(text).to_bytes(4, "little") + text + bytes(columns.body)
    return base64.b64encode(gzip.compress(whole, compresslevel=9, mtime=0)).decode("ascii")
