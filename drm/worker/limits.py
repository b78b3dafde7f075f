"""The limits this process stands under, from its cgroup up to the machine, and how much memory is used under each.

A control group has its parents' limits too, so every group up to the root counts. Version 1 and version 2 are
read, also both at once, as systemd's hybrid mode mounts them (cgroups(7); Documentation/admin-guide/cgroup-v2.rst).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drm.model.memory import MemoryLevel
from drm.model.resources import Resources

_ROOT = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_PRESSURE = Path("/proc/pressure/memory")
_ROOMY = 0.5  # below this part of a limit it does not matter how much of what is used is only cache


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """How a version of cgroups calls its files and the rows of memory.stat."""

    limits: tuple[str, ...]
    usage: str
    cached: tuple[str, ...]
    mapped: str


_V1 = _Version(
    limits=("memory.limit_in_bytes",),
    usage="memory.usage_in_bytes",
    cached=("total_inactive_file", "total_active_file"),
    mapped="total_mapped_file",
)
_V2 = _Version(  # above memory.high a group is throttled until it hardly moves: as good as a limit
    limits=("memory.max", "memory.high"),
    usage="memory.current",
    cached=("inactive_file", "active_file"),
    mapped="file_mapped",
)


def machine_capacity() -> Resources:
    """Return the cores and the memory this process may use (affinity and cgroup limits counted)."""
    return Resources(cpu_cores=_cores(), memory_bytes=MemoryLimits().limit_bytes)


def _own_cgroups() -> dict[str, str]:
    """Return the path of this process's cgroup per controller; version 2's under an empty name (cgroups(7))."""
    found = {}
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _folders(controller: str) -> Iterator[tuple[Path, str]]:
    """Give the folders of our cgroup and of those above it, with their names; ``controller`` is empty for version 2.

    In a container the folders of our own path may be out of sight: then the root that is seen is our group.
    """
    own = _own_cgroups().get(controller, "/")
    roots = (_ROOT / controller,) if controller else (_ROOT, _ROOT / "unified")
    for root in roots:
        folder = root / own.lstrip("/")
        for place in (folder, *folder.parents):
            if root not in (place, *place.parents):
                break
            if place.is_dir():
                yield place, f"/{place.relative_to(root)}".replace("/.", "/")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _cores() -> float:
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1))
    for controller, name in (("", "cpu.max"), ("cpu", "cpu.cfs_quota_us")):
        for folder, _ in _folders(controller):
            quota, _, period = _read(folder / name).partition(" ")
            period = period or _read(folder / "cpu.cfs_period_us")
            if quota.isdigit():
                usable = min(usable, int(quota) / (int(period) if period.isdigit() else 100_000))
    return usable


class MemoryLimits:
    """The limits on memory, looked up once; ``levels`` reads what is used, in some ten microseconds each."""

    def __init__(self) -> None:
        self._machine_bytes = _installed()
        self._groups: list[tuple[Path, str, int, _Version]] = []
        for controller, version in (("memory", _V1), ("", _V2)):
            for folder, name in _folders(controller):
                texts = [_read(folder / limit) for limit in version.limits]
                limit = min((int(text) for text in texts if text.isdigit()), default=self._machine_bytes)
                if limit < self._machine_bytes:
                    self._groups.append((folder, name, limit, version))
        groups = [folder / "memory.pressure" for folder, _ in _folders("")]
        self._pressure = next((path for path in (*groups, _PRESSURE) if _read(path)), None)

    @property
    def limit_bytes(self) -> int:
        """Return the lowest limit."""
        return min((limit for _, _, limit, _ in self._groups), default=self._machine_bytes)

    def levels(self) -> list[MemoryLevel]:
        """Return each limit and what is used under it, the machine's last."""
        found = [
            MemoryLevel(name=f"the cgroup {name}", limit_bytes=limit, used_bytes=_used(folder, limit, version))
            for folder, name, limit, version in self._groups
        ]
        available = _meminfo().get("MemAvailable")
        if available is not None:
            used = self._machine_bytes - available
            found.append(MemoryLevel(name="the machine", limit_bytes=self._machine_bytes, used_bytes=used))
        return found

    @property
    def has_pressure(self) -> bool:
        """Return whether the kernel tells how much is waited for memory."""
        return self._pressure is not None

    def pressure(self) -> float:
        """Return the part of the last ten seconds in which some process waited for memory (Linux's PSI)."""
        if self._pressure is None:
            return 0.0
        _, found, rest = _read(self._pressure).partition("some avg10=")
        try:
            return float(rest.split()[0]) / 100 if found else 0.0
        except (ValueError, IndexError):
            return 0.0


def _used(folder: Path, limit: int, version: _Version) -> int:
    """Return what a group uses and could not give back: cache of files that nobody maps is the kernel's to drop."""
    text = _read(folder / version.usage)
    used = int(text) if text.isdigit() else 0
    if used < limit * _ROOMY:
        return used
    rows = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    cached = sum(int(rows.get(name, 0)) for name in version.cached) - int(rows.get(version.mapped, 0))
    return max(0, used - max(0, cached))


def _meminfo() -> dict[str, int]:
    """Return what /proc/meminfo says, in bytes."""
    rows = (line.partition(":") for line in _read(_MEMINFO).splitlines())
    return {name: int(value.split()[0]) * 1024 for name, _, value in rows if value.split()[:1]}


def _installed() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30
