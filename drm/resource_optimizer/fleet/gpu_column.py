"""How good one worker with gpus is for every class: what a choice needs after a change of that worker."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.fragmentation import Doubles, Mix
from drm.resource_optimizer.fleet.gpu_state import COSINE, scores
from drm.resource_optimizer.fleet.workers import Fleet

_REMEMBERED = 2**21  # numbers kept of what was computed before: 16 MiB

Places = NDArray[np.intp]
State = tuple[int, tuple[int, ...], tuple[int, ...]]  # kind, free amounts, free thousandths of devices, the least first


class Column(NamedTuple):
    """A classes on one worker. ``score``: (A,), as of ``GpuState.places``; -inf: no room.

    A share goes to a device that has ``levels[best]`` thousandths left; of equal places to the one with the fewest.
    """

    score: Doubles
    best: Places
    levels: tuple[int, ...]


class _Sort(NamedTuple):
    """What is the same on all workers of one kind. A *move* is what classes take of the devices: ``share`` (V,) of one,
    or ``wholes`` of them, which are the first moves; ``whole`` (V, G + 1) is what that costs each demand."""

    share: NDArray[np.int64]
    wholes: list[int]
    whole: Doubles
    move_of: Places
    taken: Doubles
    weights: Doubles
    closed: NDArray[np.bool_]


class _Amounts(NamedTuple):
    """What is found beside so much that is free. ``chance``: (A + 1, G + 1) of each demand after each class, and last
    after nothing; its last column is 1. ``along``, ``square``: of the cosine, the devices left out."""

    chance: Doubles
    full: NDArray[np.bool_]
    along: Doubles
    square: float


class _Devices(NamedTuple):
    """What devices with these levels left serve after each of V moves from each of K levels: (K, V, G + 1); the last
    column is -inf where the move cannot be made, else 0."""

    levels: tuple[int, ...]
    served: Doubles


class Columns:
    """The columns of some classes of a table. The same states come again and again, so columns are remembered."""

    def __init__(self, table: ClassTable, mix: Mix, numbers: Sequence[int], fleet: Fleet) -> None:
        self._mix = mix
        self._count = len(numbers)
        chosen = np.array(numbers, dtype=np.intp)
        asked = np.pad(table.amounts[:, chosen], [(0, 0), (0, 1)])  # the last asks for nothing
        different, row_of = np.unique(asked, axis=1, return_inverse=True)
        self._row_of = row_of.ravel()
        self._class_rows = self._row_of[:-1]
        # Whether there is room for a class and, beside it, for one of the mix, and last, for nothing.
        beside = np.pad(mix.amounts, [(0, 0), (0, 1)])
        rows = np.flatnonzero(different.any(axis=1) | beside.any(axis=1))
        self._sums = [(int(row), different[row][:, None] + beside[row]) for row in rows]
        self._shape = different.shape[1], beside.shape[1]
        self._each = np.arange(self._count + 1)
        self._units = [np.ascontiguousarray(row) for row in table.unit[:, chosen].astype(np.float64)]
        self._scale: list[float] = fleet.scale().tolist()
        # What a device is worth that has so many thousandths left; fewer than none: the move cannot be made.
        self._value: Doubles = np.zeros((2 * len(mix.value), len(mix.need) + 1))
        self._value[: WHOLE + 1, :-1] = mix.value
        self._value[WHOLE + 1 :, -1] = -np.inf
        self._need = np.append(mix.need, -np.inf)
        self._sorts = [self._sort(table, chosen, kind) for kind in range(len(fleet.kinds))]
        self._columns: dict[State, Column] = {}
        self._amounts: dict[tuple[int, tuple[int, ...]], _Amounts] = {}
        self._devices: dict[tuple[int, tuple[int, ...]], _Devices] = {}
        self._kept = 0

    def of(self, state: State) -> Column:
        """Return the column of a worker in that state."""
        column = self._columns.get(state)
        if column is None:
            column = self._column(*state)
            self._keep(2 * self._count)
            self._columns[state] = column
        return column

    def _column(self, kind: int, free: tuple[int, ...], left: tuple[int, ...]) -> Column:
        sort = self._sorts[kind]
        amounts = self._amounts.get((kind, free)) or self._beside(kind, free)
        devices = self._devices.get((kind, left)) or self._served(kind, left)
        usable = np.einsum("ag,kag->ka", amounts.chance, devices.served[:, sort.move_of])
        best = usable.argmax(axis=0)
        after = usable[best, self._each]
        gain = after[:-1] + (sort.taken - after[-1])
        share = sum(left) / self._scale[-1]
        pull = COSINE / (math.sqrt(amounts.square + share * share) or 1.0)
        score = scores(gain, (amounts.along + self._units[-1] * share) * pull)
        score[amounts.full] = -np.inf
        return Column(score, best, devices.levels)

    def _beside(self, kind: int, free: tuple[int, ...]) -> _Amounts:
        sort = self._sorts[kind]
        finds = np.ones(self._shape, dtype=bool)
        for row, sums in self._sums:
            np.logical_and(finds, sums <= free[row], out=finds)
        chance = np.ones((len(finds), len(self._need)))
        if len(sort.weights):
            np.add.reduceat(finds[:, :-1] * sort.weights, self._mix.starts, axis=1, out=chance[:, :-1])
        full = sort.closed | ~finds[:, -1].take(self._class_rows)
        share = free[0] / self._scale[0]
        along, square = self._units[0] * share, share * share
        for unit, amount, most in zip(self._units[1:], free[1:], self._scale[1:], strict=False):
            share = amount / most
            along += unit * share
            square += share * share
        chance = chance.take(self._row_of, axis=0)
        amounts = _Amounts(chance, full, along, square)
        self._keep(chance.size)
        self._amounts[kind, free] = amounts
        return amounts

    def _served(self, kind: int, left: tuple[int, ...]) -> _Devices:
        sort, value = self._sorts[kind], self._value
        levels = tuple(sorted(set(left)))
        at = np.array(levels)
        after = value[at[:, None] - sort.share]
        after += (np.add.reduce(value.take(left, axis=0)) - value[at])[:, None]
        after += sort.whole
        served = np.where(after >= self._need, after, 0.0)
        served[:, bisect.bisect(sort.wholes, left.count(WHOLE)) : len(sort.wholes), -1] = -np.inf
        devices = _Devices(levels, served)
        self._keep(served.size)
        self._devices[kind, left] = devices
        return devices

    def _keep(self, count: int) -> None:
        """Make room for so many more numbers."""
        self._kept += count
        if self._kept > _REMEMBERED:
            self._columns.clear()
            self._amounts.clear()
            self._devices.clear()
            self._kept = count

    def _sort(self, table: ClassTable, chosen: Places, kind: int) -> _Sort:
        asked = np.append(np.stack([table.share[chosen, kind], table.whole[chosen]]), [[0], [0]], axis=1)
        moves, move_of = np.unique(asked.astype(np.int64), axis=1, return_inverse=True)
        return _Sort(
            moves[0],
            moves[1][moves[0] == 0].tolist(),
            -moves[1][:, None] * self._value[WHOLE],
            move_of.ravel(),
            self._mix.share * (asked[0] + asked[1] * WHOLE)[:-1].astype(np.float64),
            self._mix.weights[kind],
            ~table.allowed[chosen, kind],
        )
