"""How often the kernel has killed for memory where this process runs: the evidence when an executor got SIGKILL.

Version 2 of cgroups counts in memory.events, version 1 in memory.oom_control, both of them victims in the
group whatever limit was passed; where neither is in sight the whole machine's count will do (cgroups(7),
Documentation/admin-guide/cgroup-v2.rst, proc_vmstat(5)).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_VMSTAT = Path("/proc/vmstat")
_KEEP_S = 1.0


def counters(own: Path = _OWN, root: Path = _ROOT, vmstat: Path = _VMSTAT) -> list[Path]:
    """Return the files that may hold the count, the one that tells most first."""
    found = []
    for line in read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        group = path.lstrip("/")
        if not controllers:
            found += [root / group / "memory.events", root / "unified" / group / "memory.events"]
        elif "memory" in controllers.split(","):
            found.append(root / controllers / group / "memory.oom_control")
            found.append(root / controllers / "memory.oom_control")  # in a container our group is the root we see
    return [*found, vmstat]


def oom_kills(files: list[Path]) -> int:
    """Return how many processes the kernel has killed for memory so far, by the first file that says."""
    for path in files:
        for line in read(path).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.strip().isdigit():
                return int(value)
    return 0


def read(path: Path) -> str:
    """Return what a file of counters says; empty where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


class OomWatch:
    """Tells for a death whether the kernel has killed for memory about that time; each kill explains one death."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._before = self._lately = read()
        self._seen_s = float("-inf")

    def look(self, now_s: float) -> None:
        """Remember the count, so that what was counted more than a second ago explains no later death."""
        if now_s - self._seen_s >= _KEEP_S:
            self._seen_s = now_s
            self._before, self._lately = self._lately, self._read()

    def claim(self) -> int:
        """Return the kills since a second or two that have explained no death yet; one of them explains this one."""
        kills = max(0, self._read() - self._before)
        if kills:
            self._before += 1
            self._lately = max(self._lately, self._before)
        return kills
