"""What is measured of a test and of a process, against work of known size."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from drm.worker import probe
from drm.worker.measure import Meter

MIB = 2**20


def test_each_test_has_a_peak_of_its_own() -> None:
    meter = Meter()
    meter.start()
    assert len(bytearray(80 * MIB).replace(b"\0", b"x", 1)) == 80 * MIB
    large = meter.stop()
    meter.start()
    small = meter.stop()
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this kernel cannot reset the peak")
    assert large[2] - small[2] > 70 * MIB


def test_time_of_the_test_and_of_its_children() -> None:
    meter = Meter()
    meter.start()
    program = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-S", "-c", program], check=True)
    wall, cpu, _ = meter.stop()
    assert wall >= 0.2
    assert 0.19 <= cpu < 2
    meter.start()
    wall, cpu, _ = meter.stop()
    assert wall < 0.1
    assert cpu < 0.1


def test_a_meter_survives_closed_descriptors() -> None:
    meter = Meter()
    descriptor = meter._reset_fd
    if descriptor is None:
        pytest.skip("this kernel cannot reset the peak")
    os.close(descriptor)
    meter.start()
    assert meter.stop()[2] > 0


def test_what_a_process_uses() -> None:
    own = os.getpid()
    assert probe.cpu_seconds(own) > 0
    assert 5 * MIB < probe.proportional_bytes(own) <= probe.resident_bytes(own) * 1.1
    process = subprocess.Popen([sys.executable, "-S", "-c", "pass"])
    process.wait()
    assert (probe.cpu_seconds(process.pid), probe.resident_bytes(process.pid)) == (0.0, 0)
    assert probe.proportional_bytes(process.pid) == 0


def test_the_machine_has_something() -> None:
    capacity = probe.machine_capacity()
    assert 0 < capacity.cpu_cores <= (os.cpu_count() or 1)
    assert 64 * MIB < capacity.memory_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("own", "files", "cores", "memory"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "a/memory.max": "1048576", "a/b/memory.max": "max"}, 0.5, MIB),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            "3:cpu,cpuacct:/x\n2:memory:/y\n",
            {"cpu/x/cpu.cfs_quota_us": "25000", "memory/y/memory.limit_in_bytes": "2097152"},
            0.25,
            2 * MIB,
        ),
        ("3:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1"}, None, None),
    ],
    ids=["v2", "v2-without-limit", "v1", "v1-without-limit"],
)
def test_limits_of_the_cgroup_count(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    files: dict[str, str],
    cores: float | None,
    memory: int | None,
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    found: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path_text = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path_text))
    monkeypatch.setattr(probe, "_CGROUPS", tmp_path)
    monkeypatch.setattr(probe, "_own_cgroups", lambda: found)
    capacity: Any = probe.machine_capacity()
    machine = float(len(os.sched_getaffinity(0)))
    assert capacity.cpu_cores == (cores if cores is not None else machine)
    assert capacity.memory_bytes == (memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def test_a_meter_costs_little() -> None:
    meter = Meter()
    began = time.perf_counter()
    for _ in range(200):
        meter.start()
        meter.stop()
    assert (time.perf_counter() - began) / 200 < 0.005
