"""Suites whose shortest run is known to a small part: workers that nothing but a good order fills."""

from __future__ import annotations

import random

from drm.model.cluster import WorkerType, WorkerView
from drm.model.resources import Requirements, Resources
from drm.model.work import Forecast, Task

GIB = 2**30
SHAPES = ((1, 2), (1, 4), (2, 4), (2, 8), (4, 8), (4, 16), (1, 1), (3, 8))  # cores, GiB
WORKER = WorkerType(name="w", capacity=Resources(cpu_cores=8, memory_bytes=32 * GIB))


def tight(workers: int, per_worker: int, *, seed: int = 42) -> tuple[list[Task], list[WorkerView]]:
    """Return tests of 1 to 10 s in eight shapes: a run is too long where a worker is idle before its end."""
    rng = random.Random(seed)
    tasks = []
    for number in range(workers * per_worker):
        cpu, gib = SHAPES[rng.randrange(len(SHAPES))]
        amounts = Resources(cpu_cores=cpu, memory_bytes=gib * GIB)
        tasks.append(
            Task(
                task_id=f"t{number}",
                scope="m",
                position=number,
                requirements=Requirements(amounts=amounts),
                forecast=Forecast(wall_s=rng.uniform(1.0, 10.0), memory_bytes=0),
            )
        )
    return tasks, [WorkerView.planned(f"w{number}", WORKER) for number in range(workers)]


def with_error(tasks: list[Task], spread: float, *, seed: int = 7) -> dict[str, float]:
    """Return how long the tests really take: lognormal about what is predicted."""
    rng = random.Random(seed)
    return {task.task_id: task.expected_s * rng.lognormvariate(0.0, spread) for task in tasks}


def with_stragglers(count: int, *, seed: int = 42) -> tuple[dict[str, float], dict[str, float]]:
    """Return predicted and real seconds of tests of 1 to 10 s, of which every hundredth takes eight times as long."""
    rng = random.Random(seed)
    expected = {f"t{number}": rng.uniform(1.0, 10.0) for number in range(count)}
    late = set(rng.sample(sorted(expected), count // 100))
    return expected, {task: seconds * (8 if task in late else 1) for task, seconds in expected.items()}
