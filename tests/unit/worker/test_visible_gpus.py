"""Which gpus a test is shown."""

from __future__ import annotations

import pytest

from drm.model.errors import ConfigError
from drm.worker import gpus as module
from drm.worker.gpus import VisibleGpus, check_gpus, usable_gpus, visible_devices


def test_tests_without_a_gpu_find_the_environment_as_it_was() -> None:
    environment: dict[str, str] = {}
    gpus = VisibleGpus(environment)
    gpus.show([])
    assert environment == {}
    gpus.show([1, 0])
    assert environment == {"CUDA_VISIBLE_DEVICES": "1,0", "DRM_GPU_IDS": "1,0"}
    gpus.show([])
    assert environment == {}


def test_devices_are_those_that_the_process_was_given() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "GPU-aa, 3"}
    assert visible_devices(environment) == ["GPU-aa", "3"]
    gpus = VisibleGpus(environment)
    gpus.show([1])
    assert environment == {"CUDA_VISIBLE_DEVICES": "3", "DRM_GPU_IDS": "1"}
    gpus.show([0])
    assert environment == {"CUDA_VISIBLE_DEVICES": "GPU-aa", "DRM_GPU_IDS": "0"}
    gpus.show([])
    assert environment == {"CUDA_VISIBLE_DEVICES": "GPU-aa, 3"}


def test_an_environment_that_hides_all_shows_none() -> None:
    assert visible_devices({}) is None
    assert visible_devices({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "-1"}) == []
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "2, -1,3"}) == ["2"]


@pytest.mark.parametrize(("shown", "usable"), [(None, 4), ("2,0", 2), ("", 0), ("0,1,2,3,4,5", 4)])
def test_no_more_gpus_are_given_out_than_cuda_may_see(
    monkeypatch: pytest.MonkeyPatch, shown: str | None, usable: int
) -> None:
    monkeypatch.setattr(module, "machine_gpus", lambda: 4)
    environment = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    assert usable_gpus(environment) == usable
    if shown is not None:
        count = len(visible_devices(environment) or ())
        check_gpus(count, environment, "--gpus")
        with pytest.raises(ConfigError, match=rf"--gpus: {count + 1} gpus, and CUDA_VISIBLE_DEVICES shows {count}"):
            check_gpus(count + 1, environment, "--gpus")
