"""The messages of an agent as observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from types import NoneType
from typing import Any

from drm.model import observations as seen
from drm.model.death import Death, DeathKind
from drm.model.errors import DrmError, LostError
from drm.model.memory import MemoryLevel, MemorySample
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage

_MOST = 2**62  # of any number: what is larger was never measured, and no database takes it


def observation(worker_id: str, message: list[Any]) -> seen.Observation:
    """Return what a message says. LostError when it is none of ours: whoever sent it cannot be trusted further.

    It may come from a test that writes on its process's connection: after this each word is of its type, and each
    number one that can be counted with.
    """
    name, words = message[0], message[1:]
    try:
        if tuple(map(type, words)) not in _SHAPES[name]:
            raise TypeError("it has words of other types")
        for place in _NUMBERS[name]:
            _amount(words[place])
        found: seen.Observation = _READERS[name](worker_id, *words)
        return found
    except (KeyError, TypeError, ValueError, OverflowError, DrmError) as error:
        why = repr(error)[:200]
        raise LostError(f"worker {worker_id} sent a message that is not understood ({why})") from error


def _amount(value: float) -> float:
    if not 0 <= value < _MOST:  # so is one that is not a number; what is no number at all is a TypeError
        raise ValueError("a number that is impossible")
    return value


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
        labels=frozenset(map(str, labels)),
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
    if not (0 <= wall < _MOST and 0 <= cpu < _MOST and 0 <= peak < _MOST and 0 <= sum(gpu) < _MOST):
        raise ValueError("a number that is impossible")
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
    return sum(isinstance(report, dict) and counts_as_failure(report) for report in reports)


def counts_as_failure(report: Mapping[str, Any]) -> bool:
    """Tell whether pytest counts it for --maxfail: not if it failed by its subtests alone, which count themselves."""
    return report.get("outcome") == "failed" and "wasxfail" not in report and "drm_parts_failed" not in report


def is_excused(report: Any) -> bool:
    """Tell whether a teardown that was reported late is no failure: it was skipped, or its test may fail."""
    return isinstance(report, list) or report.get("outcome") in ("passed", "skipped")


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


_DEATH: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("reason", "stacks"), (str,)),
    **dict.fromkeys(("killed_for", "signal"), (str, NoneType)),
    **dict.fromkeys(("peak_rss_bytes", "oom_kills"), (int,)),
    "exit_code": (int, NoneType),
}


def _exited(worker: str, executor: str, death: dict[str, Any] | None) -> Any:
    if death is None:
        return seen.ExecutorExited(worker_id=worker, executor_id=executor)
    if any(not isinstance(death[name], kinds) for name, kinds in _DEATH.items()):
        raise TypeError("a death of other types")
    _amount(death["peak_rss_bytes"])
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
        levels=tuple(
            MemoryLevel(name=str(name), limit_bytes=int(_amount(limit)), used_bytes=int(_amount(used)))
            for name, limit, used in levels
        ),
        pressure=pressure,
        resident_bytes=tuple((str(executor), int(_amount(size))) for executor, size in residents),
    )
    return seen.MemorySampled(worker_id=worker, sample=sample)


_READERS: dict[str, Callable[..., seen.Observation]] = {
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

_NUMBER = (int, float)
_WORDS: dict[str, tuple[tuple[type, ...], ...]] = {
    "joined": (_NUMBER, (int,), _NUMBER, (list,), (str,), (int,), (int,), (int,)),
    "noticed": ((str,),),
    "left": ((str,),),
    "sample": (_NUMBER, _NUMBER, _NUMBER, _NUMBER),
    "memory": ((list,), _NUMBER, (list,)),
    "settled": ((str,), (int,)),
    "ready": ((str,), (int,)),
    "begin": ((str,), (str,), (int,)),
    "end": ((str,), (str,), (int,), (str,), (str,), (list,), (list,)),
    "missing": ((str,), (str,), (int,)),
    "idle": ((str,), (list,)),
    "late": ((str,), (str,), (str,), (dict, list)),
    "warning": ((str,), (dict,)),
    "live": ((str,), (str,), (str,)),
    "output": ((str,), (dict,)),
    "ask": ((str,), (str,), (str,), (int, NoneType)),
    "exited": ((str,), (dict, NoneType)),
}
BY_EXECUTORS = frozenset(
    ("begin", "end", "missing", "idle", "settled", "late", "warning", "live", "output", "ask")
)  # the names of messages that executors send, and so tests can
_NUMBERS = {name: [place for place, kinds in enumerate(row) if int in kinds] for name, row in _WORDS.items()}
_NUMBERS["ask"] = []  # its exit code may be none, and pytest's to judge
_SHAPES = {name: frozenset(product(*kinds)) for name, kinds in _WORDS.items()}
