"""What a process opened that two must not use: a fork has the same one, and each takes what is the other's."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress

import pytest

OPEN_BEFORE = pytest.StashKey[Mapping[int, str]]()

_QUEUES = {"anon_inode:[eventpoll]": "an event loop (epoll)", "anon_inode:inotify": "a file watcher (inotify)"}
_PAIR = "a pair of sockets"


def open_descriptors() -> Mapping[int, str]:
    """Return what each open descriptor is (empty where that cannot be known)."""
    found = {}
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # the one of this very listing
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def unsafe_descriptors(before: Mapping[int, str]) -> list[str]:
    """Return what this process has opened that speaks against forking it.

    ``before``: what was open when it began, and is somebody else's.
    """
    opened = {number: what for number, what in open_descriptors().items() if before.get(number) != what}
    queues = [_QUEUES[what] for number, what in opened.items() if what in _QUEUES and not _is_inherited(number)]
    peers = [_peer(number) for number, what in opened.items() if what.startswith("socket:")]
    if queues:  # an event loop has a pair of sockets to wake itself
        peers = [peer for peer in peers if peer != _PAIR]
    return sorted({*queues, *filter(None, peers)})


def patched() -> list[str]:
    """Return the libraries that have replaced what waits by their own event loop, which a fork shares."""
    monkey = sys.modules.get("gevent.monkey")
    patcher = sys.modules.get("eventlet.patcher")
    found = {"gevent": getattr(monkey, "saved", None), "eventlet": getattr(patcher, "already_patched", None)}
    return [name for name, what in found.items() if what]


def _is_inherited(number: int) -> bool:
    """Tell whether the descriptor came from the program that started this one: Python closes its own for others."""
    try:
        return not fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except OSError:
        return True


def _peer(number: int) -> str:
    """Return who is at the other end of a connection that carries a stream; empty for any other socket.

    Datagrams do not mix, and who listens on a socket takes whole connections.
    """
    if _is_inherited(number):
        return ""
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
        if sock.type != socket.SOCK_STREAM:
            return ""
        peer = sock.getpeername()
        if isinstance(peer, tuple):
            return f"a connection to {peer[0]}:{peer[1]}"
        return f"a connection to {os.fsdecode(peer)}" if peer else _PAIR
    return ""
