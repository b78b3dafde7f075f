"""What the gpus of this machine do, by NVML: how busy they are, and how much of their memory is used."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from drm.worker.gpus import visible_devices

__all__ = ["GpuWatch"]


class GpuWatch:
    """Looks at the first ``gpus`` of the devices that the environment shows; at none where there is no NVML to ask.

    A device that cannot be asked (it has fallen off the bus) counts as idle. What else runs on a device is seen too.
    """

    def __init__(self, gpus: float, environment: Mapping[str, str] = os.environ) -> None:
        self._nvml: Any = _nvml() if gpus > 0 else None
        self._devices = _devices(self._nvml, gpus, visible_devices(environment)) if self._nvml is not None else []

    def total_bytes(self) -> int:
        """Return the memory of the devices together."""
        return sum(int(memory.total) for memory in map(self._memory, self._devices) if memory is not None)

    def sample(self) -> tuple[float, int]:
        """Return how many gpus are busy (a half busy one is half a gpu), and how much of their memory is used."""
        busy, used = 0.0, 0
        for device in self._devices:
            memory = self._memory(device)
            used += int(memory.used) if memory is not None else 0
            with suppress(self._nvml.NVMLError):
                busy += self._nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100
        return round(busy, 3), used

    def of_processes(self) -> dict[int, int]:
        """Return the bytes that each process holds on the devices, by its pid; those that the driver does not tell of
        (it shows a container the pids of the machine) are left out by who looks for theirs."""
        held: dict[int, int] = {}
        for device in self._devices:
            with suppress(self._nvml.NVMLError):
                for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(device):
                    held[process.pid] = held.get(process.pid, 0) + int(process.usedGpuMemory or 0)
        return held

    def _memory(self, device: Any) -> Any:
        with suppress(self._nvml.NVMLError):
            return self._nvml.nvmlDeviceGetMemoryInfo(device)
        return None


def _nvml() -> Any:
    """Return the library, ready to be asked; None without a driver, or without the nvidia-ml-py package."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        return pynvml
    return None


def _devices(nvml: Any, gpus: float, names: list[str] | None) -> list[Any]:
    """Return the handles; ``names``: as CUDA_VISIBLE_DEVICES has them, numbers or the beginnings of UUIDs."""
    most = max(1, int(gpus))
    found = []
    with suppress(nvml.NVMLError):
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        uuids = [str(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        for name in names if names is not None else map(str, range(len(handles))):
            index = next((place for place, uuid in enumerate(uuids) if name in (str(place), uuid[: len(name)])), None)
            if index is None:  # CUDA looks at none after one that is not there
                break
            found.append(handles[index])
    return found[:most]
