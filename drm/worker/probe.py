"""What this machine has, and what processes on it use. Reads /proc and cgroups; falls back to the standard library."""

from __future__ import annotations

import os
from pathlib import Path

from drm.model.resources import Resources

_CGROUPS = Path("/sys/fs/cgroup")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def machine_capacity() -> Resources:
    """Return the cores and the memory this process may use (affinity and cgroup limits counted)."""
    return Resources(cpu_cores=_cores(), memory_bytes=_memory())


def _own_cgroups() -> dict[str, str]:
    """Return the path of this process's cgroup per controller; version 2's under an empty name (cgroups(7))."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _limits(controller: str, v2_file: str, v1_file: str) -> list[str]:
    """Return what the limit files from our cgroup up to the root say, version 2 and version 1."""
    own = _own_cgroups()
    texts = []
    for base, name, path in (
        (_CGROUPS, v2_file, own.get("", "/")),
        (_CGROUPS / controller, v1_file, own.get(controller, "/")),
    ):
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            if base not in (place, *place.parents):
                break
            try:
                texts.append((place / name).read_text(encoding="ascii"))
            except (OSError, ValueError):
                continue
    return texts


def _cores() -> float:
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1))
    for text in _limits("cpu", "cpu.max", "cpu.cfs_quota_us"):
        quota, _, period = text.strip().partition(" ")
        if quota.isdigit():
            usable = min(usable, int(quota) / (int(period) if period else 100_000))
    return usable


def _memory() -> int:
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * _PAGE
    except (ValueError, OSError, AttributeError):
        installed = 4 * 2**30
    limits = [int(text) for text in _limits("memory", "memory.max", "memory.limit_in_bytes") if text.strip().isdigit()]
    return min([installed, *limits])


def cpu_seconds(pid: int) -> float:
    """Return the cpu time of a process and of its waited-for children, in seconds; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return sum(int(fields[index]) for index in (11, 12, 13, 14)) / _TICKS
    except (OSError, ValueError, IndexError):
        return 0.0


def proportional_bytes(pid: int) -> int:
    """Return a process's proportional set size (pages it shares are divided among those who share); 0 if it is gone.

    Where the kernel does not tell, its resident size.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return resident_bytes(pid)


def resident_bytes(pid: int) -> int:
    """Return a process's resident size; 0 if it is gone. A few microseconds, where the proportional one takes a ms."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
