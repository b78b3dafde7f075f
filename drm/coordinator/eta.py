"""How long a run will still take, as far as forecasts can tell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from drm.coordinator.crew import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What runs on a worker: ``executors``, ``running`` of them a test. ``left_s``: what each of these still has to
    do. ``awaited_s``: the longest of them that those who wait for the newest tests wait for too."""

    executors: int = 0
    running: int = 0
    left_s: tuple[float, ...] = ()
    awaited_s: float = 0.0


def loads_of(
    executors: Iterable[Executor],
    expected_s: Callable[[str], float],
    now_s: float,
    is_newest: Callable[[str], bool] = lambda _: True,
) -> Mapping[str, Load]:
    """Return the load of each worker that has executors. ``is_newest``: whether a test came with the last submission.

    Whoever submits tests waits for these, not for what was submitted before and still runs.
    """
    by_worker: dict[str, list[Executor]] = {}
    for executor in executors:
        by_worker.setdefault(executor.worker_id, []).append(executor)
    return {worker_id: _load(here, expected_s, now_s, is_newest) for worker_id, here in by_worker.items()}


def _load(
    here: Sequence[Executor], expected_s: Callable[[str], float], now_s: float, is_newest: Callable[[str], bool]
) -> Load:
    busy = [executor for executor in here if executor.held]
    left_s = tuple(_load_s(executor, expected_s, now_s) for executor in busy)
    awaited = (seconds for executor, seconds in zip(busy, left_s, strict=True) if is_newest(executor.held[0]))
    return Load(executors=len(here), running=len(busy), left_s=left_s, awaited_s=max(awaited, default=0.0))


def time_left_s(
    waiting_s: float, executors: Iterable[Executor], expected_s: Callable[[str], float], now_s: float
) -> float | None:
    """Return the seconds until all tests have ended, None when there is nobody to run them or nothing to run.

    ``waiting_s``: the work that nobody holds. Work shared evenly is done no sooner, nor is that of the executor
    which has been given the most.
    """
    loads_s = [_load_s(executor, expected_s, now_s) for executor in executors]
    if not loads_s:
        return None
    return max((waiting_s + sum(loads_s)) / len(loads_s), *loads_s) or None


def _load_s(executor: Executor, expected_s: Callable[[str], float], now_s: float) -> float:
    """Return how long the executor has to go on with what it holds.

    A test that has run past its forecast is taken to go on for as long as it is late by now: there is no better
    guess, and none at all would read as "done".
    """
    load_s = 0.0
    for task_id in executor.held:
        gone_s = now_s - executor.began_s if task_id == executor.current else 0.0
        load_s += abs(expected_s(task_id) - gone_s)
    return load_s
