"""The workers with gpus, for one task at a time: the place after which least becomes useless."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.fragmentation import Doubles, Mix
from drm.resource_optimizer.fleet.gpu_column import Column, Columns
from drm.resource_optimizer.fleet.gpu_state import GpuState
from drm.resource_optimizer.fleet.workers import Fleet

_AT_ONCE = 64  # classes scored on all workers at a time
_MOST = 512  # classes whose scores are kept up to date; with more of them, those that are asked for come and go

Devices = tuple[tuple[int, int], ...]  # device, thousandths of it


class GpuTier:
    """What is free on n workers with gpus, and the score of each class on each.

    A class is scored on all workers when it is first asked for, and from then on all such classes on each worker that
    changes: a change costs a few operations over the classes, a choice one over the workers.
    """

    def __init__(self, fleet: Fleet, workers: NDArray[np.intp], table: ClassTable) -> None:
        self.workers = workers
        self._fleet = fleet
        self._state = GpuState(fleet, workers, Mix(table, np.zeros(len(table))))
        self.free, self.left = self._state.free, self._state.left
        self._kind: list[int] = self._state.kind.tolist()
        self._slot: dict[int, int]
        self._score: Doubles
        self._columns: Columns | None
        self._columns_at: list[Column | None]
        self._unseen: set[int] = set()
        self.set_classes(table)
        self._forget()

    def set_classes(self, table: ClassTable) -> None:
        """Know these classes from now on; those known before come first, in the same order."""
        self._table = table
        self._whole: list[int] = table.whole.tolist()
        self._share: list[list[int]] = table.share.tolist()
        self._amounts: list[list[int]] = table.amounts.T.tolist()

    def set_mix(self, mix: Mix) -> None:
        """The tasks to be expected are others now: every score is out of date."""
        self._state.set_mix(mix)
        self._forget()

    def best(self, number: int) -> int:
        """Return the worker (its place in ``workers``) for a task of that class, the first of equals; -1: none now."""
        if not self._kind:
            return -1
        row = self._row(number)
        score = self._score[row]
        place = int(score.argmax())
        return place if score[place] > -np.inf else -1

    def fits(self, number: int, place: int) -> bool:
        """Tell whether a task of that class fits there now."""
        row = self._row(number)
        return bool(self._score[row, place] > -np.inf)

    def take(self, number: int, place: int) -> Devices:
        """Reserve what a task of that class takes at a place where it fits; return its devices."""
        whole, share = self._whole[number], self._share[number][self._kind[place]]
        devices: Devices = ()
        if whole or share:
            left = self.left[place].tolist()
            if whole:
                devices = tuple([(device, WHOLE) for device, milli in enumerate(left) if milli == WHOLE][:whole])
            else:
                column, row = self._columns_at[place], self._slot[number]
                if column is None or row >= len(column.score):
                    column = self._column(place)
                devices = ((left.index(column.levels[column.best[row]]), share),)
        self.reserve(number, place, devices)
        return devices

    def has(self, number: int, place: int, devices: Devices) -> bool:
        """Tell whether the amounts of a class, and these devices, are free there."""
        amounts = bool((self.free[:, place] >= self._amounts[number]).all())
        known = all(device < self.left.shape[1] for device, _ in devices)
        return amounts and known and all(self.left[place, device] >= milli for device, milli in devices)

    def reserve(self, number: int, place: int, devices: Devices) -> None:
        """Reserve there the amounts of a class, and these devices."""
        self._move(place, number, devices, -1)

    def give_back(self, number: int, place: int, devices: Devices) -> None:
        """Undo ``take``."""
        self._move(place, number, devices, 1)

    def _move(self, place: int, number: int, devices: Devices, sign: int) -> None:
        for row, amount in enumerate(self._amounts[number]):
            if amount:
                self.free[row, place] += sign * amount
        for device, milli in devices:
            self.left[place, device] += sign * milli
        self._unseen.add(place)
        if self._slot:
            self._columns_at[place] = column = self._column(place)
            self._score[: len(self._slot), place] = column.score

    def _column(self, place: int) -> Column:
        if self._columns is None:
            self._columns = Columns(self._table, self._state.mix, list(self._slot), self._fleet)
        free, left = tuple(self.free[:, place].tolist()), tuple(sorted(self.left[place].tolist()))
        return self._columns.of((self._kind[place], free, left))

    def _row(self, number: int) -> int:
        row = self._slot.get(number)
        return self._add(number) if row is None else row

    def _add(self, number: int) -> int:
        """Score one more class, and some others that may be asked for next, on all workers; return its row.

        Some at once, since what is remembered of states is of no use once there are more classes.
        """
        self._state.look(np.array(sorted(self._unseen), dtype=np.intp))
        self._unseen.clear()
        others = (other for other in range(len(self._whole)) if other != number and other not in self._slot)
        added = [number, *itertools.islice(others, _AT_ONCE - 1)]
        if len(self._slot) + len(added) > _MOST:
            self._forget()
        known = len(self._slot)
        if known + len(added) > len(self._score):
            grown = np.empty((max(known + len(added), 2 * known), len(self.workers)))
            grown[:known] = self._score[:known]
            self._score = grown
        for row, each in enumerate(added, start=known):
            found = self._state.places(self._table, each, np.arange(len(self.workers)))
            self._score[row] = -np.inf
            self._score[row, found.rows] = found.score
            self._slot[each] = row
        self._columns = None
        return known

    def _forget(self) -> None:
        self._slot = {}
        self._score = np.zeros((0, len(self.workers)))
        self._columns = None
        self._columns_at = [None] * len(self.workers)
        self._unseen.clear()
