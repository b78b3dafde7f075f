"""Averages over a sliding window, by hand-counted cases."""

from __future__ import annotations

import pytest

from drm.dynamic_resource_manager import DynamicResourceManager, ScalingSettings, Utilization
from drm.model.resources import Resources


def manager_with(*cpus: float, window_s: float = 60.0) -> DynamicResourceManager:
    manager = DynamicResourceManager(ScalingSettings(window_s=window_s))
    for number, cores in enumerate(cpus):
        capacity = Resources(cpu_cores=cores, memory_bytes=1000)
        manager.register_worker(f"w{number}", worker_type="t", capacity=capacity, now_s=0.0)
    return manager


def test_reserved_share_is_averaged_over_time() -> None:
    manager = manager_with(4)
    manager.reserve_resources("w0", "r", Resources(cpu_cores=4, memory_bytes=500), now_s=5.0)
    manager.release_resources("r", now_s=10.0)
    manager.update_worker_resources("w0", Resources(), now_s=20.0)
    utilization = manager.get_worker_utilization("w0")
    assert utilization.cpu_reserved == pytest.approx(5 / 20)
    assert utilization.memory_reserved == pytest.approx(0.5 * 5 / 20)
    assert utilization.gpu_reserved == 0
    assert utilization.window_s == 20


def test_use_can_pass_the_capacity() -> None:
    manager = manager_with(2)
    manager.update_worker_resources("w0", Resources(cpu_cores=3), now_s=0.0)
    manager.update_worker_resources("w0", Resources(cpu_cores=3), now_s=4.0)
    assert manager.get_worker_utilization("w0").cpu_used == pytest.approx(1.5)


def test_a_worker_that_shrinks_was_not_used_more_than_in_whole() -> None:
    manager = manager_with(4)
    manager.reserve_resources("w0", "r", Resources(cpu_cores=4), now_s=0.0)
    manager.release_resources("r", now_s=30.0)
    manager.update_worker_resources("w0", now_s=30.0, allocatable=Resources(cpu_cores=1, memory_bytes=0))
    assert manager.get_worker_utilization("w0").cpu_reserved == 1.0
    manager.reserve_resources("w0", "r", Resources(cpu_cores=0.5), now_s=30.0)
    manager.update_worker_resources("w0", now_s=60.0, allocatable=Resources(cpu_cores=2, memory_bytes=1000))
    assert manager.get_worker_utilization("w0").cpu_reserved == pytest.approx(0.75), "all of it, then half of it"


def test_all_workers_together_are_weighted_by_capacity() -> None:
    manager = manager_with(1, 3)
    manager.reserve_resources("w1", "r", Resources(cpu_cores=3), now_s=0.0)
    manager.update_worker_resources("w0", Resources(), now_s=10.0)
    assert manager.get_worker_utilization().cpu_reserved == pytest.approx(0.75)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    manager = manager_with(1, window_s=12.0)
    manager.reserve_resources("w0", "r", Resources(cpu_cores=1), now_s=0.0)
    manager.release_resources("r", now_s=100.0)
    for second in range(101, 121):
        manager.update_worker_resources("w0", Resources(), now_s=float(second))
    utilization = manager.get_worker_utilization("w0")
    assert utilization.cpu_reserved == 0
    assert 12 <= utilization.window_s <= 13


def test_before_any_time_has_passed_the_present_level_counts() -> None:
    manager = manager_with(2)
    manager.reserve_resources("w0", "r", Resources(cpu_cores=1), now_s=0.0)
    assert manager.get_worker_utilization("w0").cpu_reserved == pytest.approx(0.5)


def test_a_clock_that_goes_back_counts_nothing() -> None:
    manager = manager_with(2)
    manager.reserve_resources("w0", "r", Resources(cpu_cores=2), now_s=10.0)
    manager.release_resources("r", now_s=5.0)
    manager.update_worker_resources("w0", Resources(), now_s=20.0)
    assert manager.get_worker_utilization("w0").cpu_reserved == 0


def test_no_worker_no_utilization() -> None:
    assert DynamicResourceManager().get_worker_utilization() == Utilization()


