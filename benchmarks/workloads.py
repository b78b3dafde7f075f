"""Synthetic suites and workers, the same for the same seed."""

from __future__ import annotations

import random

from drm.model.claims import claims_of
from drm.model.cluster import WorkerState, WorkerType, WorkerView
from drm.model.resources import Requirements, Resources
from drm.model.work import Forecast, Task

GIB = 2**30
CPU = WorkerType(name="cpu", capacity=Resources(cpu_cores=8, memory_bytes=32 * GIB), usd_per_hour=0.4)
HIGH_MEMORY = WorkerType(name="high-memory", capacity=Resources(cpu_cores=8, memory_bytes=128 * GIB), usd_per_hour=0.9)
GPU = WorkerType(
    name="gpu",
    capacity=Resources(cpu_cores=8, memory_bytes=64 * GIB, gpus=4),
    labels=frozenset({"cuda"}),
    usd_per_hour=3.0,
)
TYPES = (CPU, HIGH_MEMORY, GPU)


def suite(count: int, *, seed: int = 42) -> list[Task]:
    """Return tests with heavy-tailed durations (lognormal, sigma 1.5) and 36 classes of requirements."""
    rng = random.Random(seed)
    plain = [
        Requirements(amounts=Resources(cpu_cores=cpu, memory_bytes=int(gib * GIB)))
        for cpu in (0.5, 1, 2, 4)
        for gib in (0.25, 0.5, 1, 2, 4, 8, 16)
    ]
    special = [Requirements(amounts=Resources(cpu_cores=1, memory_bytes=48 * GIB))]
    special += [
        Requirements(amounts=Resources(cpu_cores=1, memory_bytes=gib * GIB, gpus=gpus), labels=frozenset({"cuda"}))
        for gpus in (0.5, 1)
        for gib in (2, 8)
    ]
    special += [
        Requirements(amounts=Resources(cpu_cores=1, memory_bytes=GIB), claims=claims_of(locks=[f"db{n}"]))
        for n in range(3)
    ]
    weights = [7.0 - row % 7 for row in range(len(plain))] + [0.3, *[1.0] * 4, *[0.01] * 3]
    chosen = rng.choices([*plain, *special], weights, k=count)
    return [
        Task(
            task_id=f"tests/test_{number // 40}.py::test_{number}",
            scope=f"tests/test_{number // 40}.py",
            position=number,
            requirements=requirements,
            forecast=Forecast(wall_s=rng.lognormvariate(-1.5, 1.5), memory_bytes=0),
        )
        for number, requirements in enumerate(chosen)
    ]


def workers(count: int) -> list[WorkerView]:
    """Return ready workers: of every ten, seven cpu, one high-memory and two gpu."""
    kinds = [CPU] * 7 + [HIGH_MEMORY] + [GPU] * 2
    return [
        WorkerView(
            worker_id=f"w{number}",
            worker_type=kind.name,
            state=WorkerState.READY,
            capacity=kind.capacity,
            allocatable=kind.capacity,
            labels=kind.labels,
        )
        for number in range(count)
        for kind in [kinds[number % 10]]
    ]
