"""The workers without gpus, for one task at a time: the one whose free amounts point most where the task's do."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.workers import Fleet, Floats


class CpuTier:
    """What is free on n workers, and the score of every class on each, kept up to date.

    A change of one worker costs a few operations over the classes, a choice one over the workers. The score is the
    cosine of what is free and what is asked (see ``fragmentation.cosine``), 0 where the task does not fit.
    """

    def __init__(self, fleet: Fleet, workers: NDArray[np.intp], table: ClassTable) -> None:
        self.workers = workers
        self.free: list[list[int]] = fleet.free[:, workers].T.tolist()
        self._kind: list[int] = fleet.kind[workers].tolist()
        self._scale: list[float] = fleet.scale()[:-1].tolist()
        self._score: Floats = np.zeros((0, len(workers)), dtype=np.float32)
        self._known = 0
        self.set_classes(table)

    def set_classes(self, table: ClassTable) -> None:
        """Score these classes from now on; those known before come first, in the same order."""
        known, classes = self._known, len(table)
        if classes > len(self._score):
            grown = np.zeros((max(classes, 2 * len(self._score)), len(self.workers)), dtype=np.float32)
            grown[:known] = self._score[:known]
            self._score = grown
        self._known = classes
        self._rows = [
            (row, self._scale[row], np.ascontiguousarray(table.amounts[row]), np.ascontiguousarray(table.unit[row]))
            for row in np.flatnonzero(table.amounts.any(axis=1)).tolist()
        ]
        open_to = table.allowed & ~table.uses_gpu[:, None]
        self._allowed = None if bool(open_to.all()) else np.ascontiguousarray(open_to.T)
        self._column: Floats = np.empty(classes, dtype=np.float32)
        self._part: Floats = np.empty(classes, dtype=np.float32)
        self._fits = np.empty(classes, dtype=bool)
        self._fits_too = np.empty(classes, dtype=bool)
        self._score_new(known, table, open_to)

    def _score_new(self, known: int, table: ClassTable, open_to: NDArray[np.bool_]) -> None:
        """Fill the rows of the classes from ``known`` on, by the same operations as ``_rescore``."""
        free = np.array(self.free, dtype=np.int64).reshape(len(self.workers), len(self._scale)).T
        square = np.zeros(len(self.workers))
        for row, scale in enumerate(self._scale):
            share = free[row] / scale
            square += share * share
        length = np.sqrt(square)
        length[length == 0] = 1.0
        along = {row: (free[row] / (scale * length)).astype(np.float32) for row, scale, _, _ in self._rows}
        kind = np.array(self._kind, dtype=np.intp)
        for number in range(known, len(table)):
            line, fits = self._score[number], open_to[number][kind]
            line[:] = 0.0
            for row, _, amounts, unit in self._rows:
                line += unit[number] * along[row]
                fits &= amounts[number] <= free[row]
            line *= fits

    def best(self, number: int) -> int:
        """Return the worker (its place in ``workers``) for a task of that class, the first of equals; -1: none now."""
        row = self._score[number]
        if not row.size:
            return -1
        place = int(row.argmax())
        return place if row[place] > 0 else -1

    def fits(self, number: int, place: int) -> bool:
        """Tell whether a task of that class fits there now."""
        return bool(self._score[number, place] > 0)

    def take(self, place: int, amounts: list[int]) -> None:
        """Reserve the amounts there."""
        free = self.free[place]
        for row, amount in enumerate(amounts):
            free[row] -= amount
        self._rescore(place)

    def give_back(self, place: int, amounts: list[int]) -> None:
        """Undo ``take``."""
        free = self.free[place]
        for row, amount in enumerate(amounts):
            free[row] += amount
        self._rescore(place)

    def _rescore(self, place: int) -> None:
        free, column, part, fits, fits_too = self.free[place], self._column, self._part, self._fits, self._fits_too
        square = 0.0
        for row, scale in enumerate(self._scale):
            share = free[row] / scale
            square += share * share
        length = math.sqrt(square) or 1.0
        column[:] = 0.0
        fits[:] = True
        for row, scale, amounts, unit in self._rows:
            here = free[row]
            np.multiply(unit, here / (scale * length), out=part)
            np.add(column, part, out=column)
            np.less_equal(amounts, here, out=fits_too)
            np.logical_and(fits, fits_too, out=fits)
        if self._allowed is not None:
            np.logical_and(fits, self._allowed[self._kind[place]], out=fits)
        np.multiply(column, fits, out=column)
        self._score[: self._known, place] = column
