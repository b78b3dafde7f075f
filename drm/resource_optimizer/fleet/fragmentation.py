"""How much of its free gpus a worker could still give to the tasks that are to be expected.

Fragmentation gradient descent: of all places for a task, the one after which least becomes useless. Weng et al.,
"Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent" (USENIX ATC'23):
for a task of class m the fragment of a worker is what is free of its gpus and cannot serve m; expected over the classes
by how often they come. Kept here is the other part, what *can* serve: the two add up to what is free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.resource_optimizer.fleet.classes import UNSERVED, ClassTable
from drm.resource_optimizer.fleet.workers import Ints

Doubles = NDArray[np.float64]
SURE = (
    2**30
)  # a weight of 1. Weights and thousandths are whole numbers, so sums are exact in whatever order they are made


class Mix:
    """The tasks to be expected: the gpu classes of a table, by weight, no more than ``most`` of them. Those that differ
    in their labels only are one of the M here.

    What they want of devices are G *demands*: thousandths of one, or a number of whole ones. ``value[r, g]`` is what a
    device with ``r`` thousandths free is worth to demand g, ``need[g]`` what it must find on a worker, both in
    thousandths. ``weights``: (kinds, M) of those that a worker of each kind may run, of ``SURE``;
    ``share``: of all classes. A share by memory counts as what it
    takes of the largest gpu.
    """

    def __init__(self, table: ClassTable, weights: Doubles, *, most: int = 256) -> None:
        gpu = np.flatnonzero(table.uses_gpu & (weights > 0))
        if len(gpu) > most:
            gpu = np.sort(gpu[np.argsort(-weights[gpu], kind="stable")[:most]])
        total = float(weights.sum())
        share = np.where(table.share == 0, UNSERVED, table.share).min(axis=1, initial=UNSERVED)[gpu]
        whole = table.whole[gpu]
        demands, group = np.unique(np.stack([whole, np.where(whole > 0, 0, share)]), axis=1, return_inverse=True)
        rests = np.arange(WHOLE + 1)[:, None]
        usable = np.where(demands[0] > 0, rests == WHOLE, rests >= demands[1])
        self.value: Doubles = np.where(usable, rests, 0).astype(np.float64)
        self.need: Doubles = np.maximum(demands[0] * WHOLE, 1).astype(np.float64)
        merged, at = np.unique(np.vstack([group.ravel(), table.amounts[:, gpu]]), axis=1, return_inverse=True)
        self.amounts: Ints = merged[1:]
        self.asked = np.flatnonzero(self.amounts.any(axis=1)) if len(gpu) else np.empty(0, dtype=np.intp)
        self.starts = np.searchsorted(merged[0], np.arange(demands.shape[1]))
        sure = np.rint(weights[gpu] / total * SURE) if total else weights[gpu]
        by_class: Doubles = np.zeros((merged.shape[1], table.allowed.shape[1]))
        np.add.at(by_class, at.ravel(), sure[:, None] * table.allowed[gpu])
        self.weights: Doubles = np.ascontiguousarray(by_class.T)
        self.share = float(sure.sum())

    def worth(self, left: NDArray[np.int32]) -> Doubles:
        """Return (n, G) what the devices of n workers, (n, D), are worth to each demand, in thousandths."""
        worth: Doubles = self.value[left].sum(axis=1)
        return worth

    def usable(self, free: Ints, kind: NDArray[np.intp], worth: Doubles) -> Doubles:
        """Return what n workers can give to the next task, in thousandths of gpus times ``SURE``.

        ``worth``: (n, G) or (n, D, G).
        """
        chance = self._chance(free, kind)
        served = np.where(worth >= self.need, worth, 0.0)
        given: Doubles = np.einsum("ng,n...g->n...", chance, served)
        return given

    def _chance(self, free: Ints, kind: NDArray[np.intp]) -> Doubles:
        """Return (n, G) how likely the next task has that demand and finds all else that it needs there."""
        finds = np.ones((len(kind), self.amounts.shape[1]), dtype=bool)
        for row in self.asked:
            finds &= free[row][:, None] >= self.amounts[row]
        if not len(self.starts):
            return np.zeros((len(kind), 0))
        chance: Doubles = np.add.reduceat(finds * self.weights[kind], self.starts, axis=1)
        return chance
