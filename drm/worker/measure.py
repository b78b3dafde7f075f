"""What one test uses: wall time, cpu time and peak memory of that test alone."""

from __future__ import annotations

import os
import resource
import sys
import time

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB elsewhere


class Meter:
    """Measures between ``start`` and ``stop``.

    Linux keeps the peak resident size of a process until "5" is written to
    /proc/self/clear_refs (proc(5)); after that ``ru_maxrss`` is the peak since
    then. Memory of children counts when it raises the largest child seen so far;
    cpu of children that were waited for counts in full.
    """

    def __init__(self) -> None:
        self._reset_fd: int | None = None
        self._open()
        self._children_peak = 0
        self._started = (0.0, 0.0, 0.0)

    def _open(self) -> None:
        try:
            self._reset_fd = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            self._reset_fd = None

    def start(self) -> None:
        if self._reset_fd is not None:
            try:
                os.write(self._reset_fd, b"5")
            except OSError:  # a test closed the file descriptor
                self._open()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._children_peak = children.ru_maxrss
        self._started = (time.perf_counter(), time.process_time(), children.ru_utime + children.ru_stime)

    def stop(self) -> list[float]:
        """Return [wall seconds, cpu seconds, peak resident bytes]."""
        wall, cpu, children_cpu = self._started
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if children.ru_maxrss > self._children_peak:
            peak += children.ru_maxrss
        return [
            round(time.perf_counter() - wall, 6),
            round(time.process_time() - cpu + children.ru_utime + children.ru_stime - children_cpu, 6),
            peak * _MAXRSS_UNIT,
        ]
