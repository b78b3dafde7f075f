"""What a run would do, before it does: its workers, the first decisions about them, its cost and its end.

The run is played in virtual time by the simulator, with the real coordinator and every test as long as it is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from drm.coordinator.retries import RetryPolicy
from drm.history import open_history
from drm.model import events
from drm.model.cluster import WorkerType
from drm.model.events import Event
from drm.model.plan import Plan, ScalingDecision, TypeRecommendation
from drm.model.resources import Resources
from drm.model.units import format_bytes, format_duration
from drm.model.work import Task, Usage
from drm.past import attempts_to_learn_from
from drm.provisioning import boot_s_of, check_ways
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_performance_predictor import ResourcePerformancePredictor
from drm.run_options import RunOptions
from drm.session import planned_workers
from drm.simulator import Simulation
from drm.simulator.acts import Act
from drm.simulator.provider import PROVIDER
from drm.simulator.scenario import Policies, Scenario, Synthetic, WorkerSpec
from drm.simulator.workload import Workload
from drm.surroundings import machine_class

__all__ = ["Foreseen", "foresee", "lines_of", "plan_lines"]

_FIRST = 8  # decisions shown
_LEAST_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """``tasks``: with their predictions. ``taken`` and ``rejected``: worker types, each with its reason.
    ``decisions``: (seconds from the start, decision, what came of it). ``problem``: why the run would be given up."""

    tasks: Sequence[Task]
    types: Sequence[WorkerType]
    plan: Plan
    taken: Sequence[TypeRecommendation] = ()
    rejected: Sequence[TypeRecommendation] = ()
    decisions: Sequence[tuple[float, ScalingDecision, str]] = ()
    makespan_s: float = 0.0
    cost_usd: float = 0.0
    workers: tuple[tuple[str, int], ...] = ()
    problem: str = ""


@dataclass(slots=True)
class _Decisions:
    """Implements ``drm.ports.EventSink``: keeps the decisions about workers."""

    found: list[tuple[float, ScalingDecision, str]] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        if not isinstance(event, events.ScalingDecided) or event.decision.trigger.code == "steady":
            return
        if event.decision.inputs:  # else it is about executors
            self.found.append((event.elapsed_s, event.decision, event.outcome))

    def flush(self) -> None: ...

    def close(self) -> None: ...


def plan_lines(tasks: Sequence[Task], options: RunOptions, *, asks: bool) -> Iterator[str]:
    """Yield the lines of the plan of a run of these tests. ``asks``: ask providers whether they would create the
    workers. The history is read, and nothing is written."""
    predictor = ResourcePerformancePredictor(machine=machine_class())
    optimizer = ResourceOptimizer(predictor, counted=options.counted)
    if options.history_path is not None and options.history_path.is_file():
        history = open_history(options.history_path, warn=lambda _: None)
        try:
            last = attempts_to_learn_from(len(tasks))
            predictor.train_models(dict(history.samples([task.task_id for task in tasks], last=last)))
        finally:
            history.close()
    places = planned_workers(options)
    largest = Resources()
    for place in places:
        largest = largest.at_least(place.capacity)
    predicted = optimizer.predict_task_requirements(tasks, largest=largest)
    plan = optimizer.allocate_resources(predicted, places)
    checked = check_ways(options.machines, options.worker_types, capacity=options.capacity) if asks else None
    yield from lines_of(foresee(predicted, options, optimizer, plan), options, checked)


def foresee(tasks: Sequence[Task], options: RunOptions, optimizer: ResourceOptimizer, plan: Plan) -> Foreseen:
    """Play the run of these tests, which have their predictions. ``plan``: on all the workers there may be."""
    cheapest: dict[str, WorkerType] = {}
    for each in options.worker_types:
        known = cheapest.get(each.name)
        cheapest[each.name] = each if known is None or each.usd_per_hour < known.usd_per_hour else known
    types = tuple(cheapest.values())
    if not types:
        return Foreseen(tasks=tasks, types=types, plan=plan, makespan_s=plan.makespan_s)
    fitting = {allocation.task_id for allocation in plan.allocations}
    played = [task for task in tasks if task.task_id in fitting]
    taken = optimizer.recommend_worker_types(played, types, maximum=options.workers[1])
    rejected = optimizer.rejected_worker_types(played, types, taken)
    decisions = _Decisions()
    simulation = Simulation(_scenario(types, options), workload=_workload(played), sinks=(decisions,))
    result = simulation.run()
    return Foreseen(
        tasks=tasks,
        types=types,
        plan=plan,
        taken=taken,
        rejected=rejected,
        decisions=decisions.found,
        makespan_s=result.makespan_s,
        cost_usd=result.cost_usd,
        workers=result.workers,
        problem=result.problem,
    )


def _scenario(types: Sequence[WorkerType], options: RunOptions) -> Scenario:
    return Scenario(
        name="plan",
        seed=0,
        workload=Synthetic(tests=0, classes=()),
        workers=tuple(
            WorkerSpec(
                worker_type=replace(each, provider=PROVIDER), start_s=boot_s_of(each.provider, options.scaling.boot_s)
            )
            for each in types
        ),
        pool=options.workers,
        policies=Policies(
            scaling=options.scaling,
            retries=RetryPolicy(),
            file_order=options.order not in ("longest", "slow-first"),
        ),
        counted=options.counted,
    )


def _workload(tasks: Sequence[Task]) -> Workload:
    workload = Workload(tasks=list(tasks))
    for task in tasks:
        seconds, needs = max(_LEAST_S, task.expected_s), task.requirements.amounts
        workload.acts[task.task_id] = Act(seconds=seconds, peak_bytes=0, cores=needs.cpu_cores)
        usage = Usage(wall_s=seconds, cpu_s=seconds * needs.cpu_cores, peak_rss_bytes=0)
        workload.past[task.task_id] = (usage,)
    return workload


# -- for a person


def lines_of(foreseen: Foreseen, options: RunOptions, checked: Mapping[WorkerType, str] | None = None) -> Iterator[str]:
    """Yield the lines of the plan. ``checked``: what providers said of each way to have a worker, empty for yes."""
    tasks = foreseen.tasks
    work_s = sum(task.expected_s for task in tasks)
    longest = max(tasks, key=lambda task: task.expected_s, default=None)
    unknown = sum(task.forecast is None or task.forecast.method == "default" for task in tasks)
    yield f"tests        {len(tasks):,}, {format_duration(work_s)} of work predicted" + (
        f", for {unknown:,} of them from nothing: no run has measured them" if unknown else ""
    )
    if longest is not None:
        yield f"longest      {longest.task_id}: {format_duration(longest.expected_s)}"
    for refusal in foreseen.plan.refusals[:_FIRST]:
        yield f"not run      {refusal.task_id}: it {refusal.reason}"
    if not foreseen.types:
        yield f"workers      this machine alone ({_amounts(options.capacity)}); nothing is added or removed"
        yield f"makespan     {format_duration(foreseen.makespan_s)}"
        return
    prices = {each.name: each for each in foreseen.types}
    for row in foreseen.taken:
        kind = prices[row.worker_type]
        yield f"type         {row.worker_type} from {kind.provider} ({_amounts(kind.capacity)}): {row.reason}"
    for row in foreseen.rejected:
        yield f"rejected     {row.worker_type} from {prices[row.worker_type].provider}: {row.reason}"
    for way, problem in (checked or {}).items():
        place = " ".join(filter(None, (way.provider, way.zone, way.name, way.market)))
        yield f"dry run      {place}: {problem or 'it would be created'}"
    yield from _decision_lines(foreseen.decisions)
    counts = ", ".join(f"{count} {name}" for name, count in foreseen.workers) or "none"
    yield f"workers      {counts} in the whole run"
    yield f"makespan     {format_duration(foreseen.makespan_s)}, boots included"
    budget = options.machines.budget.usd
    yield f"cost         {foreseen.cost_usd:.4f} USD" + (
        f": more than the budget of {budget:g} USD" if budget is not None and foreseen.cost_usd > budget else ""
    )
    if foreseen.cost_usd > 0 and budget is None:
        yield "budget       none is set, and without one no worker that costs money is made: --drm-budget USD"
    if foreseen.problem:
        yield f"given up     {foreseen.problem}"


def _decision_lines(decisions: Sequence[tuple[float, ScalingDecision, str]]) -> Iterator[str]:
    for at_s, decision, outcome in decisions[:_FIRST]:
        trigger = decision.trigger
        yield (
            f"at {format_duration(at_s):<9} {decision.action.value} {decision.worker_type}: {decision.workers} -> "
            f"{decision.granted} (wanted {decision.wanted}): {decision.reason}"
        )
        yield f"             trigger {trigger.code}: {trigger.metric} {trigger.value:.4g} of {trigger.threshold:.4g}"
        yield f"             inputs {', '.join(f'{name} {value:.4g}' for name, value in decision.inputs)}"
        if decision.alternatives:
            yield f"             alternatives {'; '.join(decision.alternatives)}"
        if decision.limits_hit or outcome:
            yield f"             {'; '.join(filter(None, (*decision.limits_hit, outcome)))}"
    if len(decisions) > _FIRST:
        yield f"             and {len(decisions) - _FIRST} decisions more"


def _amounts(amounts: Resources) -> str:
    parts = [f"{amounts.cpu_cores:g} cpu", format_bytes(amounts.memory_bytes)]
    return ", ".join([*parts, f"{amounts.gpus:g} gpu"] if amounts.gpus else parts)
