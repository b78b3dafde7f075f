"""From a scenario to tests: what they ask for, what they really do, and what is known of them before."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from drm.history import open_history
from drm.model import events
from drm.model.errors import ConfigError
from drm.model.markers import KEYS, check_key, requirements_of
from drm.model.resources import Requirements
from drm.model.samples import Sample
from drm.model.units import parse_bytes, parse_duration, shown
from drm.model.work import Outcome, Task, Usage
from drm.reporting.ndjson import read_events
from drm.simulator.acts import Act
from drm.simulator.scenario import Knowledge, Recorded, Rule, Scenario, Synthetic

__all__ = ["Workload", "workload_of"]

_COLUMNS = ("test", "seconds", "peak", "cores", "outcome", *KEYS)
_REMEDY = "give a .csv with a column 'seconds', an events.ndjson or a history.db"


@dataclass(slots=True)
class Workload:
    """``acts``: what each test does when nothing goes wrong. ``past``: earlier attempts of tests, oldest first.

    ``arrivals``: (seconds from the start, how many of the tasks, in order, are submitted then); those left over come
    first.
    """

    tasks: list[Task] = field(default_factory=list)
    acts: dict[str, Act] = field(default_factory=dict)
    past: dict[str, tuple[Usage, ...]] = field(default_factory=dict)
    arrivals: tuple[tuple[float, int], ...] = ()
    _shared: dict[Requirements, Requirements] = field(default_factory=dict)  # equal ones are one object

    def add(self, task_id: str, requirements: Requirements, act: Act) -> None:
        if task_id in self.acts:
            raise ConfigError(f"test {task_id} comes twice", remedy="give each test once")
        scope = task_id.partition("::")[0]
        requirements = self._shared.setdefault(requirements, requirements)
        self.tasks.append(Task(task_id=task_id, scope=scope, position=len(self.tasks), requirements=requirements))
        self.acts[task_id] = act

    def groups(self) -> list[tuple[float, list[Task]]]:
        """Return the tests that are submitted together, by when."""
        at_once = len(self.tasks) - sum(count for _, count in self.arrivals)
        if at_once < 0:
            raise ConfigError(f"arrivals: {-at_once} more tests than there are", remedy="leave out tests, or raise it")
        rows = iter(self.tasks)
        parts = [(0.0, at_once)] * (at_once > 0 or not self.arrivals) + list(self.arrivals)
        return [(at_s, list(islice(rows, count))) for at_s, count in parts]

    def samples(self, at_a_time: int = 10_000) -> Iterator[Mapping[str, list[Sample]]]:
        """Yield what is known before the run, some tests at a time."""
        rows = iter(self.past.items())
        while part := dict(islice(rows, at_a_time)):
            yield {
                task_id: [Sample(task_id=task_id, usage=usage, outcome=Outcome.PASSED) for usage in usages]
                for task_id, usages in part.items()
            }


def workload_of(scenario: Scenario) -> Workload:
    """Return the tests of a scenario; ConfigError for a file that holds none."""
    if isinstance(scenario.workload, Synthetic):
        workload = _synthetic(scenario.workload, _chance(scenario, "tests"))
        workload.arrivals = scenario.workload.arrivals
        _remember(workload, scenario.knowledge, _chance(scenario, "history"))
    else:
        workload = _recorded(scenario.workload, scenario)
    if scenario.rules:
        workload.tasks = [_ruled(task, scenario.rules, scenario.counted) for task in workload.tasks]
    return workload


def _chance(scenario: Scenario, what: str) -> Random:
    return Random(f"{scenario.seed} {what}")  # noqa: S311 - it guards nothing


def _synthetic(spec: Synthetic, chance: Random) -> Workload:
    workload = Workload()
    weights = [each.weight for each in spec.classes]
    if spec.tests and not sum(weights):
        raise ConfigError("workload: the classes have no weight", remedy="give one a weight above 0")
    numbers = chance.choices(range(len(spec.classes)), weights, k=spec.tests) if spec.tests else []
    for number, index in enumerate(numbers):
        each = spec.classes[index]
        seconds = each.seconds * math.exp(chance.gauss(0.0, each.sigma)) if each.sigma else each.seconds
        act = Act(seconds=round(seconds, 6), peak_bytes=each.peak_bytes, cores=each.requirements.amounts.cpu_cores)
        name = f"tests/test_{number // spec.per_module}.py::test_{each.name}_{number}"
        workload.add(name, each.requirements, act)
    return workload


def _remember(workload: Workload, knowledge: Knowledge, chance: Random) -> None:
    """Give tests a past: one attempt each of as many as are known, about as long as the next will be."""
    for task_id, act in workload.acts.items():
        if knowledge.known < 1 and chance.random() >= knowledge.known:
            continue
        wall_s = act.seconds * math.exp(chance.gauss(0.0, knowledge.error)) if knowledge.error else act.seconds
        usage = Usage(wall_s=wall_s, cpu_s=wall_s * act.cores, peak_rss_bytes=act.peak_bytes)
        workload.past[task_id] = (usage,)


def _ruled(task: Task, rules: tuple[Rule, ...], counted: Mapping[str, int]) -> Task:
    changes: dict[str, Any] = {}
    for rule in rules:
        if rule.is_for(task.task_id):
            changes.update(rule.changes)
    if not changes:
        return task
    amounts = task.requirements.amounts
    kept = {"cpu": amounts.cpu_cores, "gpu": amounts.gpus, "labels": task.requirements.labels}
    if amounts.memory_bytes:
        kept["memory"] = amounts.memory_bytes
    ruled = requirements_of([((), changes), ((), kept)], {}, where=task.task_id, counted=counted)
    return Task(task_id=task.task_id, scope=task.scope, position=task.position, requirements=ruled)


# -- what has run before


def _recorded(spec: Recorded, scenario: Scenario) -> Workload:
    path = spec.path
    if not path.is_file():
        raise ConfigError(f"workload: there is no file {path}", remedy=_REMEDY)
    if path.suffix == ".csv":
        workload = _table(path, spec, scenario.counted)
        _remember(workload, scenario.knowledge, _chance(scenario, "history"))
    elif path.suffix == ".ndjson":
        workload = Workload()
        for task_id, (requirements, usage, outcome) in _record(path).items():
            if spec.takes(task_id):
                workload.add(task_id, requirements, _act(usage, outcome))
        _remember(workload, scenario.knowledge, _chance(scenario, "history"))
    elif path.suffix == ".db":
        workload = _history(spec)
    else:
        raise ConfigError(f"workload: {path.name} is of no known kind", remedy=_REMEDY)
    if not workload.tasks:
        raise ConfigError(f"workload: {path} holds no test that has run", remedy=_REMEDY)
    return workload


def _record(path: Path) -> dict[str, tuple[Requirements, Usage, Outcome]]:
    """Return per test what its last attempt had reserved, what it used, and how the test ended.

    Memory is left out of what is asked for: the predictor says it anew.
    """
    reserved: dict[str, Requirements] = {}
    found: dict[str, tuple[Requirements, Usage, Outcome]] = {}
    for event in read_events(path):
        if isinstance(event, events.AttemptStarted):
            wanted = {"cpu": event.reserved.cpu_cores or 1.0, "gpu": event.reserved.gpus}
            reserved[event.task_id] = requirements_of([((), wanted)], {}, where=event.task_id)
        elif isinstance(event, events.AttemptFinished) and event.outcome is not None:
            needs = reserved.get(event.task_id, Requirements())
            found[event.task_id] = (needs, event.usage, event.outcome)
    return found


def _history(spec: Recorded) -> Workload:
    """Return the tests of a history: the newest attempt of each is what happens, those before are what is known."""
    told: list[str] = []
    store = open_history(spec.path, warn=told.append)
    try:
        past = store.samples(store.task_ids(), last=4)
    finally:
        store.close()
    if told:
        raise ConfigError(told[0])
    needs = _record(spec.record) if spec.record is not None else {}
    workload = Workload()
    for task_id, samples in past.items():
        usages = [sample for sample in samples if sample.outcome not in (None, Outcome.NOT_RUN)]
        if usages and spec.takes(task_id):
            newest = usages[-1]
            asked = needs[task_id][0] if task_id in needs else Requirements()
            workload.add(task_id, asked, _act(newest.usage, newest.outcome or Outcome.PASSED))
            workload.past[task_id] = tuple(sample.usage for sample in usages[:-1] or usages)
    return workload


def _act(usage: Usage, outcome: Outcome) -> Act:
    cores = usage.cpu_s / usage.wall_s if usage.wall_s > 0 else 1.0
    message = "as it did when it was recorded" if outcome.is_bad else ""
    return Act(
        seconds=usage.wall_s, peak_bytes=usage.peak_rss_bytes, cores=round(cores, 3), outcome=outcome, message=message
    )


def _table(path: Path, spec: Recorded, counted: Mapping[str, int]) -> Workload:
    workload = Workload()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            for column in rows.fieldnames or ():
                check_key(column, _COLUMNS, where=path.name)
            for number, row in enumerate(rows, start=2):
                _add_row(
                    workload,
                    {key: text for key, text in row.items() if text},
                    f"{path.name}: line {number}",
                    spec,
                    counted,
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read ({error})", remedy=_REMEDY) from error
    return workload


def _add_row(
    workload: Workload, row: Mapping[str, Any], where: str, spec: Recorded, counted: Mapping[str, int]
) -> None:
    task_id = str(row.get("test", f"trace::test_{len(workload.tasks)}"))
    if not spec.takes(task_id):
        return
    if "seconds" not in row:
        raise ConfigError(f"{where}: how long the test takes is not said", remedy="fill the column 'seconds'")
    wanted: dict[str, Any] = {key: value for key, value in row.items() if key in KEYS}
    for key in ("labels", "lock", "shared_lock"):
        if key in wanted:
            wanted[key] = str(wanted[key]).split("+")
    requirements = requirements_of([((), wanted)], {}, where=where, counted=counted)
    outcome = str(row.get("outcome", "passed"))
    if outcome not in {each.value for each in Outcome} - {"not_run"}:
        raise ConfigError(f"{where}: {shown(outcome)} is no outcome", remedy="write passed, failed, error or skipped")
    cores = row.get("cores")
    act = Act(
        seconds=parse_duration(row["seconds"], what=f"{where}: seconds"),
        peak_bytes=parse_bytes(row.get("peak", 0), what=f"{where}: peak"),
        cores=KEYS["cpu"](cores, f"{where}: cores") if cores is not None else requirements.amounts.cpu_cores,
        outcome=Outcome(outcome),
        message="the trace says so" if Outcome(outcome).is_bad else "",
    )
    workload.add(task_id, requirements, act)
