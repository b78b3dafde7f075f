"""Whether this process can be forked: a fork has none of its threads, and what they held stays locked for ever."""

from __future__ import annotations

import os
import threading
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

# Threads of these modules wait in one system call and hold nothing that a fork would miss.
_HARMLESS = {"pytest_rerunfailures"}  # its server for executors of pytest-xdist, whenever that is installed


def fork() -> int:
    """``os.fork`` without the warning of Python 3.12 and later: threads have been looked at before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def unsafe_threads() -> list[str]:
    """Return the names of the threads that speak against forking this process."""
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return [thread.name for thread in threads if not _is_harmless(thread)] + _native_threads(threads)


def _is_harmless(thread: threading.Thread) -> bool:
    return getattr(getattr(thread, "_target", None), "__module__", None) in _HARMLESS


def _native_threads(threads: list[threading.Thread]) -> list[str]:
    """Return the threads that are not Python's and outlive a fork.

    Pools made to be forked (OpenBLAS) end before each fork and come back when they are needed. So fork once, and see
    which are still there.
    """
    known = {thread.native_id for thread in threads}
    if _tasks() > known:
        pid = fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    names = Counter(map(_name_of, sorted(_tasks() - known)))
    return [f"{name}, not Python's" + (f" ({count} threads)" if count > 1 else "") for name, count in names.items()]


def _tasks() -> set[int]:
    """Return the ids of this process's threads but the main one (empty where that cannot be known)."""
    try:
        return {int(name) for name in os.listdir("/proc/self/task")} - {os.getpid()}
    except OSError:
        return set()


def _name_of(task: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/self/task/{task}/comm").read_text(errors="replace").strip()
    return f"thread {task}"
