"""The zygote: a process that holds the collected suite and from then on only forks executors and buries them.

It starts no thread and runs no test. When the agent at the other end of its
control socket goes away, however that happens, it takes all executors along.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from drm.model.wire import FrameReader, encode_frame
from drm.worker import exit_handlers
from drm.worker.linux import (
    adopt_orphans,
    bury_children,
    die_before_others,
    die_with_parent,
    spread,
    wake_when_orphaned,
)

Serve = Callable[[str, socket.socket, int], None]

_FAILED = 70  # EX_SOFTWARE: the executor itself failed, not a test
_OWN_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)


class Zygote:
    """Carries out ["spawn", id] (with two descriptors: its channel, its file for stacks) and ["signal", id, number].

    Says ["collected"] first, then answers ["spawned", id, pid] and ["exited", id, wait status, peak resident KiB].
    ``serve`` is run in each fork; it returns when the executor is done.
    """

    def __init__(self, control: socket.socket, serve: Serve) -> None:
        self._control = control
        self._serve = serve
        self._executors: dict[int, str] = {}
        self._reader = FrameReader()
        self._descriptors: list[int] = []
        self._forked = 0
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)

    def run(self) -> NoReturn:
        """Serve until the control socket closes; never returns."""
        status = 0
        try:
            os.setsid()  # a Ctrl-C at the terminal is the controller's to handle
            adopt_orphans()
            wake_when_orphaned()
            gc.freeze()  # so that a collection in one executor does not copy every shared page
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: self._end())
            signal.signal(signal.SIGCHLD, lambda *_: None)
            signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
            self._tell(["collected"])
            self._loop()
        except BaseException:
            traceback.print_exc()
            status = 1
        finally:
            self._bury_all()
            sys.stderr.flush()
            os._exit(status)

    def _loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._wake:
                        with suppress(BlockingIOError):
                            self._wake.recv(4096)
                    elif not self._obey():
                        return
                self._reap()

    def _obey(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 64)
        if not data:
            return False
        self._descriptors += descriptors
        for message in self._reader.feed(data):
            command, executor_id, *rest = message
            if command == "spawn":
                self._spawn(executor_id, self._descriptors.pop(0), self._descriptors.pop(0))
            elif command == "signal":
                self._signal(executor_id, *rest)
        return True

    def _signal(self, executor_id: str, number: int) -> None:
        for pid, name in self._executors.items():
            if name == executor_id:
                if number == signal.SIGKILL:
                    _kill_group(pid)
                else:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)

    def _spawn(self, executor_id: str, descriptor: int, stacks: int) -> None:
        sock = socket.socket(fileno=descriptor)
        self._forked += 1
        ours = os.getpid()
        pid = _fork()
        if pid == 0:
            self._become_executor(executor_id, sock, stacks, ours)
        sock.close()
        os.close(stacks)
        if pid is None:
            self._tell(["exited", executor_id, _FAILED << 8, 0])
            return
        self._executors[pid] = executor_id
        self._tell(["spawned", executor_id, pid])

    def _become_executor(self, executor_id: str, sock: socket.socket, stacks: int, parent: int) -> NoReturn:
        status = _FAILED
        try:
            die_with_parent(parent)
            die_before_others()
            signal.set_wakeup_fd(-1)
            for number in _OWN_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as the interpreter sets it at start
            os.setsid()
            spread(self._forked)
            self._control.close()
            self._wake.close()
            self._waker.close()
            exit_handlers.forget_those_of_parent()
            self._serve(executor_id, sock, stacks)
            status = 0
            exit_handlers.run()
        except KeyboardInterrupt:  # broken off before its first test, or while it tore down
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            executor_id = self._executors.pop(pid, None)
            if executor_id is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # what its tests left behind in its process group
                self._tell(["exited", executor_id, status, usage.ru_maxrss])

    def _tell(self, message: list[object]) -> None:
        with suppress(OSError):
            self._control.sendall(encode_frame(message))

    def _end(self) -> NoReturn:
        """End with all executors: a test, or somebody else, asked its parent to."""
        self._bury_all()
        os._exit(128 + signal.SIGTERM)

    def _bury_all(self) -> None:
        """Kill every executor and every adopted descendant."""
        for pid in list(self._executors):
            _kill_group(pid)
        bury_children()


def _fork() -> int | None:
    """Fork; None where there is no room for another process, nor is any made within two seconds."""
    for pause_s in (0.1, 0.3, 0.6, 1.0, None):
        with suppress(OSError):
            return os.fork()
        if pause_s is not None:
            time.sleep(pause_s)
    return None


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # in the moment before it leads a group of its own
