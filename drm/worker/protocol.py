"""The messages of an agent as observations."""

from __future__ import annotations

from typing import Any

from drm.model import observations as seen
from drm.model.death import Death, DeathKind
from drm.model.errors import LostError
from drm.model.memory import MemoryLevel, MemorySample
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage


def observation(worker_id: str, message: list[Any]) -> seen.Observation:
    """Return what a message says. LostError when it is none of ours: that worker cannot be trusted further."""
    try:
        found: seen.Observation = _READERS[message[0]](worker_id, *message[1:])
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise LostError(f"worker {worker_id} sent a message that is not understood ({error!r})") from error


def _joined(
    worker_id: str,
    cpu: float,
    memory: int,
    gpus: float,
    labels: list[str],
    kind: str,
    pid: int,
    held: int,
    gpu_memory: int,
) -> Any:
    capacity = Resources(cpu_cores=cpu, memory_bytes=memory, gpus=gpus)
    return seen.WorkerJoined(
        worker_id=worker_id,
        capacity=capacity,
        labels=frozenset(labels),
        worker_type=kind,
        pid=pid,
        held_bytes=held,
        gpu_memory_bytes=gpu_memory,
    )


GPUS_OF_JOINED = 3  # the place of the number of gpus in the message


def joined_message(capacity: Resources, labels: frozenset[str], worker_type: str, pid: int) -> list[Any]:
    """Return the message by which a worker joins; its agent adds the memory it holds already, and that of its gpus."""
    amounts = [capacity.cpu_cores, capacity.memory_bytes, capacity.gpus]
    return ["joined", *amounts, sorted(labels), worker_type, pid]


def _end(
    worker: str,
    executor: str,
    task_id: str,
    attempt: int,
    outcome: str,
    message: str,
    reports: list[Any],
    usage: list[float],
) -> Any:
    wall, cpu, peak, *gpu = usage  # its agent adds the last, where a gpu is reserved
    return seen.AttemptEnded(
        worker_id=worker,
        executor_id=executor,
        task_id=task_id,
        attempt=attempt,
        outcome=Outcome(outcome),
        message=message,
        reports=reports,
        usage=Usage(wall_s=wall, cpu_s=cpu, peak_rss_bytes=int(peak), gpu_bytes=int(sum(gpu))),
    )


def failures_in(reports: list[Any]) -> int:
    """Return how many of a test's encoded reports pytest counts as failures."""
    return sum(
        isinstance(report, dict) and report.get("outcome") == "failed" and "wasxfail" not in report
        for report in reports
    )


def _missing(worker: str, executor: str, task_id: str, attempt: int) -> Any:
    return seen.AttemptEnded(
        worker_id=worker,
        executor_id=executor,
        task_id=task_id,
        attempt=attempt,
        outcome=Outcome.ERROR,
        message="the worker did not find this test when it collected; make collection deterministic",
        reports=[],
        usage=Usage(),
    )


def _exited(worker: str, executor: str, death: dict[str, Any] | None) -> Any:
    if death is None:
        return seen.ExecutorExited(worker_id=worker, executor_id=executor)
    killed_for = DeathKind(death["killed_for"]) if death["killed_for"] is not None else None
    return seen.ExecutorExited(
        worker_id=worker, executor_id=executor, death=Death(**{**death, "killed_for": killed_for})
    )


def sample_message(sample: MemorySample) -> list[Any]:
    """Return a sample as its message."""
    levels = [[level.name, level.limit_bytes, level.used_bytes] for level in sample.levels]
    return ["memory", levels, sample.pressure, list(map(list, sample.resident_bytes))]


def _memory(worker: str, levels: list[list[Any]], pressure: float, residents: list[list[Any]]) -> Any:
    sample = MemorySample(
        levels=tuple(MemoryLevel(name=name, limit_bytes=limit, used_bytes=used) for name, limit, used in levels),
        pressure=pressure,
        resident_bytes=tuple((executor, size) for executor, size in residents),
    )
    return seen.MemorySampled(worker_id=worker, sample=sample)


_READERS: dict[str, Any] = {
    "joined": _joined,
    "noticed": lambda worker, reason: seen.WorkerNoticed(worker_id=worker, reason=reason),
    "left": lambda worker, reason: seen.WorkerLeft(worker_id=worker, reason=reason),
    "sample": lambda worker, cores, memory, gpus, gpu_memory: seen.WorkerSampled(
        worker_id=worker,
        used=Resources(cpu_cores=cores, memory_bytes=memory, gpus=gpus),
        gpu_memory_bytes=gpu_memory,
    ),
    "memory": _memory,
    "settled": lambda worker, executor, base: seen.ExecutorSettled(
        worker_id=worker, executor_id=executor, base_bytes=base
    ),
    "ready": lambda worker, executor, pid: seen.ExecutorReady(worker_id=worker, executor_id=executor, pid=pid),
    "begin": lambda worker, executor, task, attempt: seen.AttemptBegan(
        worker_id=worker, executor_id=executor, task_id=task, attempt=attempt
    ),
    "end": _end,
    "missing": _missing,
    "idle": lambda worker, executor, returned: seen.BatchEnded(
        worker_id=worker, executor_id=executor, returned=tuple(returned)
    ),
    "late": lambda worker, executor, task, message, report: seen.TeardownReported(
        worker_id=worker, executor_id=executor, task_id=task, message=message, report=report
    ),
    "warning": lambda worker, executor, data: seen.WarningRecorded(worker_id=worker, executor_id=executor, data=data),
    "live": lambda worker, executor, test, line: seen.LinePrinted(
        worker_id=worker, executor_id=executor, test=test, line=line
    ),
    "output": lambda worker, executor, output: seen.OutputGiven(worker_id=worker, executor_id=executor, output=output),
    "ask": lambda worker, executor, kind, text, code: seen.StopAsked(
        worker_id=worker, executor_id=executor, kind=kind, message=text, exit_code=code
    ),
    "exited": _exited,
}
