"""A run that is made up: as many tests, workers, samples and scaling decisions as asked for, the same for each seed.

``python -m benchmarks.reporting.synthetic FOLDER --tests 20000 --samples 50000`` leaves it as a stage does.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drm.model import events as ev
from drm.model.death import DeathKind
from drm.model.plan import Refusal, ScalingAction, ScalingDecision, Trigger
from drm.model.resources import Resources
from drm.model.stages import COMPONENTS
from drm.model.work import Outcome, Usage
from drm.reporting.ndjson import NdjsonSink
from drm.reporting.results import write_results
from drm.summary import Summarizer

__all__ = ["Shape", "leave", "synthetic_events"]

GIB = 2**30
_BEGAN = datetime(2026, 11, 23, 10, tzinfo=UTC)
_CAUSES = tuple(
    f"E  AssertionError: {what}"
    for what in ("quota 4 != 3", "worker was not released", "expected 2 leases, found 3", '<b>bold</b> & "quoted"')
)
_KILLED = "killed by SIGKILL: it had 3.1 GiB, more than its 2 GiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the run is like. ``samples`` are shared out among the workers; ``failing``, ``flaky``: shares of the tests.

    ``workers`` is the most that are wanted; two fewer are granted, the rest is denied. ``only_failed``: test 7, and
    no other, fails.
    """

    tests: int = 1000
    workers: int = 8
    samples: int = 2000
    seed: int = 7
    failing: float = 0.02
    flaky: float = 0.005
    gpus: bool = True
    executors_per_worker: int = 2
    only_failed: bool = False
    unfinished: bool = False
    stage: str = "integration"
    commit: str = "4f1c2ab9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f"
    branch: str = "main"


@dataclass(slots=True)
class _Timeline:
    """Events with their times, in any order until they are numbered."""

    rows: list[tuple[float, int, type[ev.Event], dict[str, Any]]] = field(default_factory=list)

    def add(self, at_s: float, kind: type[ev.Event], **fields: Any) -> None:
        self.rows.append((round(at_s, 6), len(self.rows), kind, fields))

    def numbered(self) -> Iterator[ev.Event]:
        for seq, (at_s, _, kind, fields) in enumerate(sorted(self.rows, key=lambda row: row[:2]), start=1):
            yield kind(seq=seq, at=_at(at_s), elapsed_s=at_s, **fields)


def _at(at_s: float) -> str:
    return ev.utc_text(_BEGAN + timedelta(seconds=at_s))


def synthetic_events(shape: Shape) -> Iterator[ev.Event]:
    """Yield the events of the run, numbered, in order."""
    chance = random.Random(shape.seed)
    line = _Timeline()
    names = _names(shape)
    ready = _pool(shape, line, chance)
    refused = set(names[-2:]) if shape.tests >= 100 and not shape.only_failed else set()
    outcomes, end_s = _tests(shape, line, chance, names, ready, refused)
    _facts(shape, line, names, refused, end_s)
    _samples(shape, line, chance, ready, end_s)
    if not shape.unfinished:
        counts = dict.fromkeys(Outcome, 0)
        for outcome in outcomes.values():
            counts[outcome] += 1
        told = tuple((outcome.value, number) for outcome, number in counts.items())
        line.add(end_s + 1.0, ev.RunFinished, collected=len(names), counts=told, wall_s=round(end_s + 1.0, 6))
    yield from line.numbered()


def _names(shape: Shape) -> list[str]:
    slugs = [component.slug for component in COMPONENTS]
    return [
        f"tests/{shape.stage}/{slugs[n % len(slugs)]}/test_module_{n // 40:04d}.py::TestThing::test_{n:06d}[p{n % 7}]"
        for n in range(shape.tests)
    ]


