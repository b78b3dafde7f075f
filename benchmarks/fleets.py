"""Large synthetic workloads by columns, the same for the same seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drm.resource_optimizer.fleet import Fleet, Request, TaskTable, Worker

GIB = 2**30
MIB = 2**20


def mixed_fleet(count: int) -> Fleet:
    """Return workers of which every tenth has 4 gpus, every tenth much memory, and the others are of three sizes."""
    sizes = [(8_000, 32), (16_000, 64), (32_000, 128)]
    workers = []
    for number in range(count):
        cpu, gib = (16_000, 256) if number % 10 == 8 else (16_000, 128) if number % 10 == 9 else sizes[number % 3]
        workers.append(
            Worker(
                worker_id=f"w{number}",
                cpu_milli=cpu,
                memory_bytes=gib * GIB,
                gpu_devices=4 if number % 10 == 9 else 0,
            )
        )
    return Fleet.of(workers)


def mixed_tasks(count: int, classes: int, fleet: Fleet, *, seed: int = 42, load: float = 0.9) -> TaskTable:
    """Return tasks of about so many classes that ask for ``load`` of the fleet's cpu and gpus, and of memory for less.

    Amounts are lognormal; common classes come a hundred times as often as rare ones (Zipf); one class in 20
    wants a gpu or a part of one. ``classes`` 0: all tasks differ, and classes are rounded up.
    """
    rng = np.random.default_rng(seed)
    distinct = classes or count
    number = np.arange(distinct)
    wants = number % 20 == 7
    milli = np.where(wants, np.array([250, 500, 300, 1000])[number // 20 % 4], 0)
    weight = 1 / (1 + number % 100)
    gpu_tasks = load * float(fleet.devices.sum()) / (milli[wants].mean() * count)
    weight[wants] *= gpu_tasks / weight[wants].sum()
    weight[~wants] *= (1 - gpu_tasks) / weight[~wants].sum()
    if classes:
        of = rng.choice(distinct, count, p=weight / weight.sum())
    else:
        of, milli = number, np.where(rng.random(count) < gpu_tasks, milli[rng.choice(number[wants], count)], 0)
    cpu = np.minimum(rng.lognormal(0.0, 0.8, distinct), 10.0)
    memory = cpu * np.minimum(rng.lognormal(0.0, 0.6, distinct), 5.0)
    cpu *= float(fleet.capacity[0].sum()) * load / cpu[of].sum()
    memory *= float(fleet.capacity[1].sum()) * load * 0.8 / memory[of].sum()
    cpu_milli = np.maximum(1, cpu).astype(np.int64)
    memory_bytes = np.maximum(1, memory / MIB).astype(np.int64) * MIB
    return TaskTable.from_columns(cpu_milli[of], memory_bytes[of], gpu_milli=milli[of], rounded=not classes)


def planted(count: int, *, seed: int = 42, slack: float = 0.03, per_worker: int = 100) -> tuple[TaskTable, Fleet]:
    """Return tasks that fill their workers exactly, but for the slack: all could be placed. All tasks differ.

    Workers of one size are cut, each resource by itself, into ``per_worker`` lognormal parts.
    """
    rng = np.random.default_rng(seed)
    workers = count // per_worker
    cpu, memory = 64_000, 256 * GIB // MIB
    parts = [_cut(rng.lognormal(0.0, 0.7, (workers, per_worker)), whole) for whole in (cpu, memory)]
    order = rng.permutation(workers * per_worker)
    fleet = Fleet.of(
        [
            Worker(
                worker_id=f"w{number}", cpu_milli=int(cpu * (1 + slack)), memory_bytes=int(memory * (1 + slack)) * MIB
            )
            for number in range(workers)
        ]
    )
    return TaskTable.from_columns(parts[0].ravel()[order], parts[1].ravel()[order] * MIB, rounded=True), fleet


def _cut(weights: NDArray[np.float64], whole: int) -> NDArray[np.int64]:
    """Return whole numbers, at least 1, in about these proportions, that add up to ``whole`` in each row."""
    ends = np.cumsum(weights, axis=1)
    room = whole - weights.shape[1]
    cuts = np.floor(ends / ends[:, -1:] * room).astype(np.int64)
    cuts[:, -1] = room
    return np.diff(cuts, axis=1, prepend=0) + 1


def online_fleet(count: int, *, gpus: int = 0) -> Fleet:
    """Return workers of three sizes; those of the largest have ``gpus``."""
    sizes = [(4_000, 16), (8_000, 64), (16_000, 32)]
    return Fleet.of(
        [
            Worker(worker_id=f"w{number}", cpu_milli=cpu, memory_bytes=gib * GIB, gpu_devices=gpus * (cpu == 16_000))
            for number in range(count)
            for cpu, gib in [sizes[number % 3]]
        ]
    )


def online_requests() -> list[Request]:
    """Return 36 classes."""
    return [
        Request(cpu_milli=cpu, memory_bytes=int(gib * GIB))
        for cpu in (250, 500, 1000, 2000, 3000, 4000)
        for gib in (0.25, 0.5, 1, 2, 4, 8)
    ]


def gpu_requests() -> list[Request]:
    """Return 12 classes: shares of a gpu and whole ones."""
    shares = [Request(cpu_milli=500 * n, memory_bytes=n * GIB, gpu_milli=125 * n) for n in range(1, 8)]
    return shares + [Request(cpu_milli=1_000 * n, memory_bytes=2 * n * GIB, gpu_devices=n) for n in (1, 2, 3, 4, 8)]
