"""What tests hold of a gpu's memory reaches the history. The library is a stand-in: hardly a machine here has a gpu.

It answers as NVML documents ``nvmlDeviceGetComputeRunningProcesses``: one entry per process with a context on the
device, with its pid and ``usedGpuMemory`` in bytes, which is None where the driver cannot tell
(https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html).
"""

from __future__ import annotations

import json

from projects import Project

NVML = """
import json, pathlib
from types import SimpleNamespace

class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return "GPU-0"
def nvmlDeviceGetMemoryInfo(handle): return SimpleNamespace(total=80 * 2**30, used=0)
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=50)
def nvmlDeviceGetComputeRunningProcesses(handle):
    held = pathlib.Path(__file__).with_name("held.json")
    processes = json.loads(held.read_text()) if held.exists() else {}
    return [SimpleNamespace(pid=1, usedGpuMemory=None)] + [
        SimpleNamespace(pid=int(pid), usedGpuMemory=size) for pid, size in processes.items()
    ]
"""
SUITE = """
import json, os, pathlib, time
import pytest

def hold(mib):
    held = pathlib.Path(__file__).with_name("held.json")
    new = held.with_suffix(".new")
    new.write_text(json.dumps({os.getpid(): mib * 2**20}))
    new.rename(held)

@pytest.mark.drm(gpu=1)
def test_short():
    hold(300)

@pytest.mark.drm(gpu=1)
def test_peak():
    hold(5000)
    time.sleep(1)
    hold(100)

def test_without():
    hold(700)
"""


def test_memory_of_the_gpu_is_kept_with_the_attempt_and_predicted(project: Project) -> None:
    project.file("pynvml.py", NVML)
    project.file("conftest.py", "")
    project.file("test_gpu.py", SUITE)
    project.run("--drm-executors", "1", "--drm-gpus", "1", "--drm-order", "file")
    held = {}
    for line in project.python("-m", "drm", "history", "export").splitlines():
        row = json.loads(line)
        held[row["test"].partition("::")[2]] = (row["gpus"], row["gpu_bytes"] / 2**20)
    assert held == {"test_short": (1, 300), "test_peak": (1, 5000), "test_without": (0, 0)}
    assert "gpu memory: 4.9 GiB" in project.python("-m", "drm", "history", "show", "test_peak")