def _facts(shape: Shape, line: _Timeline, names: list[str], refused: set[str], end_s: float) -> None:
    line.add(
        0.0,
        ev.RunStarted,
        run_id=f"synthetic-{shape.stage}-{shape.seed}",
        format_version=ev.FORMAT_VERSION,
        command=("drm", "run", f"tests/{shape.stage}", "--drm-workers", f"1..{shape.workers}"),
        rootdir="/suite",
        drm_version="0.1.0",
        python="3.12.1",
        platform="Linux-6.1-x86_64",
        machine="linux-x86_64-64c-py3.12",
        cpu_cores=64.0,
        memory_bytes=256 * GIB,
        commit=shape.commit,
        branch=shape.branch,
    )
    line.add(0.1, ev.TestsDiscovered, task_ids=tuple(names))
    methods = (("history", shape.tests * 9 // 10), ("siblings", shape.tests - shape.tests * 9 // 10))
    line.add(0.2, ev.ForecastMade, tasks=shape.tests, wall_s=end_s, longest_s=9.0, longest_task="", methods=methods)
    refusals = tuple(Refusal(task_id=name, reason="2 gpu of 1 on the largest worker type") for name in sorted(refused))
    placed = shape.tests - len(refused)
    line.add(0.3, ev.PlanMade, allocated=placed, refusals=refusals, makespan_s=0.9 * end_s, lower_bound_s=0.7 * end_s)


def _pool(shape: Shape, line: _Timeline, chance: random.Random) -> list[tuple[str, float]]:
    """Grow the pool step by step, with holds and denials between; return the workers and when they were ready."""
    ready: list[tuple[str, float]] = []
    now, limit = 0.5, max(1, shape.workers - 2) if shape.workers > 3 else shape.workers
    while len(ready) < limit:
        present = len(ready)
        count = min(limit - present, chance.randint(1, max(1, shape.workers // 8)))
        asked = tuple(f"w{present + n:02d}" for n in range(count))
        up = _decision(ScalingAction.UP, "queue_pressure", present, present + count, present + count, shape)
        line.add(now, ev.ScalingDecided, decision=up, outcome=f"requested {', '.join(asked)}", requested=asked)
        for worker_id in asked:
            latency = round(chance.uniform(0.4, 4.0), 3)
            _join(shape, line, worker_id, now, latency)
            ready.append((worker_id, now + latency))
        now += chance.uniform(1.0, 6.0)
        hold = _decision(ScalingAction.HOLD, "cooldown", len(ready), len(ready) + 1, len(ready), shape)
        line.add(now, ev.ScalingDecided, decision=hold)
        now += chance.uniform(1.0, 6.0)
    for n in range(3 if limit < shape.workers else 0):
        denied = _decision(ScalingAction.DENIED, "maximum", limit, limit + n + 1, limit, shape)
        line.add(now + 9 * n, ev.ScalingDecided, decision=denied)
    return ready


def _join(shape: Shape, line: _Timeline, worker_id: str, now: float, latency: float) -> None:
    capacity = Resources(cpu_cores=4, memory_bytes=16 * GIB, gpus=1 if shape.gpus else 0)
    kind = "gpu.large" if shape.gpus else "cpu.large"
    line.add(now, ev.InstanceRequested, worker_id=worker_id, worker_type=kind, provider="aws", usd_per_hour=1.2)
    line.add(now + latency, ev.InstanceReady, worker_id=worker_id, instance_id=f"i-{worker_id}", latency_s=latency)
    memory = 80 * GIB if shape.gpus else 0
    line.add(
        now + latency,
        ev.WorkerReady,
        worker_id=worker_id,
        worker_type=kind,
        capacity=capacity,
        labels=("gpu",) if shape.gpus else (),
        gpu_memory_bytes=memory,
    )


def _decision(
    action: ScalingAction,
    code: str,
    workers: int,
    wanted: int,
    granted: int,
    shape: Shape,
    remove: tuple[str, ...] = (),
) -> ScalingDecision:
    triggers = {
        "queue_pressure": Trigger(code=code, metric="queue_s_per_slot", value=41.5, threshold=30.0),
        "cooldown": Trigger(code=code, metric="since_last_up_s", value=2.5, threshold=5.0),
        "maximum": Trigger(code=code, metric="total_workers", value=float(workers), threshold=float(workers)),
        "idle": Trigger(code=code, metric="idle_s", value=12.0, threshold=10.0),
    }
    reasons = {
        "queue_pressure": f"120 runnable tests hold 900.0 s of work, 41.5 s per running slot against a target of 30 s: "
        f"add {granted - workers} to the {workers} there",
        "cooldown": "41.5 s per running slot against a target of 30 s: wait 2.5 s more, workers were added 2.5 s ago",
        "maximum": f"{wanted} workers are wanted, but the maximum of {workers} in all is reached",
        "idle": "a worker is idle for 12.0 s (limit 10 s) and no runnable test needs it",
    }
    return ScalingDecision(
        action=action,
        worker_type="gpu.large" if shape.gpus else "cpu.large",
        workers=workers,
        wanted=wanted,
        granted=granted,
        trigger=triggers[code],
        reason=reasons[code],
        remove=remove,
        inputs=(("waiting", 120.0), ("runnable", 120.0), ("waiting_s", 900.0), ("total_workers", float(workers))),
        alternatives=(f"by_time: {wanted + 2} workers", "busy: 1 workers"),
        limits_hit={"cooldown": ("cooldown",), "maximum": ("maximum",)}.get(code, ()),
    )


def _tests(
    shape: Shape,
    line: _Timeline,
    chance: random.Random,
    names: list[str],
    ready: list[tuple[str, float]],
    refused: set[str],
) -> tuple[dict[str, Outcome], float]:
    """Run every test on the executor that is free first; return the outcomes, and when the last one ended."""
    free = [
        (at_s + 0.05 * n, f"{worker_id}-e{n}", worker_id)
        for worker_id, at_s in ready
        for n in range(shape.executors_per_worker)
    ]
    heapq.heapify(free)
    outcomes: dict[str, Outcome] = {}
    last_at: dict[str, float] = {}
    end_s = max((at_s for _, at_s in ready), default=1.0)
    for number, name in enumerate(names):
        if name in refused:
            outcomes[name] = Outcome.ERROR
            line.add(
                0.4, ev.TestFinished, task_id=name, outcome=Outcome.ERROR, attempts=0, wall_s=0.0, message="no room"
            )
            continue
        at_s, executor_id, worker_id = heapq.heappop(free)
        outcome, message = _fate(shape, chance, number)
        flaky = outcome is Outcome.PASSED and not shape.only_failed and chance.random() < shape.flaky
        attempt = 1
        if flaky:
            at_s = _attempt(shape, line, chance, name, 1, worker_id, executor_id, at_s, None)
            attempt = 2
        finish_s = _attempt(shape, line, chance, name, attempt, worker_id, executor_id, at_s, outcome)
        wall_s = round(finish_s - at_s, 6)
        fields = {"attempts": attempt, "wall_s": wall_s, "flaky": flaky, "message": _KILLED if flaky else message}
        line.add(finish_s, ev.TestFinished, task_id=name, outcome=outcome, **fields)
        outcomes[name] = outcome
        last_at[worker_id] = finish_s
        end_s = max(end_s, finish_s)
        heapq.heappush(free, (finish_s + 0.01, executor_id, worker_id))
    _drain(shape, line, ready, last_at, end_s)
    return outcomes, end_s


def _fate(shape: Shape, chance: random.Random, number: int) -> tuple[Outcome, str]:
    if shape.only_failed:
        return (Outcome.FAILED, _CAUSES[0]) if number == 7 else (Outcome.PASSED, "")
    draw = chance.random()
    if draw < shape.failing:
        return (Outcome.ERROR if draw < shape.failing / 10 else Outcome.FAILED), chance.choice(_CAUSES)
    return (Outcome.SKIPPED, "") if draw > 0.97 else (Outcome.PASSED, "")


def _attempt(
    shape: Shape,
    line: _Timeline,
    chance: random.Random,
    name: str,
    attempt: int,
    worker_id: str,
    executor_id: str,
    at_s: float,
    outcome: Outcome | None,
) -> float:
    """Add one attempt; without an outcome it was killed. Return when it ended."""
    wall_s = min(9.0, 0.02 + chance.lognormvariate(-1.5, 1.0))
    gpus = 0.5 if shape.gpus and chance.random() < 0.2 else 0.0
    where = {"task_id": name, "attempt": attempt, "worker_id": worker_id, "executor_id": executor_id}
    reserved = Resources(cpu_cores=1, memory_bytes=chance.choice((1, 2, 2, 4)) * GIB, gpus=gpus)
    expected_s = round(wall_s * chance.lognormvariate(0, 0.25), 6) if chance.random() < 0.9 else None
    line.add(at_s, ev.AttemptStarted, **where, reserved=reserved, expected_s=expected_s)
    peak = int(reserved.memory_bytes * min(1.05, chance.betavariate(4, 4)))
    usage = Usage(wall_s=round(wall_s, 6), cpu_s=round(wall_s * chance.uniform(0.3, 1.0), 6), peak_rss_bytes=peak)
    fate = {} if outcome is not None else {"cause": _KILLED, "death": DeathKind.MEMORY}
    line.add(at_s + wall_s, ev.AttemptFinished, **where, outcome=outcome, usage=usage, **fate)
    return at_s + wall_s


def _drain(
    shape: Shape, line: _Timeline, ready: list[tuple[str, float]], last_at: dict[str, float], end_s: float
) -> None:
    """Let each worker go some time after its last test, the first of them with a decision of its own."""
    for number, (worker_id, ready_s) in enumerate(reversed(ready)):
        is_early = number < len(ready) // 2 and last_at.get(worker_id, ready_s) + 0.3 < end_s
        gone_s = last_at.get(worker_id, ready_s) + 0.3 if is_early else end_s + 0.5
        if is_early:
            left = len(ready) - number
            down = _decision(ScalingAction.DOWN, "idle", left, left - 1, left - 1, shape, (worker_id,))
            line.add(gone_s - 0.2, ev.ScalingDecided, decision=down, outcome=f"draining {worker_id}")
        held_s = round(gone_s - ready_s, 3)
        released = {"worker_id": worker_id, "instance_id": f"i-{worker_id}", "held_s": held_s}
        line.add(gone_s, ev.InstanceReleased, **released, cost_usd=round(1.2 * held_s / 3600, 6))


def _samples(
    shape: Shape, line: _Timeline, chance: random.Random, ready: list[tuple[str, float]], end_s: float
) -> None:
    """Add samples at even distances, as a walk between idle and saturated."""
    each = shape.samples // max(1, len(ready))
    for worker_id, ready_s in ready:
        cpu, memory, gpu = 2.0, 6.0, 0.5
        for n in range(each):
            cpu = min(4.0, max(0.0, cpu + chance.gauss(0.02, 0.4)))
            memory = min(16.0, max(0.5, memory + chance.gauss(0.0, 0.5)))
            gpu = min(1.0, max(0.0, gpu + chance.gauss(0.0, 0.1))) if shape.gpus else 0.0
            line.add(
                ready_s + (end_s - ready_s) * (n + 1) / (each + 1),
                ev.UtilizationSampled,
                worker_id=worker_id,
                reserved=Resources(cpu_cores=2, memory_bytes=4 * GIB, gpus=0.5 if shape.gpus else 0),
                used=Resources(cpu_cores=cpu, memory_bytes=int(memory * GIB), gpus=gpu),
                executors=shape.executors_per_worker,
                running=min(shape.executors_per_worker, round(cpu)),
                gpu_memory_bytes=int(gpu * 60 * GIB),
            )


def leave(folder: Path, shape: Shape, *, with_results: bool = True) -> None:
    """Leave the run in the folder, as a stage does: events.ndjson, and results.json made from it."""
    sink, summarizer = NdjsonSink(folder / "events.ndjson"), Summarizer()
    for event in synthetic_events(shape):
        sink.emit(event)
        summarizer.feed(event)
    sink.close()
    summary = summarizer.summary()
    if with_results and summary.finished:
        write_results(summary, folder / "results.json", exit_code=1 if summary.bad else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description="leave a made-up run in a folder")
    parser.add_argument("folder", type=Path, help="such as /tmp/reports/integration")
    parser.add_argument("--tests", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=24)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-gpus", action="store_true")
    options = parser.parse_args()
    shape = Shape(
        tests=options.tests,
        workers=options.workers,
        samples=options.samples,
        seed=options.seed,
        gpus=not options.no_gpus,
    )
    leave(options.folder, shape)


if __name__ == "__main__":
    main()
