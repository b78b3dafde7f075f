"""Two ways to start executors: forking a zygote (milliseconds) or spawning interpreters (each collects anew)."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from drm.model.wire import FrameReader, encode_frame
from drm.worker.linux import descendants_of

Emit = Callable[[list[Any]], None]


class Launcher(Protocol):
    """Starts, signals and buries executors.

    Emits ["collected"] when executors can be spawned, ["spawned", id, pid],
    ["exited", id, wait status, peak resident KiB] and ["gone", why].
    """

    def start(self, selector: selectors.BaseSelector, emit: Emit) -> None: ...

    def spawn(self, executor_id: str, sock: socket.socket, stacks: int) -> None:
        """Start an executor with its channel and the file that it writes its stacks to."""
        ...

    def signal(self, executor_id: str, number: int) -> None: ...

    def close(self) -> None:
        """End all executors by force and wait until they are gone."""
        ...


class ZygoteLauncher:
    """Talks to a zygote, which ``fork_zygote`` starts.

    It is given the zygote's end of the control socket, and ours, which the child must close at once
    (or it would never see us go); it returns the pid.
    """

    def __init__(self, fork_zygote: Callable[[socket.socket, socket.socket], int]) -> None:
        self._fork_zygote = fork_zygote
        self._pid = 0
        self._collected = False
        self._control: socket.socket | None = None
        self._reader = FrameReader()

    def start(self, selector: selectors.BaseSelector, emit: Emit) -> None:
        self._control, theirs = socket.socketpair()
        self._pid = self._fork_zygote(theirs, self._control)
        theirs.close()
        self._selector, self._emit = selector, emit
        selector.register(self._control, selectors.EVENT_READ, self._receive)

    def spawn(self, executor_id: str, sock: socket.socket, stacks: int) -> None:
        self._tell(["spawn", executor_id], (sock.fileno(), stacks))

    def signal(self, executor_id: str, number: int) -> None:
        self._tell(["signal", executor_id, int(number)])
        self._wake()

    def _wake(self) -> None:
        """Let the zygote go on, should it be stopped: it would take no notice."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGCONT)

    def _tell(self, message: list[Any], descriptors: Sequence[int] = ()) -> None:
        if self._control is not None:
            with suppress(OSError):  # it died: "gone" is on its way
                socket.send_fds(self._control, [encode_frame(message)], list(descriptors))

    def _receive(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(65536)
        except OSError:
            data = b""
        for message in self._reader.feed(data):
            self._collected = True
            self._emit(message)
        if not data:
            status = self._bury()
            self._emit(["gone", f"the zygote ended ({describe_status(status)})"])

    def _bury(self) -> int:
        """Close our end, which ends the zygote and all its executors, and wait for it."""
        if self._control is not None:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None
        self._wake()
        pid, self._pid = self._pid, 0
        if not pid:
            return 0
        if not self._collected:  # it is busy, and would not notice
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            return os.waitpid(pid, 0)[1]
        except ChildProcessError:
            return 0

    def close(self) -> None:
        self._bury()


class SpawnLauncher:
    """Starts one interpreter per executor; ``command`` plus the numbers of the inherited descriptors."""

    def __init__(self, command: Sequence[str], environment: Callable[[str], dict[str, str]]) -> None:
        self._command = tuple(command)
        self._environment = environment
        self._processes: dict[str, tuple[subprocess.Popen[bytes], int | None]] = {}

    def start(self, selector: selectors.BaseSelector, emit: Emit) -> None:
        self._selector, self._emit = selector, emit
        emit(["collected"])  # nothing to wait for: every executor collects for itself

    def spawn(self, executor_id: str, sock: socket.socket, stacks: int) -> None:
        process = subprocess.Popen(
            [*self._command, str(sock.fileno()), str(stacks)],
            pass_fds=(sock.fileno(), stacks),
            stdin=subprocess.DEVNULL,
            env=self._environment(executor_id),
            start_new_session=True,
        )
        descriptor = None
        if hasattr(os, "pidfd_open"):  # Linux: readable when the process ends
            descriptor = os.pidfd_open(process.pid)
            self._selector.register(descriptor, selectors.EVENT_READ, lambda: self._reap(executor_id))
        self._processes[executor_id] = (process, descriptor)
        self._emit(["spawned", executor_id, process.pid])

    def poll(self) -> None:
        """Look for ended processes where the kernel cannot tell us."""
        for executor_id, (process, descriptor) in list(self._processes.items()):
            if descriptor is None and process.poll() is not None:
                self._reap(executor_id)

    def _reap(self, executor_id: str) -> None:
        process, descriptor = self._processes.pop(executor_id)
        if descriptor is not None:
            self._selector.unregister(descriptor)
            os.close(descriptor)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._emit(["exited", executor_id, status, usage.ru_maxrss])

    def signal(self, executor_id: str, number: int) -> None:
        entry = self._processes.get(executor_id)
        if entry is None:
            return
        if number != signal.SIGKILL:
            with suppress(ProcessLookupError):
                os.kill(entry[0].pid, number)
            return
        below = descendants_of(entry[0].pid)  # also those that left its process group
        with suppress(ProcessLookupError):
            os.killpg(entry[0].pid, number)
        for pid in below:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def close(self) -> None:
        for executor_id in list(self._processes):
            self.signal(executor_id, signal.SIGKILL)
            self._reap(executor_id)


def describe_status(status: int) -> str:
    """Return a wait status for people: ``"exit code 3"`` or ``"signal SIGKILL"``."""
    code = os.waitstatus_to_exitcode(status)
    return f"signal {signal_name(-code)}" if code < 0 else f"exit code {code}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
