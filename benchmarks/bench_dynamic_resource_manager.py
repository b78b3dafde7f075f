"""What the ledger costs per event, and a scaling decision."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.workloads import CPU, workers
from drm.dynamic_resource_manager import DynamicResourceManager, ScalingSettings
from drm.model.cluster import QueueView
from drm.model.plan import ScalingAction
from drm.model.resources import Resources

ONE = Resources(cpu_cores=1, memory_bytes=2**30)


def manager_with(count: int, settings: ScalingSettings | None = None) -> DynamicResourceManager:
    manager = DynamicResourceManager(settings)
    for worker in workers(count):
        manager.register_worker(worker.worker_id, worker_type=worker.worker_type, capacity=worker.capacity, now_s=0.0)
    return manager


def test_reserve_and_release(measure: Any) -> None:
    manager = manager_with(10)

    def reserve_and_release() -> None:
        manager.reserve_resources("w3", "r", ONE, now_s=1.0)
        manager.release_resources("r", now_s=2.0)

    measure(reserve_and_release, iterations=1000)
    assert manager.free("w3") == CPU.capacity


def test_snapshot_after_one_change(measure: Any) -> None:
    manager = manager_with(1000)

    def change_and_look() -> None:
        manager.update_worker_resources("w3", ONE, now_s=1.0)
        manager.snapshot(1.0)

    measure(change_and_look, iterations=20, workers=1000)


@pytest.mark.parametrize("policy", ["makespan", "utilization"])
def test_evaluate_scaling(measure: Any, policy: str) -> None:
    manager = manager_with(1000, ScalingSettings.of_policy(policy))
    for number in range(1000):
        manager.reserve_resources(f"w{number}", f"r{number}", ONE, now_s=0.0)
    queue = QueueView(waiting=10_000, runnable=10_000, waiting_s=2_000_000.0, longest_s=60.0, per_worker=4.0)
    decision = measure(
        lambda: manager.evaluate_scaling(CPU, queue, now_s=1.0, pending=0, minimum=0, maximum=1000, total_workers=1000),
        iterations=5,
        workers=1000,
    )
    assert decision.action is (ScalingAction.DENIED if policy == "makespan" else ScalingAction.HOLD)
