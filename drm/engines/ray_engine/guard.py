"""Keeps one machine's processes of Ray together: ``python -m drm.engines.ray_engine.guard PARENT TEMP_DIR COMMAND...``.

It ends them when it is told to (SIGTERM), when its parent is gone, and when the command ends. ``ray stop`` is never
called, for it ends every cluster on the host. Processes are ended by their group, which is ours, and what has left
that becomes a child of the guard, which adopts orphans. Nothing is left then, and no file. What the guard of a machine
without power has left, the next machine to start here removes (``sweep``).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from drm.worker.linux import adopt_orphans, bury_children, descendants_of, die_with_parent

PID_VARIABLE = "DRM_GUARD"
_POLL_S = 0.05
_WORKERS_S = 8.0
_TERM_S = 3.0


class _Told(Exception):
    """Time to end."""


class _Ending:
    """Told by SIGTERM. It breaks off what we wait for and nothing else: a process that is just being started would be
    left."""

    def __init__(self) -> None:
        self.is_told = False
        self._waits = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.is_told = True
        if self._waits:
            raise _Told

    def await_end(self, process: subprocess.Popen[bytes]) -> int:
        """Return the exit code of the process, or 0 as soon as we are told."""
        try:
            self._waits = True
            return 0 if self.is_told else process.wait()
        except _Told:
            return 0
        finally:
            self._waits = False


def guard(parent: int, temp_dir: Path, command: Sequence[str]) -> int:
    """Run the command; return its exit code, or 0 where we were told to end it, or our parent (its pid) is gone.

    ``temp_dir`` is removed. The command finds our pid in its environment, so that it ends with us.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ending = _Ending()
    signal.signal(signal.SIGTERM, ending.on_signal)
    code = 0
    held = os.open(temp_dir, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)  # as long as we live, or the command
    try:
        adopt_orphans()
        die_with_parent(parent, signal.SIGTERM)
        if ending.is_told:
            return 0
        # A session of its own: what we end is a group without us.
        with subprocess.Popen(
            command,
            cwd=temp_dir,
            env={**os.environ, PID_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(held,),
        ) as process:
            try:
                code = ending.await_end(process)
            finally:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                _end(process)
    except _Told:  # in the moment in which the command had ended by itself
        pass
    finally:
        shutil.rmtree(temp_dir, ignore_errors=True)
    return code


def sweep(folder: Path) -> None:
    """Remove what machines have left whose every process was killed: a folder of Ray that nobody holds or names."""
    left = [path for path in folder.glob("drm-*") if (path / "session_latest").is_symlink()]
    named = b"".join(_command(int(path.name)) for path in Path("/proc").glob("[0-9]*")) if left else b""
    for path in left:
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if bytes(path) not in named:
                    shutil.rmtree(path)
            finally:
                os.close(file)


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    """A raylet that is told to end waits 30 s for actors that live. So the workers are ended first, which their
    agents tell, then all of Ray."""
    _end_workers()
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_TERM_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    bury_children()


def _end_workers() -> None:
    """Let the worker processes end in order: they lead sessions below us that are not Ray's."""
    deadline = time.monotonic() + _WORKERS_S
    told: set[int] = set()
    while time.monotonic() < deadline:
        workers = [pid for pid in descendants_of(os.getpid()) if _is_worker(pid)]
        if not workers:
            return
        for pid in workers:
            if pid not in told:
                told.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        time.sleep(_POLL_S)


def _is_worker(pid: int) -> bool:
    """Tell whether a process is ``python -m drm.worker``, and not a fork of it."""
    with suppress(OSError):
        return os.getsid(pid) == pid and b"\0drm.worker\0" in _command(pid)
    return False


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
