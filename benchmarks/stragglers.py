"""A run in which some tests take many times what was predicted, with and without a second start of those."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drm.resource_optimizer import Running, next_look_s, stragglers


@dataclass(frozen=True)
class RunOutcome:
    makespan_s: float
    copied_s: float  # spent on second starts, ended or not


def run(expected: Mapping[str, float], actual: Mapping[str, float], workers: int, *, copy: bool) -> RunOutcome:
    """Run tests on workers of one place each, the longest estimate first. A second start takes its estimate."""
    waiting = sorted(expected, key=lambda task: (expected[task], task))
    running: dict[str, Running] = {}
    copies: dict[str, float] = {}
    ends: list[tuple[float, str, bool]] = []
    free, now_s, copied_s = workers, 0.0, 0.0
    while waiting or running:
        while waiting and free:
            task = waiting.pop()
            running[task] = Running(task_id=task, started_s=now_s, expected_s=expected[task], repeatable=True)
            heapq.heappush(ends, (now_s + actual[task], task, False))
            free -= 1
        for task in stragglers(running.values(), now_s, waiting=len(waiting)) if copy else ():
            if free:
                running[task] = replace(running[task], copies=1)
                copies[task] = now_s
                heapq.heappush(ends, (now_s + expected[task], task, True))
                free -= 1
        look_s = next_look_s(running.values(), now_s) if copy and not waiting and free else None
        if look_s is not None and look_s < ends[0][0]:
            now_s = look_s
            continue
        now_s, task, _ = heapq.heappop(ends)
        if task in running:
            free += 1
            del running[task]
            if task in copies:
                copied_s += now_s - copies.pop(task)
                free += 1
    return RunOutcome(now_s, copied_s)


def bound_s(actual: Sequence[float], expected: Sequence[float], workers: int) -> float:
    """Return what no run can beat: all the work on all workers, or the longest test as predicted."""
    return max(sum(actual) / workers, max(expected))
