"""One start of Ray on a machine, with a command in its place that sleeps: how it is ended, and what it said."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drm.engines.ray_engine import node as node_module
from drm.engines.ray_engine.node import NodeProcess, NodeSettings, Ports


class Sleeps(NodeSettings):
    def command(self, temp_dir: Path) -> list[str]:
        return ["sh", "-c", "echo Ray runtime started; exec sleep 600"]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeProcess]:
    monkeypatch.setattr(node_module, "_SHORT", tmp_path)
    node = NodeProcess(Sleeps(name="w1", host="127.0.0.1", ports=Ports(first=7000)))
    guard = node._process
    node.wait_ready()
    yield node
    guard.send_signal(signal.SIGCONT)
    guard.terminate()
    guard.wait(60)


def within(seconds: float, work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"


def test_a_guard_that_is_stopped_ends_too(node: NodeProcess) -> None:
    os.kill(node._process.pid, signal.SIGSTOP)
    within(60, node.end)
    assert not node.temp_dir.exists()


def test_a_guard_that_does_not_end_is_killed(node: NodeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "_END_S", 0.1)
    deaf = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"]
    process = subprocess.Popen(deaf, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        node._process = process
        within(60, node.end)
        assert process.returncode == -signal.SIGKILL
        assert process.stdout.read() == b"", "its group went with it"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_the_last_line_is_the_last_of_much(node: NodeProcess) -> None:
    os.lseek(node._log.fileno(), 0, os.SEEK_END)
    os.write(node._log.fileno(), b"a line of many\n" * 30_000 + b"the raylet was killed\n")
    assert node.last_line() == "the raylet was killed"
