"""The workers with gpus, for one task at a time: the place after which least becomes useless."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.fragmentation import Doubles, Mix
from drm.resource_optimizer.fleet.gpu_state import GpuState
from drm.resource_optimizer.fleet.workers import Fleet

Devices = tuple[tuple[int, int], ...]  # device, thousandths of it


@dataclass(slots=True)
class _Row:
    """The places of one class, as of the change numbered ``seen``."""

    score: Doubles
    device: NDArray[np.intp]
    seen: int = 0


class GpuTier:
    """What is free on n workers with gpus. A class is scored anew only on workers that changed since it last was."""

    def __init__(self, fleet: Fleet, workers: NDArray[np.intp], mix: Mix) -> None:
        self.workers = workers
        self._state = GpuState(fleet, workers, mix)
        self.free, self.left = self._state.free, self._state.left
        self._changed = np.ones(len(workers), dtype=np.int64)
        self._changes = 1
        self._rows: dict[int, _Row] = {}

    def set_mix(self, mix: Mix) -> None:
        """The tasks to be expected are others now: every score is out of date."""
        self._state.set_mix(mix)
        self._rows.clear()

    def best(self, table: ClassTable, number: int) -> int:
        """Return the worker (its place in ``workers``) for a task of that class, the first of equals; -1: none now."""
        score = self._scored(table, number).score
        if not len(score):
            return -1
        place = int(score.argmax())
        return place if score[place] > -np.inf else -1

    def fits(self, table: ClassTable, number: int, place: int) -> bool:
        """Tell whether a task of that class fits there now."""
        return bool(self._scored(table, number).score[place] > -np.inf)

    def _scored(self, table: ClassTable, number: int) -> _Row:
        row = self._rows.get(number)
        if row is None:
            count = len(self.workers)
            row = self._rows[number] = _Row(np.full(count, -np.inf), np.zeros(count, dtype=np.intp))
        stale = np.flatnonzero(self._changed > row.seen)
        if len(stale):
            found = self._state.places(table, number, stale)
            row.score[stale] = -np.inf
            row.score[found.rows] = found.score
            row.device[found.rows] = found.device
            row.seen = self._changes
        return row

    def take(self, table: ClassTable, number: int, place: int) -> Devices:
        """Reserve what a task of that class takes at the place that ``best`` found; return its devices."""
        whole = int(table.whole[number])
        devices: Devices = ()
        if whole:
            full = np.flatnonzero(self.left[place] == WHOLE)[:whole].tolist()
            devices = tuple((device, WHOLE) for device in full)
        elif table.uses_gpu[number]:
            share = int(table.share[number, self._state.kind[place]])
            devices = ((int(self._rows[number].device[place]), share),)
        self.reserve(table, number, place, devices)
        return devices

    def has(self, table: ClassTable, number: int, place: int, devices: Devices) -> bool:
        """Tell whether the amounts of a class, and these devices, are free there."""
        amounts = bool((self.free[:, place] >= table.amounts[:, number]).all())
        known = all(device < self.left.shape[1] for device, _ in devices)
        return amounts and known and all(self.left[place, device] >= milli for device, milli in devices)

    def reserve(self, table: ClassTable, number: int, place: int, devices: Devices) -> None:
        """Reserve there the amounts of a class, and these devices."""
        self._move(place, table, number, devices, -1)

    def give_back(self, table: ClassTable, number: int, place: int, devices: Devices) -> None:
        """Undo ``take``."""
        self._move(place, table, number, devices, 1)

    def _move(self, place: int, table: ClassTable, number: int, devices: Devices, sign: int) -> None:
        self.free[:, place] += sign * table.amounts[:, number]
        for device, milli in devices:
            self.left[place, device] += sign * milli
        self._state.look(np.array([place]))
        self._changes += 1
        self._changed[place] = self._changes
