"""What is free on workers with gpus, and how good each is for a task."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.fragmentation import SURE, Doubles, Mix
from drm.resource_optimizer.fleet.workers import Fleet, Ints

STEPS = 10**9  # of a gpu: scores are compared so far
COSINE = 0.5 * STEPS  # for a perfect match of directions; from 0.2 to 1 of a gpu the outcome hardly differs

Rows = NDArray[np.intp]


class Places(NamedTuple):
    """The workers (places in the state) on which one task fits, the score of each (higher is better), and the device
    that a share goes to there."""

    rows: Rows
    score: Doubles
    device: Rows


class GpuState:
    """n workers: ``free`` (R, n), ``left`` (n, D). Call ``look`` after a change of either.

    The score of a place is the gradient of the fragments, in gpus (0: nothing becomes useless), plus half of
    the cosine of what is free and what is asked: multi-resource packing by the dot product, Grandl et al.,
    "Multi-resource Packing for Cluster Schedulers" (SIGCOMM '14); by the cosine a worker's size does not count.
    """

    def __init__(self, fleet: Fleet, workers: Rows, mix: Mix) -> None:
        self.workers = workers
        self.free: Ints = np.ascontiguousarray(fleet.free[:, workers])
        self.left = fleet.left[workers].copy()
        self.kind = fleet.kind[workers]
        self._scale = fleet.scale().astype(np.float64)
        self._shares: Doubles = np.zeros((len(self.free) + 1, len(workers)))
        self._pull: Doubles = np.zeros(len(workers))  # COSINE over the length of the shares
        self.set_mix(mix)

    def set_mix(self, mix: Mix) -> None:
        """Judge fragments by these tasks from now on."""
        self.mix = mix
        self._worth: Doubles = np.zeros((len(self.workers), len(mix.need)))
        self._usable: Doubles = np.zeros(len(self.workers))
        self.look(np.arange(len(self.workers)))

    def look(self, rows: Rows) -> None:
        """Take note of what is free on these workers now."""
        free, left = self.free[:, rows], self.left[rows]
        self._worth[rows] = worth = self.mix.worth(left)
        self._usable[rows] = self.mix.usable(free, self.kind[rows], worth)
        self._shares[:, rows] = shares = np.vstack([free, left.sum(axis=1)]) / self._scale[:, None]
        square = np.zeros(len(rows))
        for share in shares:
            square += share * share
        length = np.sqrt(square)
        self._pull[rows] = COSINE / np.where(length > 0, length, 1.0)

    def places(self, table: ClassTable, number: int, rows: Rows, *, most: int | None = None) -> Places:
        """Return the places for a task of one class, of ``rows``; of more than ``most`` those of the best cosine."""
        rows = self._fitting(table, number, rows)
        matching = self._cosine(table, number, rows)
        if most is not None and len(rows) > most:
            best = _highest(matching, most)
            rows, matching = rows[best], matching[best]
        device = np.zeros(len(rows), dtype=np.intp)
        if not len(rows):
            return Places(rows, matching, device)
        gain = self.mix.share * self._taken(table, number, rows) - self._usable[rows]
        after, kind = self.free[:, rows] - table.amounts[:, number, None], self.kind[rows]
        worth, left, whole = self._worth[rows], self.left[rows], int(table.whole[number])
        if whole:
            gain += self.mix.usable(after, kind, worth - whole * self.mix.value[WHOLE])
        elif table.uses_gpu[number]:
            share = table.share[number, kind][:, None]
            order = np.argsort(left, axis=1, kind="stable")  # of equal devices the one with the least left
            left = np.take_along_axis(left, order, axis=1)
            can = left >= share
            rest = np.where(can, left - share, 0)
            each = worth[:, None, :] - self.mix.value[left] + self.mix.value[rest]
            usable = np.where(can, self.mix.usable(after, kind, each), -np.inf)
            device = order[np.arange(len(rows)), usable.argmax(axis=1)]
            gain += usable.max(axis=1)
        else:
            gain += self.mix.usable(after, kind, worth)
        return Places(rows, scores(gain, matching), device)

    def _fitting(self, table: ClassTable, number: int, rows: Rows) -> Rows:
        whole, amounts = int(table.whole[number]), table.amounts[:, number]
        kind = self.kind[rows]
        fits = table.allowed[number, kind]
        for row in np.flatnonzero(amounts):
            fits &= self.free[row, rows] >= amounts[row]
        if whole:
            fits &= (self.left[rows] == WHOLE).sum(axis=1) >= whole
        elif table.uses_gpu[number]:
            fits &= self.left[rows].max(axis=1, initial=0) >= table.share[number, kind]
        fitting: Rows = rows[fits]
        return fitting

    def _cosine(self, table: ClassTable, number: int, rows: Rows) -> Doubles:
        """Return ``COSINE`` times the cosine of what is free and what is asked."""
        unit = table.unit[:, number].astype(np.float64)
        along: Doubles = np.zeros(len(rows))
        for row in np.flatnonzero(unit):
            along += unit[row] * self._shares[row, rows]
        along *= self._pull[rows]
        return along

    def _taken(self, table: ClassTable, number: int, rows: Rows) -> Doubles:
        """Return the thousandths of gpus that a task takes."""
        taken: Doubles = (table.whole[number] * WHOLE + table.share[number, self.kind[rows]]).astype(np.float64)
        return taken


def scores(gain: Doubles, matching: Doubles) -> Doubles:
    """Return the scores of places, in ``STEPS``, by what each gains, in thousandths of gpus times ``SURE``."""
    score: Doubles = np.rint(gain * (STEPS / (WHOLE * SURE)) + matching)
    return score


def _highest(values: Doubles, count: int) -> Rows:
    """Return where the ``count`` highest values are, in order of place; of equal ones the first."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > least)
    equal = np.flatnonzero(values == least)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))
