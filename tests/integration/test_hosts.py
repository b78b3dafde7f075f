"""The hosts that other tests and benchmarks run on: they reach each other, can be cut off, and leave nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.hosts import Hosts, faketime, small_disk, why_not

SERVER = (
    "import socket,sys; s=socket.create_server((sys.argv[1], 7000)); print('up', flush=True)\nwhile s.accept(): pass"
)
KNOCK = "import socket,sys; socket.create_connection((sys.argv[1], 7000), timeout=0.5)"
NOW = "import time; print(time.time())"

needs_namespaces = pytest.mark.skipif(bool(why_not()), reason=why_not() or "namespaces can be made")


def reaches(hosts: Hosts) -> bool:
    return hosts[1].run([sys.executable, "-c", KNOCK, hosts[0].address]).returncode == 0


@needs_namespaces
def test_a_host_is_cut_off_and_comes_back_and_nothing_is_left() -> None:
    with Hosts(2) as hosts:
        server = hosts[0].popen([sys.executable, "-c", SERVER, hosts[0].address], stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        server.stdout.close()
        assert reaches(hosts)
        hosts[1].partition()
        assert not reaches(hosts)
        hosts[1].heal()
        deadline = time.monotonic() + 30
        while not reaches(hosts):
            assert time.monotonic() < deadline, "it stays cut off"
        assert hosts[0].pids() == [server.pid]
        names = [host.namespace for host in hosts]
    assert server.poll() is not None
    assert not [name for name in os.listdir("/run/netns") if name in names]


@needs_namespaces
def test_a_signal_reaches_only_what_runs_on_the_host() -> None:
    """A process that has ended leaves its pid to another, maybe of somebody else."""
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        with Hosts(1) as hosts:
            mine = hosts[0].popen(["sleep", "600"])
            deadline = time.monotonic() + 30
            while mine.pid not in hosts[0].pids():
                assert time.monotonic() < deadline
            hosts[0].send(signal.SIGKILL, [stranger.pid, mine.pid])
            assert mine.wait(30) == -signal.SIGKILL
            assert stranger.poll() is None
    finally:
        stranger.kill()
        assert stranger.wait(30) == -signal.SIGKILL


@needs_namespaces
def test_hosts_of_a_killed_process_are_removed_by_the_next() -> None:
    script = "import os, signal; from benchmarks.hosts import Hosts; h = Hosts(1); print(h[0].namespace, flush=True); "
    script += "h[0].popen(['sleep', '600'], stdout=-3, stderr=-3); os.kill(os.getpid(), signal.SIGKILL)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    left = done.stdout.split()
    assert left, done.stderr
    assert set(left) <= set(os.listdir("/run/netns"))
    script = "from benchmarks.hosts import sweep; sweep()"
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
    assert not set(left) & set(os.listdir("/run/netns"))


@pytest.mark.skipif(faketime() is None, reason="libfaketime is not installed: apt-get install libfaketime")
def test_the_time_of_day_of_a_host_is_off() -> None:
    with Hosts(1, loopback=True, skews_s={0: -3600}) as hosts:
        told = float(hosts[0].run([sys.executable, "-c", NOW]).stdout)
    assert told == pytest.approx(time.time() - 3600, abs=300)


def test_loopback_hosts_are_addresses_of_their_own_and_their_processes_end() -> None:
    with Hosts(2, loopback=True) as hosts:
        assert hosts[0].address != hosts[1].address
        started = hosts[0].popen(["sleep", "600"])
        with pytest.raises(RuntimeError, match="cannot be cut off"):
            hosts[0].partition()
    assert started.poll() is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_small_disk_is_full_soon(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk", "1m") as disk, pytest.raises(OSError, match="No space"):
            (disk / "file").write_bytes(bytes(2 * 2**20))
    except RuntimeError as error:
        pytest.skip(str(error))
    assert not (tmp_path / "disk" / "file").exists()
