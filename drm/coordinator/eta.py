"""How long a run will still take, as far as forecasts can tell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from drm.coordinator.crew import Executor


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
