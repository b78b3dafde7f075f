"""The embedded engine keeps the contract of engines, with a worker in this process and with worker processes."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_contract import KIND, EngineContract, Place, make_suite

from drm.engines.embedded import EmbeddedEngine
from drm.model.wire import encode_frame
from drm.worker.__main__ import make_launcher


class InProcess(Place):
    """A worker inside the process of the engine."""

    kills = False

    def __init__(self, folder: Path) -> None:
        self.suite = make_suite(folder)
        super().__init__(folder, EmbeddedEngine(suite=self.suite))

    def worker(self, worker_id: str) -> None:
        self.engine.add_local_worker(worker_id, KIND, make_launcher(self.suite, "fork"))  # type: ignore[attr-defined]


class Sockets(Place):
    """Worker processes that join over a socket."""

    def __init__(self, folder: Path) -> None:
        engine = EmbeddedEngine(suite=make_suite(folder))
        engine.listen()
        assert engine._folder is not None
        self.socket_folder = engine._folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        super().__init__(folder, engine)

    def worker(self, worker_id: str) -> None:
        command, environment = self.engine.join_command(worker_id, KIND)  # type: ignore[attr-defined]
        self.processes[worker_id] = subprocess.Popen(
            command, env={**os.environ, **environment}, start_new_session=True, stdin=subprocess.DEVNULL
        )

    def close(self) -> None:
        super().close()
        for process in self.processes.values():
            process.wait(15)
        assert not self.socket_folder.exists()


class TestInProcess(EngineContract):
    @pytest.fixture
    def make_place(self) -> Callable[[Path], Place]:
        return InProcess


class TestSockets(EngineContract):
    @pytest.fixture
    def make_place(self) -> Callable[[Path], Place]:
        return Sockets

    def test_strangers_are_turned_away(self, place: Sockets) -> None:
        place.joined()
        assert place.socket_folder.stat().st_mode & 0o077 == 0
        path = str(place.socket_folder / "coordinator.sock")
        for greeting in (
            encode_frame(["hello", "w7"]),
            encode_frame(["hello", []]),
            encode_frame(["give", "me"]),
            b"GET / HTTP/1.1\r\n\r\n",
            b"",
        ):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(10)
                stranger.connect(path)
                stranger.sendall(greeting)
                if not greeting:
                    stranger.shutdown(socket.SHUT_WR)
                for _ in range(5):
                    place.engine.poll(0.02)
                assert stranger.recv(100) == b""
        place.executor("gw0")  # the engine goes on
