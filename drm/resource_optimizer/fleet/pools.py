"""Workers of one sort, for many equal tasks at a time: each pass gives every worker half of what it has room for.

Half, so that what the following classes find is even: a class that fills the workers that it suits best leaves
them with a rest that suits nobody.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.fragmentation import Mix
from drm.resource_optimizer.fleet.gpu_state import GpuState
from drm.resource_optimizer.fleet.workers import Fleet, Floats, Ints

_SAMPLE = 256  # workers looked at to guess which score so many others exceed


class Exact(Protocol):
    """What the tasks of a class, in order, really take: sums (R, k) of so many each, from the ``start``-th on."""

    def __call__(self, start: int, counts: Ints) -> Ints: ...


class Share(NamedTuple):
    """So many tasks on each of these workers (numbers of the fleet); ``devices``: which gpus each has, as bits."""

    workers: NDArray[np.intp]
    counts: Ints
    devices: Ints | None


class CpuPool:
    """Workers without gpus, by the cosine; see ``cpu_tier``, which does the same for one task at a time."""

    def __init__(self, fleet: Fleet, workers: NDArray[np.intp]) -> None:
        self.workers = workers
        self.free: Ints = np.ascontiguousarray(fleet.free[:, workers])
        self._kind = fleet.kind[workers]
        self._one_kind = len(fleet.kinds) == 1
        self._scale = fleet.scale()[:-1].astype(np.float64)
        self._along: Floats = np.zeros(self.free.shape, dtype=np.float32)
        self._look(np.arange(len(workers)))

    def place(self, table: ClassTable, number: int, count: int, sums: Exact) -> list[Share]:
        """Reserve room for as many of ``count`` tasks of a class as fit, and say where."""
        amounts, unit = table.amounts[:, number], table.unit[:, number]
        asked = np.flatnonzero(amounts)
        shares: list[Share] = []
        left = count
        while left and len(self.workers):
            score = self._score(table, number, amounts, unit, asked)
            before = left
            wanted = 0
            while left:
                chosen = _leaders(score, wanted or self._guess(score, amounts, asked, left))
                if not len(chosen):
                    break
                half = (self._fit(chosen, amounts, asked) + 1) >> 1
                some, counts = _cut(chosen, half, left)
                self.free[:, some] -= sums(count - left, counts)
                self._look(some)
                shares.append(Share(self.workers[some], counts, None))
                left -= int(counts.sum())
                score[chosen] = 0.0
                wanted = 4 * len(chosen)
            if left == before:
                break
        return shares

    def _score(self, table: ClassTable, number: int, amounts: Ints, unit: Floats, asked: NDArray[np.intp]) -> Floats:
        score = np.zeros(len(self.workers), dtype=np.float32)
        fits = np.ones(len(score), dtype=bool) if self._one_kind else table.allowed[number][self._kind]
        if self._one_kind and not table.allowed[number, 0]:
            return score
        for row in asked:
            score += unit[row] * self._along[row]
            fits &= self.free[row] >= amounts[row]
        score *= fits
        return score

    def _guess(self, score: Floats, amounts: Ints, asked: NDArray[np.intp], count: int) -> int:
        """Guess how many workers so many tasks go to, by the best of a sample."""
        sampled = score[:: max(1, len(score) // _SAMPLE)]
        best = int(sampled.argmax()) * max(1, len(score) // _SAMPLE)
        half = int(self._fit(np.array([best]), amounts, asked)[0] + 1) >> 1
        return count // max(1, half) * 5 // 4 + 4

    def _fit(self, some: NDArray[np.intp], amounts: Ints, asked: NDArray[np.intp]) -> Ints:
        fit: Ints = self.free[asked[0], some] // amounts[asked[0]]
        for row in asked[1:]:
            np.minimum(fit, self.free[row, some] // amounts[row], out=fit)
        return fit

    def _look(self, some: NDArray[np.intp]) -> None:
        """Take note of in which direction these workers have room."""
        free = self.free[:, some]
        square = np.zeros(len(some))
        for row, scale in enumerate(self._scale):
            share = free[row] / scale
            square += share * share
        length = np.sqrt(square)
        length[length == 0] = 1.0
        for row, scale in enumerate(self._scale):
            self._along[row, some] = free[row] / (scale * length)


class GpuPool:
    """Workers with gpus, by fragmentation gradient descent; all shares of one pass on a worker are of one device."""

    def __init__(self, fleet: Fleet, workers: NDArray[np.intp], mix: Mix, *, breadth: int | None = None) -> None:
        self.workers = workers
        self._state = GpuState(fleet, workers, mix)
        self.free, self.left, self._kind = self._state.free, self._state.left, self._state.kind
        self._breadth = breadth

    def place(self, table: ClassTable, number: int, count: int, sums: Exact) -> list[Share]:
        """Reserve room for as many of ``count`` tasks of a class as fit, and say where.

        ``breadth``: places that are looked at closely, or four for each task where that is more.
        """
        shares: list[Share] = []
        rows = np.arange(len(self.workers))
        left = count
        while left:
            most = None if self._breadth is None else max(self._breadth, 4 * left)
            found = self._state.places(table, number, rows, most=most)
            if not len(found.rows):
                break
            best = np.argsort(-found.score, kind="stable")
            able, device = found.rows[best], found.device[best]
            half = (self._fit(table, number, able, device) + 1) >> 1
            some, counts = _cut(able, half, left)
            self.free[:, some] -= sums(count - left, counts)
            left -= int(counts.sum())
            shares += self._give(table, number, some, counts, device[: len(some)])
            self._state.look(some)
        return shares

    def _fit(self, table: ClassTable, number: int, some: NDArray[np.intp], device: NDArray[np.intp]) -> Ints:
        amounts, whole = table.amounts[:, number], int(table.whole[number])
        asked = np.flatnonzero(amounts)
        fit = np.full(len(some), np.iinfo(np.int64).max)
        for row in asked:
            np.minimum(fit, self.free[row, some] // amounts[row], out=fit)
        if whole:
            np.minimum(fit, (self.left[some] == WHOLE).sum(axis=1) // whole, out=fit)
        elif table.uses_gpu[number]:
            np.minimum(fit, self.left[some, device] // table.share[number, self._kind[some]], out=fit)
        return fit

    def _give(
        self, table: ClassTable, number: int, some: NDArray[np.intp], counts: Ints, device: NDArray[np.intp]
    ) -> list[Share]:
        """Take the devices; tasks with whole ones get different ones, so they are listed one by one."""
        whole = int(table.whole[number])
        if not whole:
            bits = None
            if table.uses_gpu[number]:
                self.left[some, device] -= (counts * table.share[number, self._kind[some]]).astype(np.int32)
                bits = np.int64(1) << device.astype(np.int64)
            return [Share(self.workers[some], counts, bits)]
        shares = []
        for place, each in zip(some.tolist(), counts.tolist(), strict=True):
            full = np.flatnonzero(self.left[place] == WHOLE)[: each * whole]
            self.left[place, full] = 0
            bits = (np.int64(1) << full.reshape(each, whole)).sum(axis=1)
            shares.append(Share(np.full(each, self.workers[place]), np.ones(each, dtype=np.int64), bits))
        return shares


def _leaders(score: Floats, wanted: int) -> NDArray[np.intp]:
    """Return about ``wanted`` of the highest scores above 0, and all that equal the lowest of them, best first."""
    step = max(1, len(score) // _SAMPLE)
    rank = wanted // step
    sampled = np.sort(score[::step])[::-1]
    least = sampled[rank] if rank < len(sampled) else np.float32(0)
    chosen = np.flatnonzero(score >= least) if least > 0 else np.flatnonzero(score > 0)
    return chosen[np.argsort(-score[chosen], kind="stable")]


def _cut(chosen: NDArray[np.intp], counts: Ints, most: int) -> tuple[NDArray[np.intp], Ints]:
    """Return the first of them that get ``most`` tasks together, and how many each gets."""
    sums = np.cumsum(counts)
    if sums[-1] <= most:
        return chosen, counts
    end = int(np.searchsorted(sums, most))
    counts = counts[: end + 1].copy()
    counts[end] -= sums[end] - most
    return chosen[: end + 1], counts
