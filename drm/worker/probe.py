"""What this machine has, and what processes on it use. Reads /proc and cgroups; falls back to the standard library."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from drm.model.resources import Resources

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),  # cgroup v2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # cgroup v1
)
_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def machine_capacity() -> Resources:
    """Return the cores and the memory this process may use (affinity and cgroup limits counted)."""
    return Resources(cpu_cores=_cores(), memory_bytes=_memory())


def _cores() -> float:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = _CGROUP_CPU_MAX.read_text().split()
        if quota != "max":
            return min(float(usable), float(quota) / float(period))
    except (OSError, ValueError):
        pass
    return float(usable)


def _memory() -> int:
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * _PAGE
    except (ValueError, OSError, AttributeError):
        installed = 4 * 2**30
    for path in _CGROUP_LIMITS:
        try:
            installed = min(installed, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return installed


def cpu_seconds(pid: int) -> float:
    """Return the cpu time of a process and of its waited-for children, in seconds; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return sum(int(fields[index]) for index in (11, 12, 13, 14)) / _TICKS
    except (OSError, ValueError, IndexError):
        return 0.0


def memory_bytes(pids: Iterable[int]) -> int:
    """Return the memory of the processes together: proportional set sizes, so that shared pages count once."""
    return sum(_proportional(pid) for pid in pids)


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