def test_each_amount_is_averaged_by_itself() -> None:
    """A fourth of the cores is reserved from 2.5 s on, half of them is used from 5 s on; so for memory and gpus."""
    manager = DynamicResourceManager(ScalingSettings(window_s=12.0))
    whole = Resources(cpu_cores=4, memory_bytes=1000, gpus=2)
    manager.register_worker("w", worker_type="t", capacity=whole, now_s=0.0)
    manager.reserve_resources("w", "r", Resources(cpu_cores=1, memory_bytes=400, gpus=1), now_s=2.5)
    used = Resources(cpu_cores=2, memory_bytes=300, gpus=0.25)
    manager.update_worker_resources("w", used, now_s=5.0)
    manager.update_worker_resources("w", used, now_s=10.0)
    assert manager.get_worker_utilization("w") == Utilization(
        cpu_reserved=0.1875,
        memory_reserved=0.3,
        gpu_reserved=0.375,
        cpu_used=0.25,
        memory_used=0.15,
        gpu_used=0.0625,
        window_s=10.0,
    )
    manager.update_worker_resources("w", used, now_s=14.5)  # the first 2.5 s are out of the window
    found = manager.get_worker_utilization("w")
    assert found.window_s == 12.0
    assert (found.cpu_reserved, found.memory_reserved, found.gpu_reserved) == pytest.approx((0.25, 0.4, 0.5))
    parts = 9.5 / 12 * 0.5, 9.5 / 12 * 0.3, 9.5 / 12 * 0.125
    assert (found.cpu_used, found.memory_used, found.gpu_used) == pytest.approx(parts)
    manager.update_worker_resources("w", used, now_s=22.0)  # and so are those before its use was known
    found = manager.get_worker_utilization("w")
    assert (found.cpu_used, found.memory_used, found.gpu_used) == pytest.approx((0.5, 0.3, 0.125))
    assert (found.cpu_reserved, found.memory_reserved, found.gpu_reserved) == pytest.approx((0.25, 0.4, 0.5))


def test_what_is_heard_of_one_worker_tells_the_time_for_all() -> None:
    manager = manager_with(4, 4)
    manager.reserve_resources("w0", "r", Resources(cpu_cores=4), now_s=5.0)
    manager.update_worker_resources("w1", Resources(), now_s=10.0)
    manager.update_worker_resources("w1", Resources(), now_s=8.0)
    utilization = manager.get_worker_utilization("w0")
    assert (utilization.cpu_reserved, utilization.window_s) == (0.5, 10.0)


def test_together_each_amount_is_weighted_by_its_own_capacity() -> None:
    manager = DynamicResourceManager()
    for name, cores, memory, gpus in (("small", 1, 3000, 0), ("large", 3, 1000, 2)):
        capacity = Resources(cpu_cores=cores, memory_bytes=memory, gpus=gpus)
        manager.register_worker(name, worker_type="t", capacity=capacity, now_s=0.0)
    manager.reserve_resources("small", "a", Resources(cpu_cores=0.5, memory_bytes=1000), now_s=0.0)
    manager.reserve_resources("large", "b", Resources(cpu_cores=1.5, memory_bytes=200, gpus=0.5), now_s=0.0)
    manager.update_worker_resources("small", Resources(cpu_cores=0.25, memory_bytes=600), now_s=0.0)
    manager.update_worker_resources("large", Resources(cpu_cores=0.75, memory_bytes=400, gpus=1.5), now_s=0.0)
    assert manager.get_worker_utilization() == Utilization(
        cpu_reserved=0.5, memory_reserved=0.3, gpu_reserved=0.25, cpu_used=0.25, memory_used=0.25, gpu_used=0.75
    )


def test_the_fullest_resource_is_the_one_that_limits() -> None:
    assert Utilization(cpu_reserved=0.5, memory_reserved=0.4, gpu_reserved=0.3).fullest == ("cpu", 0.5)
    assert Utilization(cpu_reserved=0.3, memory_reserved=0.5, gpu_reserved=0.4).fullest == ("memory", 0.5)
    assert Utilization(cpu_reserved=0.3, memory_reserved=0.4, gpu_reserved=0.5).fullest == ("gpu", 0.5)
