"""A worker whose coordinator is gone removes the socket that it left."""

from __future__ import annotations

import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from drm.worker import __main__ as worker


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as outer, socket.socket(socket.AF_UNIX) as sock:
        folder = Path(outer, "drm-1")
        folder.mkdir()
        sock.bind(str(folder / "coordinator.sock"))
        sock.listen()
        yield sock


def test_the_socket_of_a_dead_coordinator_is_removed(listener: socket.socket) -> None:
    path = Path(listener.getsockname())
    listener.close()
    worker._sweep(f"unix:{path}")
    worker._sweep(f"unix:{path}")  # another worker comes too late
    assert not path.parent.exists()


def test_a_coordinator_that_is_dying_is_waited_for(listener: socket.socket) -> None:
    """Its connections are closed already and what it listens at is not."""
    path = Path(listener.getsockname())

    def die() -> None:
        select.select((listener,), (), (), 60)
        listener.close()

    dying = threading.Thread(target=die)
    dying.start()
    worker._sweep(f"unix:{path}")
    dying.join()
    assert not path.parent.exists()


def test_the_socket_of_one_that_lives_stays(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_DYING_S", 0.05)
    worker._sweep(f"unix:{listener.getsockname()}")
    assert Path(listener.getsockname()).exists()
