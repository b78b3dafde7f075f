"""What every test needs, and where each number came from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from drm.cicd_integration.discovery import OTHER, FoundTest
from drm.cicd_integration.hints import Hint, hints_of
from drm.model.resources import Requirements
from drm.model.samples import Sample
from drm.model.stages import STAGES
from drm.model.work import Forecast, Task
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_performance_predictor import ResourcePerformancePredictor

__all__ = ["Amount", "Need", "StageTotals", "needs_of", "totals_by_stage"]

_SAID = {"marker": "@pytest.mark.drm", "configuration": "the [drm] section"}
_MEASURED = ("history", "siblings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """One number. ``source``: marker, configuration, history, siblings, run, fixture, other_mark, import or default.

    ``because``: the same in words: of how many attempts which quantile, or what the sign was.
    """

    value: float
    source: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one test needs. ``task``: the test as it is planned, with these amounts."""

    test: FoundTest
    task: Task
    cpu_cores: Amount
    memory_bytes: Amount
    gpus: Amount
    wall_s: Amount

    def asks_for(self, amount: Amount) -> bool:
        """Tell whether somebody asks for the amount: then no worker with less may run the test."""
        return amount.source in _SAID


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTotals:
    """The tests of a stage together. ``measured``: those whose time is from history, their own or their siblings'."""

    stage: str
    tests: int
    wall_s: float
    longest_s: float
    cpu_core_s: float
    largest_bytes: int
    gpu_tests: int
    measured: int


def needs_of(
    tests: Sequence[FoundTest],
    samples: Mapping[str, Sequence[Sample]],
    libraries: Mapping[str, Collection[str]],
) -> tuple[Need, ...]:
    """Return what each test needs, in the same order.

    ``samples``: past attempts by test; ``libraries``: what each test file (by its path) imports. A number is taken from
    the first that has one: mark, [drm] section, the test's history, its siblings', a hint, all tests' history, default.
    """
    predictor = ResourcePerformancePredictor()
    predictor.train_models(samples)
    tasks = [
        Task(task_id=test.task_id, scope=test.file, position=position, requirements=test.requirements)
        for position, test in enumerate(tests)
    ]
    predicted = ResourceOptimizer(predictor).predict_task_requirements(tasks)
    shared: dict[tuple[int, float, float], Requirements] = {}
    return tuple(
        _need(test, task, hints_of(test.fixtures, test.marks, libraries.get(test.path, ())), shared)
        for test, task in zip(tests, predicted, strict=True)
    )


def totals_by_stage(needs: Iterable[Need]) -> tuple[StageTotals, ...]:
    """Return the totals of each stage that has tests, in the order of the table."""
    rows: dict[str, list[Need]] = {}
    for need in needs:
        rows.setdefault(need.test.stage, []).append(need)
    order = [*(row.name for row in STAGES), OTHER]
    return tuple(_totals(stage, rows[stage]) for stage in order if stage in rows)


def _totals(stage: str, needs: Sequence[Need]) -> StageTotals:
    return StageTotals(
        stage=stage,
        tests=len(needs),
        wall_s=sum(need.wall_s.value for need in needs),
        longest_s=max(need.wall_s.value for need in needs),
        cpu_core_s=sum(need.wall_s.value * need.cpu_cores.value for need in needs),
        largest_bytes=int(max(need.memory_bytes.value for need in needs)),
        gpu_tests=sum(need.gpus.value > 0 for need in needs),
        measured=sum(need.wall_s.source in _MEASURED for need in needs),
    )


def _need(
    test: FoundTest,
    task: Task,
    hints: Sequence[tuple[Hint, str]],
    shared: dict[tuple[int, float, float], Requirements],
) -> Need:
    forecast = task.forecast or Forecast(wall_s=0.0, memory_bytes=0)
    amounts = task.requirements.amounts
    sources = dict(task.requirements.sources)
    memory = _amount(amounts.memory_bytes, sources.get("memory", "default"), forecast, _memory_words)
    gpus = _amount(amounts.gpus, sources.get("gpu", "default"), forecast, lambda _: "no test has one unasked")
    if memory.source in ("run", "default"):
        memory = _hinted(memory, [(hint, name, hint.memory_bytes) for hint, name in hints])
    if gpus.source == "default":
        gpus = _hinted(gpus, [(hint, name, hint.gpus) for hint, name in hints])
    return Need(
        test=test,
        task=replace(task, requirements=_planned(task.requirements, memory, gpus, shared)) if hints else task,
        cpu_cores=_amount(amounts.cpu_cores, sources.get("cpu", "default"), forecast, lambda _: "one core"),
        memory_bytes=memory,
        gpus=gpus,
        wall_s=Amount(value=forecast.wall_s, source=forecast.method, because=_time_words(forecast)),
    )


def _amount(value: float, source: str, forecast: Forecast, words: Callable[[Forecast], str]) -> Amount:
    return Amount(value=value, source=source, because=_SAID.get(source) or words(forecast))


def _hinted(amount: Amount, hints: Sequence[tuple[Hint, str, float]]) -> Amount:
    """Return the largest amount that a hint gives, if it is more than what is there."""
    hint, name, value = max(hints, key=lambda row: row[2], default=(None, "", 0.0))
    if hint is None or value <= amount.value:
        return amount
    verb = {"import": "imports", "fixture": "uses the fixture", "other_mark": "has the mark"}[hint.kind]
    return Amount(value=value, source=hint.kind, because=f"it {verb} {name}: {hint.because}")


def _planned(
    requirements: Requirements, memory: Amount, gpus: Amount, shared: dict[tuple[int, float, float], Requirements]
) -> Requirements:
    """Return the requirements with what hints add: one shared object per distinct value, as the planner likes it."""
    key = (id(requirements), memory.value, gpus.value)
    if key not in shared:
        amounts = replace(requirements.amounts, memory_bytes=int(memory.value), gpus=gpus.value)
        shared[key] = replace(requirements, amounts=amounts)
    return shared[key]


def _time_words(forecast: Forecast) -> str:
    count = forecast.samples
    return {
        "history": f"median of its last {min(count, 3)}" if count > 1 else "its only attempt",
        "siblings": f"mean of {count} of its function or module",
        "run": f"mean of all {count} attempts",
    }.get(forecast.method, "nothing is known")


def _memory_words(forecast: Forecast) -> str:
    count = forecast.samples
    quantile = "mean and two deviations (or half as much again)"
    return {
        "history": f"largest of its last {count}, and a tenth more"
        if count > 1
        else "its only attempt, and a tenth more",
        "siblings": f"{quantile} of {count} of its function or module",
        "run": f"{quantile} of all {count} attempts",
    }.get(forecast.method, "nothing is known")
