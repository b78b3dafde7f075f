"""Decisions at scale: how long they take, and how good they are. Quality is the same on every machine, so it fails."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.bounds import most_that_fits
from benchmarks.fleets import gpu_requests, mixed_fleet, mixed_tasks, online_fleet, online_requests, planted
from benchmarks.naive import Naive
from drm.resource_optimizer.fleet import Fleet, OnlineAllocator, Placed, Request, TaskTable, Worker, allocate_resources

_FIRST_ROUNDS = 10  # of 2,000 events, told apart: the states that workers with gpus come to are new then
_NAIVE_SAMPLE = 30  # tasks that the loops place before their time is taken for that of all: they take hours for all


@pytest.fixture
def large(request: pytest.FixtureRequest) -> None:
    """Skip what takes long where --quick was asked for."""
    if request.config.getoption("--quick"):
        pytest.skip("left out with --quick")


@pytest.mark.parametrize(
    ("tasks", "workers", "least"), [(1_000, 10, 0.965), (10_000, 100, 0.98), (100_000, 1_000, 0.985)]
)
def test_allocate_36_classes(measure: Any, tasks: int, workers: int, least: float) -> None:
    fleet = mixed_fleet(workers)
    table = mixed_tasks(tasks, 36, fleet, load=1.15)
    plan = measure(lambda: allocate_resources(table, fleet), tasks=tasks, workers=workers)
    fills = filled(plan.worker, table, fleet)
    measure.extra["filled_of_lp_bound"] = round(fills, 4)
    assert fills >= least, "the plan gives out less of the scarcest resource than it did"


PEAK = """
import resource, sys
from benchmarks.fleets import mixed_fleet, mixed_tasks
from drm.resource_optimizer.fleet import allocate_resources
fleet = mixed_fleet(10_000)
allocate_resources(mixed_tasks(1_000_000, int(sys.argv[1]), fleet), fleet)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_megabytes(classes: int) -> int:
    """Return the most memory that a process of its own held for the whole of it, interpreter and tasks included."""
    command = [sys.executable, "-c", PEAK, str(classes)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return int(ran.stdout) // 10**6


@pytest.mark.parametrize("classes", [1_200, 8_000, 0])
@pytest.mark.usefixtures("large")
def test_allocate_a_million(measure: Any, classes: int) -> None:
    fleet = mixed_fleet(10_000)
    table = mixed_tasks(1_000_000, classes, fleet)
    columns = table.exact

    def plan() -> Any:
        tasks = table
        if columns is not None:  # rounding up is part of the work
            milli = [request.gpu_milli for request in table.requests]
            gpu = np.array(milli)[table.class_of]
            tasks = TaskTable.from_columns(columns[0], columns[1], gpu_milli=gpu, rounded=True)
        return allocate_resources(tasks, fleet)

    made = measure(plan, tasks=1_000_000, workers=10_000, classes=len(table.requests))
    measure.extra["placed"] = made.placed
    measure.extra["peak_rss_mb"] = peak_megabytes(classes)
    assert made.placed == 1_000_000, "nine tenths of the fleet are enough for all"
    assert measure.extra["peak_rss_mb"] <= 350


@pytest.mark.parametrize(
    ("tasks", "per_worker", "least"),
    [(10_000, 100, 0.975), (100_000, 100, 0.988), (1_000_000, 100, 0.995), (10_000, 20, 0.975), (100_000, 20, 0.975)],
)
def test_planted_perfect_instance(measure: Any, request: Any, tasks: int, per_worker: int, least: float) -> None:
    if tasks > 100_000:
        request.getfixturevalue("large")
    table, fleet = planted(tasks, per_worker=per_worker)
    plan = measure(lambda: allocate_resources(table, fleet), tasks=tasks, workers=len(fleet))
    measure.extra["placed_share"] = plan.placed / tasks
    assert plan.placed / tasks >= least, "all of them could be placed"


def test_against_loops_over_workers(measure: Any) -> None:
    fleet, workers = online_fleet(1_000), online_workers(1_000)
    rng = random.Random(42)
    requests = online_requests()
    asked = [requests[rng.randrange(len(requests))] for _ in range(100_000)]
    table = TaskTable.of((str(number), request) for number, request in enumerate(asked))
    started = time.process_time()
    measure(lambda: allocate_resources(table, fleet), tasks=100_000, workers=1_000, classes=36)
    naive = Naive(workers)
    started = time.process_time()
    for request in asked[:_NAIVE_SAMPLE]:
        assert naive.place(request) is not None
    loops_s = (time.process_time() - started) / _NAIVE_SAMPLE * len(asked)
    started = time.process_time()
    allocate_resources(table, fleet)
    faster = loops_s / (time.process_time() - started)
    measure.extra["times_faster_than_loops"] = round(faster)
    assert faster >= 100


@pytest.mark.parametrize("workers", [1_000, 10_000])
def test_online_event(measure: Any, workers: int) -> None:
    """Tasks of 36 classes come and go, about as many of each, on a fleet in use."""
    come_and_go(measure, online_fleet(workers), online_requests())


@pytest.mark.parametrize("workers", [1_000, 10_000])
def test_online_event_with_gpus(measure: Any, workers: int) -> None:
    """The same where a third of the workers has 8 gpus and a quarter of the classes asks for some."""
    come_and_go(measure, online_fleet(workers, gpus=8), online_requests() + gpu_requests())


def come_and_go(measure: Any, fleet: Fleet, requests: list[Request]) -> None:
    """Measure releases and allocations, one in place of the other: all together, and the median and worst hundredth."""
    rng = random.Random(42)
    workers = len(fleet.ids)
    allocator = OnlineAllocator(fleet, expected=dict.fromkeys(requests, 1.0))
    numbers = allocator.intern_all(requests)
    first = map(str, range(3 * workers))
    live = [
        task for task in first if isinstance(allocator.allocate(task, numbers[rng.randrange(len(numbers))]), Placed)
    ]
    took: list[int] = []
    clock = time.perf_counter_ns
    counter = iter(range(3 * workers, 10**9))

    def events() -> None:
        for _ in range(1_000):
            place = rng.randrange(len(live))
            live[place], live[-1] = live[-1], live[place]
            task = live.pop()
            started = clock()
            allocator.release(task)
            took.append(clock() - started)
            task, number = str(next(counter)), numbers[rng.randrange(len(numbers))]
            started = clock()
            placed = allocator.allocate(task, number)
            took.append(clock() - started)
            if isinstance(placed, Placed):
                live.append(task)

    for _ in range(_FIRST_ROUNDS):
        events()
    first_p99 = np.percentile(took, 99) / 1000
    took.clear()
    measure(events, workers=workers, events=2_000)
    p50, p99 = np.percentile(took, [50, 99]) / 1000
    measure.extra.update(
        event_p50_us=round(p50, 1),
        event_p99_us=round(p99, 1),
        first_events_p99_us=round(first_p99, 1),
        reservations=len(live),
    )
    while live:
        allocator.release(live.pop())
    assert (allocator.free().free == allocator.free().capacity).all(), "releasing all gives back every integer"


def test_online_gpu_event(measure: Any) -> None:
    """Shares of gpus and whole ones come and go on 300 workers with 8 gpus each."""
    rng = random.Random(42)
    workers = [Worker(worker_id=f"w{n}", cpu_milli=96_000, memory_bytes=2**38, gpu_devices=8) for n in range(300)]
    requests = [Request(cpu_milli=2_000 + 500 * n, memory_bytes=2**30, gpu_milli=200 + 75 * n) for n in range(10)]
    requests += [Request(cpu_milli=8_000 * n, memory_bytes=2**33, gpu_devices=n) for n in (1, 2, 4, 8)]
    allocator = OnlineAllocator(Fleet.of(workers), expected=dict.fromkeys(requests, 1.0))
    numbers = allocator.intern_all(requests)
    live: list[str] = []
    counter = iter(range(10**9))

    def events() -> None:
        for _ in range(200):
            if len(live) > 1_500:
                allocator.release(live.pop(rng.randrange(len(live))))
            task = str(next(counter))
            if isinstance(allocator.allocate(task, numbers[rng.randrange(len(numbers))]), Placed):
                live.append(task)

    measure(events, workers=300)
    assert live


def online_workers(count: int) -> list[Worker]:
    fleet = online_fleet(count)
    return [
        Worker(worker_id=name, cpu_milli=int(cpu), memory_bytes=int(memory))
        for name, cpu, memory in zip(fleet.ids, fleet.capacity[0], fleet.capacity[1], strict=True)
    ]


def filled(worker: Any, table: TaskTable, fleet: Fleet) -> float:
    """Return how much cpu is given out, over the most that any plan could (an LP bound)."""
    cpu = np.array([request.cpu_milli for request in table.requests])
    given = int(cpu[table.class_of[worker >= 0]].sum())
    return given / most_that_fits(table, fleet)
