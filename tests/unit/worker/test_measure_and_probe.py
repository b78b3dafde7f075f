"""What is measured of a test and of a process, against work of known size."""

from __future__ import annotations

import os
import subprocess
import sys
import time

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


def test_what_the_process_held_before_is_no_tests() -> None:
    before = bytearray(b"x") * (60 * MIB)
    meter = Meter()
    assert meter.base_bytes > 60 * MIB
    meter.start()
    kept = bytearray(b"x") * (40 * MIB)
    used = meter.stop()[2]
    assert len(before) > len(kept)
    assert 35 * MIB < used < 60 * MIB


def test_a_meter_costs_little() -> None:
    meter = Meter()
    began = time.perf_counter()
    for _ in range(200):
        meter.start()
        meter.stop()
    assert (time.perf_counter() - began) / 200 < 0.005
