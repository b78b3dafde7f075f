"""``drm worker`` at a coordinator's door: who must not or cannot join is told why in one line, within seconds.

The door and what it decides are the coordinator's own; Ray, which is started only after it, is not needed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")

from benchmarks.hosts import faketime
from drm import __version__
from drm.cluster_commands.register import Register
from drm.cluster_trust import COORDINATOR, WORKER, Door, knock, load_credentials, make_trust
from drm.joining import MachineFacts

RAY = "2.60.0"
SOON_S = 110.0  # on a machine that is very busy: seconds on an idle one. Ray alone would wait for 70 s more


class Gate:
    """A coordinator as far as its door. ``said``: its lines; ``folder``: the credentials that it made."""

    def __init__(self, folder: Path, doors: ExitStack) -> None:
        self.said: list[str] = []
        self.folder = folder / "cluster"
        make_trust(self.folder, coordinator=[], workers=[])
        self._code = folder / f"ray-{RAY}.dist-info"  # the version that is found, whether Ray is here or not
        fake_ray(self._code, RAY)
        register = Register(
            lambda: replace(MachineFacts.here("coordinator", __version__), ray=RAY),
            must_leave=lambda name: False,
            left=lambda name: None,
            now=time.monotonic,
            say=self.said.append,
        )
        credentials = load_credentials(self.folder / COORDINATOR)
        self.port = two_ports()
        for port in (self.port, self.port + 1):  # of Ray's, and of the door: both speak TLS, and first
            doors.enter_context(Door("127.0.0.1", port, credentials, register.answer))

    def start(self, *options: str, credentials: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        path = filter(None, (environment.pop("PYTHONPATH", ""), str(self._code.parent), os.environ.get("PYTHONPATH")))
        given = {**os.environ, "DRM_CLUSTER_FOLDER": str(credentials or self.folder), **environment}
        return subprocess.Popen(
            [sys.executable, "-m", "drm", "worker", "--coordinator", f"127.0.0.1:{self.port}", *options],
            env={**given, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[2]), *path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def join(self, *options: str, credentials: Path | None = None, **environment: str) -> str:
        """Let a machine try to join; return the one line that it is refused with."""
        began = time.monotonic()
        process = self.start(*options, credentials=credentials, **environment)
        out, _ = process.communicate(timeout=120)
        assert process.returncode in (1, 4), out
        assert time.monotonic() - began < SOON_S
        (line,) = out.strip().splitlines()
        assert not [told for told in self.said if "joins" in told]
        return line


def fake_ray(folder: Path, version: str) -> None:
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ray\nVersion: {version}\n")


def two_ports() -> int:
    """Return the first of two ports in a row that are free now."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            return port


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with ExitStack() as doors:
        yield Gate(tmp_path, doors)


def credentials(folder: Path, of: Path, **files: Path) -> Path:
    """Return a copy of a worker's credentials; ``files``: some of them from elsewhere."""
    shutil.copytree(of, folder / WORKER)
    for name, source in files.items():
        path = next(file for file in (folder / WORKER).iterdir() if file.stem == name)
        path.write_bytes((source / path.name).read_bytes())
    return folder


def other_trust(folder: Path) -> Path:
    return make_trust(folder / "other", coordinator=[], workers=[])[1]


def test_another_certificate(gate: Gate, tmp_path: Path) -> None:
    line = gate.join(credentials=credentials(tmp_path / "w", other_trust(tmp_path)))
    assert "certificate of another authority" in line
    assert "copy the worker folder" in line


def test_another_token(gate: Gate, tmp_path: Path) -> None:
    mixed = credentials(tmp_path / "w", gate.folder / WORKER, token=other_trust(tmp_path))
    line = gate.join(credentials=mixed)
    assert "another token" in line
    assert (mixed / WORKER / "token").read_text() not in line


def test_no_credentials(gate: Gate, tmp_path: Path) -> None:
    assert "drm coordinator --init" in gate.join(credentials=tmp_path / "nothing")


def test_another_ray(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    fake_ray(tmp_path / "old" / "ray-2.0.0.dist-info", "2.0.0")
    line = gate.join("--name", "old", PYTHONPATH=str(tmp_path / "old"))
    assert "old has Ray 2.0.0" in line
    assert f"pip install 'ray=={RAY}'" in line


def test_another_python(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import platform\nplatform.python_version = lambda: '3.99.0'\n")
    line = gate.join("--name", "new", PYTHONPATH=str(tmp_path))
    assert "new has Python 3.99.0" in line
    assert "run drm worker with Python" in line


def wait_for(gate: Gate, words: str) -> None:
    deadline = time.monotonic() + SOON_S
    while not any(words in line for line in gate.said):
        assert time.monotonic() < deadline, f"{words!r} is not in {gate.said}"
        time.sleep(0.02)


def test_a_name_that_is_taken(gate: Gate) -> None:
    has = {"cpu_cores": 1, "memory_bytes": 1, "gpus": 0, "labels": [], "address": "127.0.0.9", "instance": "one"}
    there = replace(MachineFacts.here("same", __version__), ray=RAY, more=has).to_json()
    stop = threading.Event()

    def be_there() -> None:  # a machine says so every other second
        while not stop.is_set():
            knock("127.0.0.1", gate.port + 1, load_credentials(gate.folder / WORKER), there, timeout_s=30)
            stop.wait(1)

    first = threading.Thread(target=be_there)
    first.start()
    try:
        wait_for(gate, "same joins")
        process = gate.start("--name", "same")
        out, _ = process.communicate(timeout=120)
    finally:
        stop.set()
        first.join()
    assert process.returncode == 4, out
    (line,) = out.strip().splitlines()
    assert "a worker called 'same' has joined already" in line
    assert "--name" in line


@pytest.mark.skipif(faketime() is None, reason="libfaketime is not installed: apt-get install libfaketime")
def test_a_clock_that_is_an_hour_off_is_said_and_keeps_nobody_out(gate: Gate) -> None:
    shift = {"LD_PRELOAD": str(faketime()), "FAKETIME": "-3600", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    late = gate.start("--name", "late", **shift)
    try:
        wait_for(gate, "the clock of late is 60 min slow")
    finally:
        late.terminate()
        late.communicate(timeout=60)
    assert any("late joins" in line for line in gate.said)
