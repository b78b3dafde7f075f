"""What is expected of a run, as events: the forecast of its tests, and a plan of them on all workers there may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drm.coordinator.recorder import Recorder
from drm.model import events
from drm.model.cluster import WorkerView
from drm.model.work import Task
from drm.ports import Clock
from drm.resource_optimizer import ResourceOptimizer

_LOOK_S = 0.05  # how often is looked whether all are at work, so that there is time to plan


class Expectations:
    """Forecasts are recorded at once. A plan takes a moment, for which nobody shall wait: it is made later."""

    def __init__(self, clock: Clock, optimizer: ResourceOptimizer, recorder: Recorder) -> None:
        self._clock = clock
        self._optimizer = optimizer
        self._recorder = recorder
        self._unplanned: list[tuple[Sequence[Task], Sequence[WorkerView]]] = []
        self._next_s = float("-inf")

    def record_forecast(self, tasks: Sequence[Task]) -> None:
        """Record what the tests together are expected to take."""
        longest = max(tasks, key=lambda task: task.expected_s, default=None)
        methods: dict[str, int] = {}
        for task in tasks:
            method = task.forecast.method if task.forecast is not None else "none"
            methods[method] = methods.get(method, 0) + 1
        self._recorder.record(
            events.ForecastMade,
            tasks=len(tasks),
            wall_s=round(sum(task.expected_s for task in tasks), 3),
            longest_s=longest.expected_s if longest is not None else 0.0,
            longest_task=longest.task_id if longest is not None else "",
            methods=tuple(sorted(methods.items())),
        )

    def plan_later(self, tasks: Sequence[Task], workers: Sequence[WorkerView]) -> None:
        """Take tests of which a plan is to be recorded."""
        self._unplanned.append((tasks, workers))

    def plan_if(self, all_run: Callable[[], bool]) -> None:
        """Record what is to be planned if all executors have work; this is looked at now and then only."""
        if self._unplanned and self._clock.now() >= self._next_s:
            self._next_s = self._clock.now() + _LOOK_S
            if all_run():
                self.record_plans()

    def record_plans(self) -> None:
        """Lay out what was submitted on all workers there may be."""
        for tasks, workers in self._unplanned:
            plan = self._optimizer.allocate_resources(tasks, workers)
            self._recorder.record(
                events.PlanMade,
                allocated=len(plan.allocations),
                refusals=plan.refusals,
                makespan_s=plan.makespan_s,
                lower_bound_s=plan.lower_bound_s,
            )
        self._unplanned.clear()
