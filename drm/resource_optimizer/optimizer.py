"""Which test goes where, and which worker types to add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drm.model.cluster import ClusterSnapshot, QueueView, WorkerType, WorkerView
from drm.model.errors import ConfigError
from drm.model.plan import Plan, TypeRecommendation
from drm.model.resources import Requirements, Resources
from drm.model.work import Forecast, Outcome, Task, Usage
from drm.ports import Forecaster
from drm.resource_optimizer.classes import round_up_memory, with_memory
from drm.resource_optimizer.recommend import queue_views, recommend, rejected
from drm.resource_optimizer.schedule import make_plan


class ResourceOptimizer:
    """Places tests on workers and says which workers are missing.

    Pure but for what its forecaster learns; without a forecaster the tasks'
    own forecasts and requirements are taken as they are. ``counted``: the run's counted resources.
    """

    def __init__(self, forecaster: Forecaster | None = None, *, counted: Mapping[str, int] | None = None) -> None:
        self._forecaster = forecaster
        self._counted = counted or {}

    def predict_task_requirements(self, tasks: Sequence[Task], *, largest: Resources | None = None) -> list[Task]:
        """Return the tasks with a forecast each, in the same order.

        Memory (bytes) that neither a marker nor the configuration states is raised to the forecast, on a grid of
        12.5 %, but not past ``largest`` (what the largest worker offers): a forecast alone
        makes no test unplaceable. Only what an earlier forecast said is ever lowered.
        """
        if self._forecaster is None:
            return list(tasks)
        forecasts = self._forecaster.predict_resource_requirements(tasks)
        shared: dict[tuple[int, int, str], Requirements] = {}
        limit = largest.memory_bytes if largest is not None else None
        predicted = []
        for task, forecast in zip(tasks, forecasts, strict=True):
            requirements = _raised(task.requirements, forecast, limit, shared)
            predicted.append(  # ``replace`` would take twice as long, and there are thousands
                Task(
                    task_id=task.task_id,
                    scope=task.scope,
                    position=task.position,
                    fixtures=task.fixtures,
                    requirements=requirements,
                    forecast=forecast,
                )
            )
        return predicted

    def allocate_resources(self, tasks: Sequence[Task], workers: Sequence[WorkerView]) -> Plan:
        """Return a plan of all tasks: each exactly once, allocated or refused with a reason.

        Longest first, best fit, in virtual seconds from 0; makespan and a lower bound
        come with it. Workers that drain or are gone get nothing. See ``schedule.make_plan``.
        """
        return make_plan(tasks, workers, self._counted)

    def recommend_worker_types(
        self, tasks: Sequence[Task], worker_types: Sequence[WorkerType], *, maximum: int
    ) -> tuple[TypeRecommendation, ...]:
        """Return how many workers of which types the tasks call for, at most ``maximum`` in all.

        Each class of equal requirements goes to the type on which it costs least
        (USD per hour over the tests that run side by side). Types nothing needs are left out; ``rejected_worker_types``
        says why.
        """
        if maximum < 0:
            raise ConfigError(f"maximum: {maximum} is no number of workers")
        return recommend(tasks, worker_types, self._counted, maximum=maximum)

    def rejected_worker_types(
        self, tasks: Sequence[Task], worker_types: Sequence[WorkerType], taken: Sequence[TypeRecommendation]
    ) -> tuple[TypeRecommendation, ...]:
        """Return a row with no worker, and the reason, for every type that was not recommended."""
        return rejected(tasks, worker_types, taken)

    def get_scaling_recommendations(
        self,
        tasks: Sequence[Task],
        snapshot: ClusterSnapshot,
        worker_types: Sequence[WorkerType],
        left_s: Mapping[str, Sequence[float]] | None = None,
        awaited_s: Mapping[str, float] | None = None,
    ) -> tuple[tuple[WorkerType, QueueView], ...]:
        """Return one row per worker type: the waiting ``tasks`` that should run on it, in numbers.

        ``running`` counts the reservations on the workers of that type now. ``left_s``: by worker, the seconds that
        each of its running tests still takes; ``awaited_s``: the longest of those that the end of the waiting tests
        is measured against (default: all). A test that fits no type is in no row.
        """
        left_s = left_s or {}
        if awaited_s is None:
            awaited_s = {worker_id: max(seconds, default=0.0) for worker_id, seconds in left_s.items()}
        return queue_views(tasks, snapshot, worker_types, self._counted, left_s, awaited_s)

    def record_task_result(self, task_id: str, usage: Usage, outcome: Outcome | None) -> None:
        """Tell the forecaster what an attempt used."""
        if self._forecaster is not None:
            self._forecaster.record_task_execution(task_id, usage, outcome)


def _raised(
    requirements: Requirements,
    forecast: Forecast,
    limit: int | None,
    shared: dict[tuple[int, int, str], Requirements],
) -> Requirements:
    """Return the requirements with enough memory for the forecast, one shared object per distinct value.

    An amount that an earlier forecast put there gives way to this one, be it larger or smaller.
    """
    wanted = round_up_memory(forecast.memory_bytes)
    if limit is not None:
        wanted = min(wanted, limit)
    present = requirements.amounts.memory_bytes
    if wanted == present or (wanted < present and not requirements.forecasts_memory):
        return requirements
    key = (id(requirements), wanted, forecast.method)
    raised = shared.get(key)
    if raised is None:
        stated = requirements.states_memory
        raised = shared[key] = requirements if stated else with_memory(requirements, wanted, forecast.method)
    return raised
