"""How long a run takes by the queue's choices, in virtual time, against LPT: every test anywhere, longest first."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from random import Random

import pytest

from drm.model.claims import claims_of
from drm.model.resources import Requirements, Resources
from drm.model.work import Forecast, Task
from drm.resource_optimizer.kinds import QueueSettings, Room
from drm.resource_optimizer.queue import WorkQueue

OVERHEAD_S = 0.003  # per batch: the message, and the answer to it
SKEWED = {
    "one of 10 s last": [0.05] * 200 + [10.0],
    "four of 5 s last": [0.05] * 200 + [5.0] * 4,
    "eight of 2.5 s first": [2.5] * 8 + [0.05] * 200,
}


def suite(modules: Sequence[Sequence[float]], memory: Sequence[int] = (0,)) -> list[Task]:
    """Return tests that take so many seconds each, module by module; ``memory`` (bytes) goes round."""
    tasks: list[Task] = []
    for number, module in enumerate(modules):
        for seconds in module:
            amounts = Resources(cpu_cores=1, memory_bytes=memory[len(tasks) % len(memory)])
            task = Task(
                task_id=f"m{number}.py::t{len(tasks)}",
                scope=f"m{number}.py",
                position=len(tasks),
                requirements=Requirements(amounts=amounts),
                forecast=Forecast(wall_s=seconds, memory_bytes=0),
            )
            tasks.append(task)
    return tasks


def run(
    tasks: Sequence[Task], executors: int, *, wrong: float = 0.0, file_order: bool = False, gpus: int = 0
) -> tuple[float, int]:
    """Let executors take from the queue until all is done; return the makespan and how often one changed its module.

    ``wrong``: by how much, as a share of itself, a test's real time may differ from the forecast.
    """
    chance = Random(1)
    real_s = {task.task_id: task.expected_s * (1 + chance.uniform(-wrong, wrong)) for task in tasks}
    forecast = {task.task_id: task.expected_s for task in tasks}
    whole = free = Resources(cpu_cores=executors, memory_bytes=2**40, gpus=gpus)
    held = dict[str, Resources]()
    settings = QueueSettings(largest=whole, executors=executors, file_order=file_order)
    queue = WorkQueue(lambda task_id, _: forecast[task_id], settings)
    queue.add(tasks)
    ends: list[tuple[float, str]] = [(0.0, "")]
    idle = [f"gw{number}" for number in range(executors)]
    changes, scopes, now = 0, dict[str, str](), 0.0
    while ends:
        now, ended = heapq.heappop(ends)
        if ended:
            queue.release(ended)
            free += held.pop(ended)
            idle.append(ended)
        for executor_id in tuple(reversed(idle)):
            batch = queue.take(executor_id, Room(free=free, whole=whole), share=executors)
            if batch is None:
                continue
            idle.remove(executor_id)
            held[executor_id] = batch.amounts
            free -= batch.amounts
            for task in batch.tasks:
                changes += scopes.get(executor_id) != task.scope
                scopes[executor_id] = task.scope
            end = now + OVERHEAD_S + sum(real_s[task.task_id] for task in batch.tasks)
            heapq.heappush(ends, (end, executor_id))
    assert len(queue) == 0
    return now, changes


def lpt_s(tasks: Sequence[Task], executors: int) -> float:
    """Return the makespan of longest processing time first (Graham 1969)."""
    ends = [0.0] * executors
    for seconds in sorted((task.expected_s for task in tasks), reverse=True):
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def like_networkx() -> list[list[float]]:
    """6,900 tests in 200 modules: log-normal times, so that a hundredth of them takes half of it."""
    chance = Random(7)
    sizes = [max(1, round(math.exp(chance.gauss(3.0, 1.0)))) for _ in range(200)]
    scale = 6900 / sum(sizes)
    return [
        [min(12.0, math.exp(chance.gauss(-5.5, 1.9))) for _ in range(max(1, round(size * scale)))] for size in sizes
    ]


@pytest.mark.parametrize("executors", [2, 4])
@pytest.mark.parametrize("name", SKEWED)
def test_skewed_suites(name: str, executors: int) -> None:
    for modules in ([SKEWED[name]], [[seconds] for seconds in SKEWED[name]], [SKEWED[name], [0.05] * 20]):
        tasks = suite(modules)
        assert run(tasks, executors)[0] <= 1.05 * lpt_s(tasks, executors)


@pytest.mark.parametrize("executors", [2, 4, 8])
@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_a_suite_like_networkx(executors: int, wrong: float) -> None:
    modules = like_networkx()
    tasks = suite(modules)
    makespan, changes = run(tasks, executors, wrong=wrong)
    assert makespan <= 1.05 * lpt_s(tasks, executors)
    assert changes <= 2 * len(modules), "modules are kept together where it costs nothing"


@pytest.mark.parametrize("executors", [2, 4])
def test_tests_that_ask_for_different_amounts(executors: int) -> None:
    tasks = suite(like_networkx(), memory=[2**26, 2**28, 2**27])
    assert run(tasks, executors)[0] <= 1.05 * lpt_s(tasks, executors)


@pytest.mark.parametrize("plain", [60, 120, 600])
def test_a_bottleneck_is_kept_busy(plain: int) -> None:
    """Half of the executors have a gpu to run on, one lock has a chain behind it, and there is other work."""
    executors, gpus, seconds = 4, 2, 0.05
    amounts = Resources(cpu_cores=1, gpus=1)
    gpu = [_needy(n, "gpu.py", seconds, Requirements(amounts=amounts)) for n in range(120)]
    locked = [_needy(n, f"db{n % 3}.py", seconds, Requirements(claims=claims_of(locks=["db"]))) for n in range(40)]
    tasks = [*suite([[seconds] * (plain // 4)] * 4), *locked, *gpu]
    total_s = sum(task.expected_s for task in tasks)
    bound_s = max(total_s / executors, len(gpu) * seconds / gpus)
    assert run(tasks, executors, gpus=gpus)[0] <= 1.1 * bound_s


def _needy(number: int, scope: str, seconds: float, requirements: Requirements) -> Task:
    forecast = Forecast(wall_s=seconds, memory_bytes=0)
    return Task(
        task_id=f"{scope}::t{number}",
        scope=scope,
        position=10**6 + number,
        requirements=requirements,
        forecast=forecast,
    )


def test_taking_costs_no_more_in_a_long_suite_than_in_a_short_one() -> None:
    for tests in (200, 20_000):
        tasks = suite([[0.001] * 100] * (tests // 100))
        asked = 0

        def expected(task_id: str, scope: str) -> float:
            nonlocal asked
            asked += 1
            return 0.001

        whole = Resources(cpu_cores=2)
        queue = WorkQueue(expected, QueueSettings(largest=whole, executors=2))
        queue.add(tasks)
        takes = 0
        while queue.take(f"gw{takes % 2}", Room(free=whole, whole=whole), share=2) is not None:
            queue.release(f"gw{takes % 2}")
            takes += 1
        assert asked <= tests + takes


def test_a_module_is_split_only_where_it_would_lengthen_the_run() -> None:
    alike = suite([[0.3] * 20 for _ in range(8)])
    assert run(alike, 2)[1] == 8
    one = suite([[0.3] * 20])
    makespan, changes = run(one, 4)
    assert changes == 4
    assert makespan <= 1.05 * lpt_s(one, 4)


def test_file_order_is_dearer_and_bounded() -> None:
    tasks = suite([[seconds] for seconds in SKEWED["one of 10 s last"]])
    assert 1.3 * lpt_s(tasks, 2) < run(tasks, 2, file_order=True)[0] < 15.5
