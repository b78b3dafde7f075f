"""The four components and the history as one system, in virtual time, with real worker processes.

What the coordinator does with them, in its smallest form: forecast, queue, scale,
reserve, run, release, record; workers are processes that only wait.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drm.cloud_provider_manager import CloudProviderManager, LocalProvider
from drm.dynamic_resource_manager import DynamicResourceManager, ScalingSettings
from drm.history import open_history
from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.resources import Requirements, Resources, total
from drm.model.samples import Sample
from drm.model.work import Outcome, Task, Usage
from drm.ports import HistoryStore
from drm.resource_optimizer import ResourceOptimizer, placement_problem
from drm.resource_performance_predictor import ResourcePerformancePredictor

GIB = 2**30
SMALL = WorkerType(name="small", capacity=Resources(cpu_cores=2, memory_bytes=2 * GIB))
LARGE = WorkerType(name="large", capacity=Resources(cpu_cores=2, memory_bytes=8 * GIB))
MACHINE = Resources(cpu_cores=8, memory_bytes=40 * GIB)
WAIT = (sys.executable, "-S", "-c", "import time; time.sleep(120)")


class SmallRun:
    """A run without tests: task ``n`` takes ``seconds[n]`` and ``memory[n]`` in virtual time."""

    def __init__(self, clock: Any, history: HistoryStore, provider: LocalProvider, *, maximum: int = 4) -> None:
        self.clock = clock
        self.history = history
        self.predictor = ResourcePerformancePredictor()
        self.optimizer = ResourceOptimizer(self.predictor)
        self.manager = DynamicResourceManager(ScalingSettings(target_queue_s=5, idle_s=3))
        self.cloud = CloudProviderManager(clock=clock)
        self.cloud.add_provider(provider)
        self.maximum = maximum
        self.decisions: list[ScalingDecision] = []
        self.ran_on: dict[str, str] = {}
        self.peak = 0

    def run(self, tasks: list[Task], usages: dict[str, Usage]) -> list[Task]:
        """Run everything; return the tasks as they were predicted."""
        self.predictor.train_models(self.history.samples([task.task_id for task in tasks]))
        predicted = self.optimizer.predict_task_requirements(tasks, largest=LARGE.capacity)
        waiting = sorted(predicted, key=lambda task: -task.expected_s)
        running: list[tuple[float, str]] = []
        while waiting or running or self.cloud.instances():
            waiting = self.optimizer.predict_task_requirements(waiting, largest=LARGE.capacity)
            self._scale(waiting)
            waiting = self._start(waiting, usages, running)
            self._check_capacity()
            if running:
                ends_s, task_id = heapq.heappop(running)
                self.clock.advance(max(0.0, ends_s - self.clock.now()))
                self._finish(task_id, usages[task_id])
            else:
                self.clock.advance(1.0)
            assert self.clock.now() < 1000, "the run does not end"
        return predicted

    def _scale(self, waiting: list[Task]) -> None:
        snapshot = self.manager.snapshot(self.clock.now())
        for worker_type, queue in self.optimizer.get_scaling_recommendations(waiting, snapshot, (SMALL, LARGE)):
            decision = self.manager.evaluate_scaling(
                worker_type,
                queue,
                now_s=self.clock.now(),
                pending=0,
                minimum=0,
                maximum=self.maximum,
                total_workers=len(self.cloud.instances()),
            )
            self.decisions.append(decision)
            if decision.action is ScalingAction.UP:
                for _ in range(decision.granted - decision.workers):
                    self._add(worker_type)
            for worker_id in decision.remove:
                assert self.manager.deregister_worker(worker_id) == ()
                self.cloud.terminate_worker(worker_id)

    def _add(self, worker_type: WorkerType) -> None:
        worker_id = f"w{len(self.decisions)}-{len(self.cloud.instances())}"
        self.cloud.create_worker(
            InstanceRequest(worker_id=worker_id, worker_type=worker_type, command=WAIT, token=worker_id)
        )
        self.manager.register_worker(
            worker_id, worker_type=worker_type.name, capacity=worker_type.capacity, now_s=self.clock.now()
        )
        self.peak = max(self.peak, len(self.cloud.instances()))

    def _start(self, waiting: list[Task], usages: dict[str, Usage], running: list[tuple[float, str]]) -> list[Task]:
        left = []
        for task in waiting:
            workers = self.manager.check_resource_availability(task.requirements.amounts)
            if workers:
                self.manager.reserve_resources(
                    workers[0], task.task_id, task.requirements.amounts, now_s=self.clock.now()
                )
                heapq.heappush(running, (self.clock.now() + usages[task.task_id].wall_s, task.task_id))
                self.ran_on[task.task_id] = workers[0]
            else:
                left.append(task)
        return left

    def _finish(self, task_id: str, usage: Usage) -> None:
        self.manager.release_resources(task_id, now_s=self.clock.now())
        self.optimizer.record_task_result(task_id, usage, Outcome.PASSED)
        self.history.record("run", [Sample(task_id=task_id, usage=usage, outcome=Outcome.PASSED)])

    def _check_capacity(self) -> None:
        workers = self.manager.snapshot(self.clock.now()).workers
        assert all(worker.reserved.fits_in(worker.allocatable) for worker in workers)
        assert total(worker.capacity for worker in workers).fits_in(MACHINE)
        assert len(workers) == len(self.cloud.instances()) <= self.maximum


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    provider = LocalProvider(MACHINE, (SMALL, LARGE), log_folder=tmp_path / "logs")
    yield provider
    for instance in provider.list_instances():
        provider.terminate(instance.instance_id)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[HistoryStore]:
    store = open_history(tmp_path / "history.db", warn=lambda line: pytest.fail(line))
    yield store
    store.close()


def suite(count: int) -> list[Task]:
    return [Task(task_id=f"m{n % 4}.py::t{n}", scope=f"m{n % 4}.py", position=n) for n in range(count)]


def usages_of(tasks: list[Task]) -> dict[str, Usage]:
    """Most take a second and little memory; every eighth takes 4 s and more than a small worker has."""
    return {
        task.task_id: Usage(
            wall_s=4.0 if task.position % 8 == 7 else 1.0,
            cpu_s=0.9,
            peak_rss_bytes=3 * GIB if task.position % 8 == 7 else GIB // 4,
        )
        for task in tasks
    }


def test_a_pool_grows_with_the_work_and_is_gone_after_it(
    clock: Any, history: HistoryStore, provider: LocalProvider
) -> None:
    tasks = suite(40)
    run = SmallRun(clock, history, provider)
    run.run(tasks, usages_of(tasks))
    assert set(run.ran_on) == {task.task_id for task in tasks}
    assert run.peak > 1
    assert provider.list_instances() == ()
    assert provider.available() == MACHINE
    assert run.manager.snapshot(clock.now()).workers == ()
    made = {decision.action for decision in run.decisions}
    assert {ScalingAction.UP, ScalingAction.DOWN, ScalingAction.HOLD} <= made
    assert all(decision.reason and decision.trigger.code for decision in run.decisions)
    assert run.predictor.get_statistics().recorded == len(tasks)


def test_the_second_run_knows_what_the_first_one_measured(
    clock: Any, history: HistoryStore, provider: LocalProvider
) -> None:
    tasks = suite(32)
    usages = usages_of(tasks)
    first = SmallRun(clock, history, provider).run(tasks, usages)
    assert {task.forecast.method for task in first if task.forecast} == {"default"}

    second_run = SmallRun(clock, history, provider)
    second = second_run.run(tasks, usages)
    for task in second:
        assert task.forecast is not None
        assert task.forecast.method == "history"
        assert task.expected_s == usages[task.task_id].wall_s
        assert task.requirements.amounts.memory_bytes >= usages[task.task_id].peak_rss_bytes
    large = [task for task in second if usages[task.task_id].peak_rss_bytes > SMALL.capacity.memory_bytes]
    assert large
    for task in large:
        assert placement_problem(task.requirements, [SMALL]) is not None
        assert placement_problem(task.requirements, [LARGE]) is None


def test_the_plan_of_a_known_suite_is_near_its_bound(
    clock: Any, history: HistoryStore, provider: LocalProvider
) -> None:
    tasks = suite(64)
    run = SmallRun(clock, history, provider)
    run.run(tasks, usages_of(tasks))
    known = run.optimizer.predict_task_requirements(tasks)
    for number in range(3):
        run.manager.register_worker(f"p{number}", worker_type="large", capacity=LARGE.capacity, now_s=clock.now())
    plan = run.optimizer.allocate_resources(known, run.manager.snapshot(clock.now()).ready)
    assert len(plan.allocations) == len(tasks)
    assert plan.makespan_s <= 1.2 * plan.lower_bound_s


def test_a_worker_that_dies_gives_its_reservations_back_and_its_capacity(
    clock: Any, history: HistoryStore, provider: LocalProvider
) -> None:
    run = SmallRun(clock, history, provider)
    run._add(SMALL)
    (instance,) = run.cloud.instances()
    run.manager.reserve_resources(instance.worker_id, "t", Resources(cpu_cores=1), now_s=clock.now())
    provider.terminate(instance.instance_id)
    (lost,) = run.cloud.poll_lost()
    assert lost.worker_id == instance.worker_id
    assert run.manager.deregister_worker(lost.worker_id) == ("t",)
    assert run.cloud.get_available_resources()["local"] == MACHINE


def test_work_that_fits_no_type_is_refused_and_starts_nothing(
    clock: Any, history: HistoryStore, provider: LocalProvider
) -> None:
    needs_gpus = Requirements(amounts=Resources(cpu_cores=1, gpus=3))
    run = SmallRun(clock, history, provider)
    run._scale([Task(task_id="m.py::t", scope="m.py", requirements=needs_gpus)])
    assert run.cloud.instances() == ()
    assert placement_problem(needs_gpus, (SMALL, LARGE)) == "needs 3 gpu; the largest worker has 0"
