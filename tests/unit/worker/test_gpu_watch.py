"""What is asked of NVML, and what is made of its answers; with a stand-in, for most machines have no gpu."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from drm.worker.gpu_watch import GpuWatch

GIB = 2**30


class NvmlError(Exception):
    pass


class Nvml:
    """Two devices; the third has fallen off the bus."""

    NVMLError = NvmlError

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{'abc'[handle]}123"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        if handle == 2:
            raise NvmlError
        return SimpleNamespace(total=80 * GIB, used=(handle + 1) * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        if handle == 2:
            raise NvmlError
        return SimpleNamespace(gpu=(50, 25)[handle])


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    stand_in = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: stand_in)
    return stand_in


@pytest.mark.parametrize(
    ("gpus", "shown", "busy", "used", "total"),
    [
        (3, None, 0.75, 3, 160),
        (2, None, 0.75, 3, 160),
        (1, None, 0.5, 1, 80),
        (0.5, None, 0.5, 1, 80),
        (2, "1,0", 0.75, 3, 160),
        (1, "1", 0.25, 2, 80),
        (1, "GPU-b", 0.25, 2, 80),
        (1, "2", 0.0, 0, 0),
        (2, "", 0.0, 0, 0),
        (2, "0,9,1", 0.5, 1, 80),
    ],
)
def test_the_devices_that_a_worker_is_shown_are_summed(
    nvml: Nvml, gpus: float, shown: str | None, busy: float, used: int, total: int
) -> None:
    environment = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    watch = GpuWatch(gpus, environment)
    assert watch.sample() == (busy, used * GIB)
    assert watch.total_bytes() == total * GIB


def test_a_worker_without_gpus_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: pytest.fail("NVML was looked for"))
    watch = GpuWatch(0.0)
    assert (watch.sample(), watch.total_bytes()) == ((0.0, 0), 0)


def test_without_the_library_or_the_driver_nothing_is_seen(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "nvmlInit", lambda: (_ for _ in ()).throw(NvmlError()))
    assert GpuWatch(1.0, {}).sample() == (0.0, 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert GpuWatch(1.0, {}).sample() == (0.0, 0)
