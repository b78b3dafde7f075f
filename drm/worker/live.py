"""Output of tests, line by line while they run (``--drm-live``): for the controller to show, beside the capture."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

_MOST = 10_000  # characters of one line that are shown


class _Lines(io.RawIOBase):
    """A stream that tells whole lines. ``tell`` is given the test that runs, if one does, and the line."""

    def __init__(self, tell: Callable[[str, str], None], descriptor: int) -> None:
        self._tell = tell
        self._descriptor = descriptor
        self._owner = os.getpid()
        self._rest = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: object) -> int:
        given = bytes(data)  # type: ignore[call-overload]
        if os.getpid() != self._owner:  # forked by a test: the connection is not its to write to
            return os.write(self._descriptor, given)
        *lines, self._rest = (self._rest + given).split(b"\n")
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        for line in lines:
            self._tell(test, line.decode("utf-8", "replace")[:_MOST])
        return len(given)


def show_live(config: pytest.Config, tell: Callable[[str, str], None]) -> None:
    """Tell what goes to ``sys.stdout`` and ``sys.stderr``; it is captured as well, unless with -s."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        lines: Any = _Lines(tell, descriptor)
        setattr(sys, name, io.TextIOWrapper(lines, encoding="utf-8", errors="backslashreplace", write_through=True))
    if capture is not None:
        capture._method = "no" if capture._method == "no" else "tee-sys"
        capture.start_global_capturing()
        capture.suspend_global_capture(in_=False)
