"""The few kernel calls Python has no door to. Each does nothing where the kernel is not Linux."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_EXECUTORS_FIRST = 300  # of 1000, where all the memory there is counts 1000 (proc(5))


@functools.cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int | None = None, number: int = signal.SIGKILL) -> None:
    """Ask the kernel to SIGKILL this process when its parent ends, or to send it another signal.

    ``parent``: who that is; if it has ended before we could ask, we end now.
    """
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if parent is not None and os.getppid() != parent:
            os.kill(os.getpid(), number)


def wake_when_orphaned() -> None:
    """Ask the kernel to let this process go on, should it be stopped, when its parent ends: then it sees that and ends.

    Unlike with ``die_with_parent`` it can bury its children first.
    """
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT), 0, 0, 0)


def die_before_others() -> None:
    """Let the kernel, when it is out of memory, choose this process and its children before the run's other ones.

    An executor costs one test; the controller or the zygote, which may be as large, would cost all of them.
    """
    with suppress(OSError, ValueError):
        path = Path("/proc/self/oom_score_adj")
        path.write_text(str(min(1000, int(path.read_text()) + _EXECUTORS_FIRST)), encoding="ascii")


def adopt_orphans() -> None:
    """Make orphaned descendants children of this process, so that none escapes."""
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """Return the pids of the direct children of a process (empty where that cannot be known)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def descendants_of(pid: int) -> list[int]:
    """Return the pids of all processes below one (empty where that cannot be known)."""
    found = children_of(pid)
    for child in found:
        found.extend(children_of(child))  # the list grows while it is read
    return found


def bury_children() -> None:
    """Kill every child of this process and, where it adopts orphans, every other descendant."""
    for _ in range(100):  # killing a parent hands us its children: repeat until none is left
        for pid in children_of(os.getpid()):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def spread(number: int) -> None:
    """Move this process to the ``number``-th of the processors it may run on (counted round), and leave it free.

    A fork begins on its parent's processor. While other processes wake and sleep, the scheduler can
    leave two busy forks on one processor for seconds (seen: half the speed of two executors).
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[number % len(allowed)]})
        os.sched_setaffinity(0, allowed)
