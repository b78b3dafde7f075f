"""What one test uses: wall time, cpu time and peak memory of that test alone."""

from __future__ import annotations

import os
import resource
import sys
import time

from drm.worker.probe import resident_bytes
from drm.worker.running_time import running_s

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB elsewhere
_SHORTEST_CHILD_S = 0.0005  # no process is started and waited for in less: shorter tests have no children


class Meter:
    """Measures between ``start`` and ``stop``.

    Linux keeps the peak resident size of a process until "5" is written to
    /proc/self/clear_refs (proc(5)); after that ``ru_maxrss`` is the peak since
    then. What this process held when the meter was made is not the tests': in a fork it
    is the zygote's, whose pages are shared and counted once, there (``base_bytes``). Memory of children
    counts when it raises the largest child seen so far; cpu of children that were waited for counts in full.
    """

    def __init__(self) -> None:
        self._reset_fd: int | None = None
        self._open()
        self.base_bytes = resident_bytes(os.getpid())
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._children_peak = children.ru_maxrss
        self._children_cpu_s = children.ru_utime + children.ru_stime
        self._cpu_s = self._wall_s = 0.0

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
        self._cpu_s = time.process_time()
        self._wall_s = running_s()

    def stop(self) -> list[float]:
        """Return [wall seconds, cpu seconds, peak resident bytes above the base]."""
        wall = running_s() - self._wall_s
        own = resource.getrusage(resource.RUSAGE_SELF)
        cpu = own.ru_utime + own.ru_stime - self._cpu_s
        peak = own.ru_maxrss
        if wall > _SHORTEST_CHILD_S:
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            children_cpu = children.ru_utime + children.ru_stime
            cpu += children_cpu - self._children_cpu_s
            self._children_cpu_s = children_cpu
            if children.ru_maxrss > self._children_peak:
                self._children_peak = children.ru_maxrss
                peak += children.ru_maxrss
        # Never 0, which would mean that it was not measured.
        return [round(wall, 6), round(max(cpu, 0.0), 6), max(1, peak * _MAXRSS_UNIT - self.base_bytes)]
