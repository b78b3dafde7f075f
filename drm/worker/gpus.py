"""The gpus of this machine, and which of them a test is shown."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress

_CUDA = "CUDA_VISIBLE_DEVICES"
_DRM = "DRM_GPU_IDS"


def machine_gpus() -> int:
    """Return how many gpus NVML knows of; 0 without a driver, or without the nvidia-ml-py package to ask it with."""
    if importlib.util.find_spec("pynvml") is None:
        return 0
    import pynvml

    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    return 0


def visible_devices(environment: Mapping[str, str]) -> list[str] | None:
    """Return the devices that the environment lets CUDA see, by its names for them; None where it does not say."""
    text = environment.get(_CUDA)
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


class VisibleGpus:
    """Shows a process the devices that are reserved for its next tests, by the variables that CUDA reads.

    Tests that reserved none find the variables as the process was started with. CUDA reads them when a process
    first uses a gpu, and not again; that is why an executor is given the same devices as before where possible.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment
        self._before = environment.get(_CUDA)
        self._names = visible_devices(environment)
        self._shown: Sequence[int] = []

    def show(self, gpus: Sequence[int]) -> None:
        if gpus == self._shown:
            return
        self._shown = gpus
        names = [str(gpu) if self._names is None else self._names[gpu] for gpu in gpus]
        self._set(_DRM, ",".join(map(str, gpus)) if gpus else None)
        self._set(_CUDA, ",".join(names) if gpus else self._before)

    def _set(self, name: str, value: str | None) -> None:
        if value is None:
            self._environment.pop(name, None)
        else:
            self._environment[name] = value
