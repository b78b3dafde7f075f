"""Limits on what one test may report: the channel, the controller and junit.xml hold all of it in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from drm.model.units import format_bytes

MOST = 2**20  # of one section of a report (an output, a traceback, a property), in characters or bytes
_DEPTH = 50  # deeper than reports of pytest are nested


def limit_captured(config: pytest.Config) -> None:
    """Let no more of a test's output into memory than will be reported; all of it is in pytest's temporary file."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    capturing = capture._global_capturing if capture is not None else None
    for stream in (capturing.out, capturing.err) if capturing is not None else ():
        if hasattr(stream, "tmpfile"):  # not with -s
            stream.snap = _limited(stream, stream.snap)


def _limited(stream: Any, snap: Callable[[], str]) -> Callable[[], str]:
    def limited() -> str:
        file = stream.tmpfile.buffer
        size: int = file.seek(0, os.SEEK_END)
        if size == 0:
            return ""
        if size <= MOST:
            return snap()
        file.seek(0)
        head: bytes = file.read(MOST // 2)
        file.seek(size - MOST // 2)
        tail: bytes = file.read()
        stream.tmpfile.seek(0)
        stream.tmpfile.truncate()
        return head.decode("utf-8", "replace") + _note(size) + tail.decode("utf-8", "replace")

    return limited


def _note(size: int) -> str:
    kept = format_bytes(MOST)
    return f"\n[... drm: the middle of {format_bytes(size)} is left out: a report keeps {kept} of each part ...]\n"


def shorten(value: Any, depth: int = _DEPTH) -> Any:
    """Return the value with the middle of every long text left out."""
    if isinstance(value, str):
        # A little more than the limit is what was shortened before.
        return value if len(value) <= MOST + 999 else value[: MOST // 2] + _note(len(value)) + value[-MOST // 2 :]
    if depth and isinstance(value, dict):
        return {key: shorten(entry, depth - 1) for key, entry in value.items()}
    if depth and isinstance(value, list | tuple):
        return [shorten(entry, depth - 1) for entry in value]
    return value
