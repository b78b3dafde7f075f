"""How the tests would fit workers of given types: what does not fit, how long it takes, what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drm.cicd_integration.analysis import Need
from drm.model.cluster import WorkerType, WorkerView
from drm.model.resources import Requirements, Resources
from drm.model.work import Task
from drm.resource_optimizer import ResourceOptimizer, lacking, placement_problem

__all__ = ["Fit", "Misfit", "fit_on", "recommended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A test that a worker type is too small for. ``is_certain``: it asks for that much; else it only may need it.

    ``lacks``: of what there is too little (``memory``, ``cpu``, ``gpu``, ``labels``; ``together``: of all at once).
    """

    task_id: str
    reason: str
    is_certain: bool
    lacks: tuple[str, ...]
    amounts: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A plan on so many workers of each type.

    ``usd``: their price for ``makespan_s`` seconds, without what starting them takes.
    """

    workers: tuple[tuple[WorkerType, int], ...]
    placed: int
    misfits: tuple[Misfit, ...]
    makespan_s: float
    lower_bound_s: float
    usd: float


def fit_on(needs: Sequence[Need], workers: Sequence[tuple[WorkerType, int]], counted: Mapping[str, int]) -> Fit:
    """Return how the tests fit when these workers are there from the start.

    A test whose memory is only predicted, or hinted at, is placed all the same, as in a run: it may have all of the
    largest worker's. So is one that only seems to need a gpu.
    """
    types = [worker_type for worker_type, _ in workers]
    views = [WorkerView.planned(f"{kind.name}#{number}", kind) for kind, count in workers for number in range(count)]
    most = max((kind.capacity.memory_bytes for kind in types), default=0)
    misfits, tasks = [], []
    known: dict[int, tuple[str | None, Requirements]] = {}
    for need in needs:
        asked = need.task.requirements
        problem, allowed = known.get(id(asked)) or known.setdefault(id(asked), _judged(need, types, most))
        if problem is not None:
            certain = placement_problem(allowed, types) is not None
            misfits.append(
                Misfit(
                    task_id=need.test.task_id,
                    reason=problem,
                    is_certain=certain,
                    lacks=lacking(asked, types),
                    amounts=asked.amounts,
                )
            )
        tasks.append(need.task if allowed is asked else replace(need.task, requirements=allowed))
    plan = ResourceOptimizer(counted=counted).allocate_resources(tasks, views)
    hourly = sum(kind.usd_per_hour * count for kind, count in workers)
    return Fit(
        workers=tuple(workers),
        placed=len(plan.allocations),
        misfits=tuple(misfits),
        makespan_s=plan.makespan_s,
        lower_bound_s=plan.lower_bound_s,
        usd=hourly * plan.makespan_s / 3600,
    )


def recommended(
    needs: Sequence[Need], types: Sequence[WorkerType], counted: Mapping[str, int], *, maximum: int
) -> tuple[tuple[WorkerType, int], ...]:
    """Return how many workers of which types the optimizer would take, ``maximum`` in all."""
    tasks: list[Task] = [need.task for need in needs]
    rows = ResourceOptimizer(counted=counted).recommend_worker_types(tasks, types, maximum=maximum)
    by_name = {kind.name: kind for kind in types}
    return tuple((by_name[row.worker_type], row.count) for row in rows)


def _judged(need: Need, types: Sequence[WorkerType], most_bytes: int) -> tuple[str | None, Requirements]:
    """Return why the test fits no type, and the requirements with which it is planned."""
    asked = need.task.requirements
    problem = placement_problem(asked, types)
    if problem is None:
        return None, asked
    amounts = asked.amounts
    if not need.asks_for(need.memory_bytes):
        amounts = replace(amounts, memory_bytes=min(amounts.memory_bytes, most_bytes))
    if not need.asks_for(need.gpus):
        amounts = replace(amounts, gpus=0.0)
    return problem, replace(asked, amounts=amounts)
