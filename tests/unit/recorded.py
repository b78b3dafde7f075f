"""Runs made up for tests: a tape that numbers events, and folders as stages leave them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drm.model import events as ev
from drm.model.plan import ScalingAction, ScalingDecision, Trigger
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage
from drm.reporting.ndjson import NdjsonSink
from drm.reporting.results import write_results
from drm.summary import summarise

GIB = 2**30
ONE = Resources(cpu_cores=1, memory_bytes=GIB)
TWO = Resources(cpu_cores=2, memory_bytes=8 * GIB)
SLUGS = (
    "dynamic_resource_manager",
    "resource_performance_predictor",
    "cloud_provider_manager",
    "resource_optimizer",
)


class Tape:
    """Events in order, numbered as the coordinator would."""

    def __init__(self, task_ids: Iterable[str] = (), *, start: bool = True, **facts: Any) -> None:
        self.events: list[ev.Event] = []
        if start:
            known = {"run_id": "r1", "format_version": 1, "command": ("drm", "run"), "rootdir": "/suite"}
            known |= {"drm_version": "0.1.0", "python": "3.11.7", "platform": "Linux", "machine": "m1"}
            known |= {"cpu_cores": 2.0, "memory_bytes": 8 * GIB, "commit": "abc123", "branch": "main"}
            self.add(ev.RunStarted, 0.0, **(known | facts))
            self.add(ev.TestsDiscovered, 0.1, task_ids=tuple(task_ids))

    def add(self, kind: type[ev.Event], elapsed_s: float, **fields: Any) -> None:
        at = f"2026-11-23T10:00:{int(elapsed_s) % 60:02d}.000Z"
        self.events.append(kind(seq=len(self.events) + 1, at=at, elapsed_s=elapsed_s, **fields))

    def start(self, task_id: str, at: float, *, attempt: int = 1, worker: str = "w1", executor: str = "w1-e1") -> None:
        ids = {"worker_id": worker, "executor_id": executor}
        self.add(ev.AttemptStarted, at, task_id=task_id, attempt=attempt, reserved=ONE, **ids)

    def end(
        self,
        task_id: str,
        at: float,
        outcome: Outcome | None = Outcome.PASSED,
        *,
        attempt: int = 1,
        worker: str = "w1",
        executor: str = "",
        cause: str = "",
        wall_s: float = 0.5,
    ) -> None:
        usage = Usage(wall_s=wall_s, cpu_s=wall_s * 0.8, peak_rss_bytes=200 * 2**20)
        ids = {"worker_id": worker, "executor_id": executor or f"{worker}-e1"}
        self.add(
            ev.AttemptFinished, at, task_id=task_id, attempt=attempt, outcome=outcome, usage=usage, cause=cause, **ids
        )

    def test(self, task_id: str, at: float, outcome: Outcome = Outcome.PASSED, message: str = "") -> None:
        """Add a whole test of half a second."""
        self.start(task_id, at)
        self.end(task_id, at + 0.5, outcome)
        self.finish(task_id, at + 0.5, outcome, message=message)

    def finish(self, task_id: str, at: float, outcome: Outcome = Outcome.PASSED, **fields: Any) -> None:
        self.add(ev.TestFinished, at, task_id=task_id, outcome=outcome, **({"attempts": 1, "wall_s": 0.5} | fields))

    def close(self, at: float, **fields: Any) -> None:
        summary = summarise(self.events)
        known = {"collected": summary.collected, "counts": summary.counts, "wall_s": at}
        self.add(ev.RunFinished, at, **(known | fields))


def decision(action: ScalingAction = ScalingAction.UP, reason: str = "8 tests wait", **changes: Any) -> ScalingDecision:
    trigger = Trigger(code="queue", metric="waiting", value=8.0, threshold=2.0)
    known = {"worker_type": "cpu", "workers": 1, "wanted": 2, "granted": 2, "trigger": trigger}
    return ScalingDecision(action=action, reason=reason, **(known | changes))


def suite(stage: str, outcomes: dict[str, Outcome] | None = None, *, message: str = "", **facts: Any) -> Tape:
    """Return a finished run of one test per component, or of the given tests."""
    paths = {f"tests/{stage}/{slug}/test_it.py::test_{slug}": Outcome.PASSED for slug in SLUGS}
    tests = outcomes if outcomes is not None else paths
    tape = Tape(tests, **facts)
    tape.add(ev.PlanMade, 0.2, allocated=len(tests), refusals=(), makespan_s=2.0, lower_bound_s=1.5)
    tape.add(ev.WorkerReady, 0.2, worker_id="w1", worker_type="local", capacity=TWO)
    for place, (task_id, outcome) in enumerate(tests.items()):
        tape.add(
            ev.UtilizationSampled,
            0.5 * place + 0.3,
            worker_id="w1",
            reserved=ONE,
            used=Resources(cpu_cores=0.7, memory_bytes=GIB // 2),
            executors=2,
            running=1,
        )
        if outcome is not Outcome.NOT_RUN:
            tape.test(task_id, 0.5 * place + 0.3, outcome, message if outcome.is_bad else "")
    tape.close(0.5 * len(tests) + 0.5)
    return tape


def write_events(path: Path, events: Iterable[ev.Event]) -> None:
    sink = NdjsonSink(path)
    for event in events:
        sink.emit(event)
    sink.close()


def leave(folder: Path, tape: Tape, *, exit_code: int = 0, status: str = "passed", **fields: Any) -> None:
    """Leave a folder as the session of a stage does."""
    write_events(folder / "events.ndjson", tape.events)
    write_results(summarise(tape.events), folder / "results.json", exit_code=exit_code)
    known = {"schema_version": 1, "stage": folder.name, "status": status, "exit_code": exit_code, "components": []}
    (folder / "status.json").write_text(json.dumps(known | fields))


def leave_all(reports: Path, **tapes: Tape) -> None:
    """Leave all five stages, the given ones from their tapes and the others passing."""
    for stage in ("unit", "integration", "performance", "e2e", "distributed"):
        leave(reports / stage, tapes.get(stage) or suite(stage))
