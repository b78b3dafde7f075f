"""The gpus of this machine, and which of them a test is shown."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from itertools import takewhile

from drm.model.errors import ConfigError

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
    """Return the devices that the environment lets CUDA see, by its names for them; None where it does not say.

    A number below 0 ends the list, as it does for CUDA (programming guide, "CUDA Environment Variables"): -1 hides all.
    """
    text = environment.get(_CUDA)
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    return list(takewhile(lambda name: not name.startswith("-"), names))


def usable_gpus(environment: Mapping[str, str]) -> int:
    """Return how many gpus there are that CUDA may see."""
    visible = visible_devices(environment)
    return machine_gpus() if visible is None else min(machine_gpus(), len(visible))


def check_gpus(count: float, environment: Mapping[str, str], what: str) -> None:
    """ConfigError where more gpus are declared than CUDA may see."""
    visible = visible_devices(environment)
    if visible is not None and count > len(visible):
        raise ConfigError(
            f"{what}: {count:g} gpus, and CUDA_VISIBLE_DEVICES shows {len(visible)}", remedy="change one of them"
        )


def shown(environment: Mapping[str, str], gpus: Sequence[int]) -> dict[str, str]:
    """Return the variables by which a process is shown these of the devices that the environment shows; {} of none."""
    if not gpus:
        return {}
    names = visible_devices(environment)
    return {
        _DRM: ",".join(map(str, gpus)),
        _CUDA: ",".join(str(gpu) if names is None else names[gpu] for gpu in gpus),
    }


class VisibleGpus:
    """Shows a process the devices that are reserved for its next tests, by the variables that CUDA reads.

    Tests that reserved none find the variables as the process was started with. CUDA reads them when a process
    first uses a gpu, and not again; that is why an executor is given the same devices as before where possible.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment
        self._before = {name: environment[name] for name in (_CUDA, _DRM) if name in environment}
        self._shown: Sequence[int] = []

    def show(self, gpus: Sequence[int]) -> None:
        if gpus == self._shown:
            return
        self._shown = gpus
        for name in (_CUDA, _DRM):
            self._environment.pop(name, None)
        self._environment.update(shown(self._before, gpus) or self._before)
