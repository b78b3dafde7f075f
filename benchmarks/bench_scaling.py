"""What one decision about workers costs when there is much to decide: 10,000 tests wait, 1,000 workers, 200 types."""

from __future__ import annotations

from typing import Any

from drm.dynamic_resource_manager import DynamicResourceManager, ScalingSettings
from drm.model.cluster import WorkerType
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.resources import Requirements, Resources
from drm.model.work import Forecast, Task
from drm.resource_optimizer import ResourceOptimizer

GIB = 2**30
TESTS, WORKERS, TYPES = 10_000, 1_000, 200


def types() -> list[WorkerType]:
    """Return types of all sizes, each at a price of its own."""
    return [
        WorkerType(
            name=f"type{number}",
            capacity=Resources(cpu_cores=2 + number % 16, memory_bytes=(4 + number % 61) * GIB, gpus=number % 3),
            usd_per_hour=0.05 + 0.013 * ((number * 37) % TYPES),
            provider="cloud",
        )
        for number in range(TYPES)
    ]


def waiting_tests() -> list[Task]:
    """Return tests of 60 kinds, predicted to take from a second to a minute."""
    kinds = [
        Requirements(amounts=Resources(cpu_cores=1 + kind % 4, memory_bytes=(1 + kind % 15) * GIB, gpus=kind % 2))
        for kind in range(60)
    ]
    return [
        Task(
            task_id=f"m{number // 40}.py::t{number}",
            scope=f"m{number // 40}.py",
            position=number,
            requirements=kinds[number % len(kinds)],
            forecast=Forecast(wall_s=1.0 + number % 60, memory_bytes=GIB, method="history"),
        )
        for number in range(TESTS)
    ]


def test_a_decision_about_every_type(measure: Any) -> None:
    offered, waiting = types(), waiting_tests()
    manager = DynamicResourceManager(ScalingSettings(boot_s=60.0))
    for number in range(WORKERS):
        kind = offered[number % TYPES]
        manager.register_worker(f"w{number}", worker_type=kind.name, capacity=kind.capacity, now_s=0.0)
        manager.reserve_resources(f"w{number}", f"r{number}", Resources(cpu_cores=1), now_s=0.0)
    optimizer = ResourceOptimizer()
    left_s = {f"w{number}": (float(number % 60),) for number in range(WORKERS)}

    def decide() -> list[ScalingDecision]:
        rows = optimizer.get_scaling_recommendations(waiting, manager.snapshot(1.0), offered, left_s)
        return [
            manager.evaluate_scaling(
                kind, queue, now_s=1.0, pending=0, minimum=0, maximum=1200, total_workers=WORKERS, boot_s=60.0
            )
            for kind, queue in rows
        ]

    decisions = measure(decide, iterations=1, tests=TESTS, workers=WORKERS, types=TYPES)
    assert len(decisions) == TYPES
    assert all(decision.action in (ScalingAction.UP, ScalingAction.HOLD) for decision in decisions)
