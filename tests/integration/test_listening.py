"""What a run on one machine listens on: a socket in a folder that nobody else can enter, and no port."""

from __future__ import annotations

import stat

import pytest
from projects import MODES, Project, wait_until

from benchmarks.processes import listeners

SUITE = """
import socket
import threading
import time
from pathlib import Path


def test_waits():
    deadline = time.monotonic() + 60
    while not Path("go").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_listens():
    servers = [socket.create_server(("127.0.0.1", 0))]
    if Path("/proc/net/if_inet6").exists():
        servers.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
    Path("new").write_text(" ".join(f"{host}={port}" for host, port, *_ in (each.getsockname() for each in servers)))
    Path("new").rename("ports")
    test_waits()
"""


@pytest.mark.parametrize("mode", ["fork", "workers"])
def test_a_run_on_one_machine_opens_no_port(project: Project, mode: str) -> None:
    project.file("test_net.py", SUITE)
    running = project.start(*MODES[mode])
    ports = project.root / "ports"
    running.wait_for(ports.exists)
    if mode == "workers":
        (folder,) = (path for path in project.folders() if path.is_dir() and (path / "coordinator.sock").exists())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    of_test = {(host, int(port)) for host, _, port in (word.partition("=") for word in ports.read_text().split())}
    assert listeners(project.processes()) == of_test
    project.file("go", "")
    assert running.end().code == 0
    wait_until(lambda: not listeners(project.processes()))
