"""A planner that knows when every push comes and what every test takes, and boots workers ahead of time.

For each push it weighs every number of workers: its tests are packed by the true durations, longest first on the worker
that is free first (Graham 1969: at most 4/3 of the optimum, and far less where tests are many). It takes the number for
which cost plus the value of the time that the push takes is least. A worker is paid for from its boot until its last
test ends, and is booted so that it is ready when the push comes. It goes on with a later push where waiting for that
costs less than a boot. What it cannot do: share a worker between two pushes at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Plan", "best_plan"]

_WIDER = 1.5  # than the number that would be best if tests were like sand


@dataclass(frozen=True)
class Plan:
    """``cost_usd``, and the seconds that each push takes. ``value_usd``: cost and the value of that time together;
    ``bound_usd``: what these come to at least, whoever plans and however late workers boot."""

    cost_usd: float
    makespans_s: tuple[float, ...]
    value_usd: float
    bound_usd: float


def best_plan(
    pushes: Sequence[tuple[float, Sequence[float]]], *, price: float, boot_s: float, value_of_time: float, most: int
) -> Plan:
    """Plan (when, durations) pushes; price and value in USD an hour."""
    paid_s, makespans = 0.0, []
    bound = 0.0
    free: list[float] = []  # when workers have ended their tests
    for at_s, durations in pushes:
        work_s, longest_s = sum(durations), max(durations)
        ideal = max(1.0, (value_of_time * work_s / (price * boot_s)) ** 0.5)
        ideal = min(ideal, work_s / longest_s)
        bound += _least_usd(work_s, longest_s, price, value_of_time, most)
        choices = range(max(1, int(ideal / _WIDER)), min(most, len(durations), int(ideal * _WIDER) + 2) + 1)
        best = min(
            (
                (value_of_time * max(ends) + price * (work_s + count * boot_s), count, ends)
                for count in choices
                for ends in [_packed(durations, count)]
            ),
            key=lambda row: row[:2],
        )
        ends = best[2]
        makespans.append(max(ends))
        kept = sorted((end_s for end_s in free if at_s - boot_s <= end_s <= at_s), reverse=True)[: len(ends)]
        paid_s += work_s + (len(ends) - len(kept)) * boot_s + sum(at_s - end_s for end_s in kept)
        free = [at_s + end_s for end_s in ends]
    cost_usd = price * paid_s / 3600
    return Plan(cost_usd, tuple(makespans), cost_usd + value_of_time * sum(makespans) / 3600, bound)


def _least_usd(work_s: float, longest_s: float, price: float, value_of_time: float, most: int) -> float:
    """Return what a push costs at least: its work, and the time that it takes on all workers there may be."""
    return (price * work_s + value_of_time * max(longest_s, work_s / most)) / 3600


def _packed(durations: Sequence[float], workers: int) -> list[float]:
    """Return when each worker ends, longest tests first."""
    ends = [0.0] * workers
    for seconds in sorted(durations, reverse=True):
        heapq.heapreplace(ends, ends[0] + seconds)
    return ends
