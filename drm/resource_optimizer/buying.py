"""Which worker types to buy for tests that all run at once: the fullest worker for its price, again and again. Pure.

Greedy by price density: of every type the best filling that what is left allows, the one that replaces most for its
price, as often as there are tests for it. What a test is worth is what it costs alone, at least: the
least price of the share of a worker that it takes. Fillings mix tests that ask for much of different things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drm.model.cluster import WorkerType
from drm.model.gpus import WHOLE, assign, devices_of, most_left
from drm.model.resources import Requirements, Resources
from drm.resource_optimizer.placement import can_hold

_PREFERENCES = (0.0, 0.5, 1.0, 2.0)  # how much what a test is worth counts beside how well it matches what is left


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many tests that ask for the same."""

    requirements: Requirements
    count: int


@dataclass(slots=True)
class Bought:
    """Workers of one type, and the tests meant for them, by number of their class."""

    workers: int = 0
    tests: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Filling:
    worker_type: int
    tests: dict[int, int]
    density: float


def buy(wanted: Sequence[Wanted], types: Sequence[WorkerType]) -> list[Bought]:
    """Return what to buy of each type, so that all the tests could run at once. All types must have a price.

    Tests that fit no type are left out.
    """
    amounts = [_vector(each.requirements.amounts) for each in wanted]
    rooms = [_vector(each.capacity) for each in types]
    open_to = [[row for row, each in enumerate(wanted) if can_hold(kind, each.requirements)] for kind in types]
    worth = [0.0] * len(wanted)
    for kind, room, rows in zip(types, rooms, open_to, strict=True):
        for row in rows:
            alone = kind.usd_per_hour * _share(amounts[row], room)
            worth[row] = min(alone, worth[row] or alone)
    left = [each.count for each in wanted]
    bought = [Bought() for _ in types]
    while True:
        fillings = (
            _fill(number, kind, open_to[number], left, amounts, worth, preference)
            for number, kind in enumerate(types)
            for preference in _PREFERENCES
        )
        best = max((each for each in fillings if each.tests), key=lambda each: each.density, default=None)
        if best is None:
            return bought
        times = min(left[row] // count for row, count in best.tests.items())
        row_of = bought[best.worker_type]
        row_of.workers += times
        for row, count in best.tests.items():
            left[row] -= times * count
            row_of.tests[row] = row_of.tests.get(row, 0) + times * count


def _fill(
    number: int,
    kind: WorkerType,
    rows: Sequence[int],
    left: Sequence[int],
    amounts: Sequence[tuple[int, int, int]],
    worth: Sequence[float],
    preference: float,
) -> _Filling:
    """Fill one worker: each time with half of what fits of the tests that match best what is left of it."""
    room = _vector(kind.capacity)
    free, devices = list(room), devices_of(kind.capacity.gpus)
    tests: dict[int, int] = {}
    value = 0.0
    while True:
        best, best_score = -1, 0.0
        for row in rows:
            if left[row] > tests.get(row, 0) and _fits(amounts[row], free, devices):
                score = _match(amounts[row], free, room) * (worth[row] / _size(amounts[row], room)) ** preference
                if score > best_score:
                    best, best_score = row, score
        if best < 0:
            return _Filling(number, tests, value / kind.usd_per_hour)
        asked = amounts[best]
        for _ in range(_half(asked, free, left[best] - tests.get(best, 0))):
            if not _fits(asked, free, devices):
                break
            for device, milli in assign(devices, asked[2]) if asked[2] else ():
                devices[device] -= milli
            free = [here - amount for here, amount in zip(free, asked, strict=True)]
            tests[best] = tests.get(best, 0) + 1
            value += worth[best]


def _vector(amounts: Resources) -> tuple[int, int, int]:
    return round(amounts.cpu_cores * 1000), amounts.memory_bytes, round(amounts.gpus * WHOLE)


def _share(asked: Sequence[int], room: Sequence[int]) -> float:
    """Return the largest share of a worker, never none."""
    return max((amount / whole for amount, whole in zip(asked, room, strict=True) if whole), default=0.0) or 1e-6


def _size(asked: Sequence[int], room: Sequence[int]) -> float:
    return sum(amount / whole for amount, whole in zip(asked, room, strict=True) if whole) or 1e-6


def _match(asked: Sequence[int], free: Sequence[int], room: Sequence[int]) -> float:
    """Return the cosine of what is asked and what is free, as shares of the worker; a little where nothing is asked."""
    dot = long = wide = 0.0
    for amount, here, whole in zip(asked, free, room, strict=True):
        if whole:
            dot += amount * here / whole / whole
            long += (amount / whole) ** 2
            wide += (here / whole) ** 2
    return max(dot / (long * wide) ** 0.5, 1e-9) if long and wide else 1e-9


def _fits(asked: Sequence[int], free: Sequence[int], devices: Sequence[int]) -> bool:
    return asked[0] <= free[0] and asked[1] <= free[1] and (not asked[2] or asked[2] <= most_left(devices))


def _half(asked: Sequence[int], free: Sequence[int], most: int) -> int:
    fits = min((here // amount for amount, here in zip(asked, free, strict=True) if amount), default=1)
    return max(1, min(most, (fits + 1) // 2))
