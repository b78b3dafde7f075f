"""Whose an instance is: the process of the controller, in a text that fits a tag of every provider."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_alive", "this_process"]


def this_process() -> str:
    """Return ``<boot>.<pid namespace>.<pid>.<start>``: no other process, of any machine, has or will have the same."""
    pid = os.getpid()
    return f"{_here()}.{pid}.{_start_of(pid)}"


def is_alive(owner: str) -> bool | None:
    """Tell whether the process lives; None where that cannot be known: it is of another machine or container."""
    place, _, process = owner.rpartition(".")
    place, _, pid = place.rpartition(".")
    if place != _here() or not (pid.isdecimal() and process.isdecimal()):
        return None
    return _start_of(int(pid)) == process


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
    return f"{boot[:12]}.{os.stat('/proc/self/ns/pid').st_ino}"


def _start_of(pid: int) -> str:
    """Return when the process started, in ticks since boot; empty where there is none, or only what is to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    fields = stat.rpartition(b")")[2].split()  # from the third on: the name in parentheses can hold anything
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
