"""Workers by columns: what is free of each resource on each worker, and of each gpu. Exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drm.model.errors import DuplicateError
from drm.model.gpus import WHOLE
from drm.resource_optimizer.fleet.requests import Worker

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
CPU, MEMORY = 0, 1  # rows of every table of amounts; named resources follow


@dataclass(frozen=True, slots=True)
class Fleet:
    """W workers and R resources: cpu (thousandths), memory (bytes), then the named ones in ``names``.

    ``capacity``: (R, W). ``devices``: (W, D) thousandths of each gpu, 0 where a worker has none.
    ``free`` and ``left``: what is not reserved of both. ``kind``: (W,) which of ``kinds``, the distinct pairs of
    labels and of memory per gpu, a worker is of. Nothing here is ever written to: who reserves takes copies.
    """

    ids: Sequence[str]
    names: tuple[str, ...]
    capacity: Ints
    devices: NDArray[np.int32]
    free: Ints
    left: NDArray[np.int32]
    kind: NDArray[np.intp]
    kinds: tuple[tuple[frozenset[str], int], ...]

    @classmethod
    def of(cls, workers: Sequence[Worker]) -> Fleet:
        """Return the table of these workers, all free. DuplicateError if an id comes twice."""
        ids = [worker.worker_id for worker in workers]
        if len(set(ids)) != len(ids):
            raise DuplicateError("a worker id comes twice", remedy="give each worker an id of its own")
        names = tuple(sorted({name for worker in workers for name, _ in worker.resources}))
        capacity = np.zeros((2 + len(names), len(workers)), dtype=np.int64)
        capacity[CPU] = [worker.cpu_milli for worker in workers]
        capacity[MEMORY] = [worker.memory_bytes for worker in workers]
        for row, name in enumerate(names, start=2):
            capacity[row] = [dict(worker.resources).get(name, 0) for worker in workers]
        most = max((worker.gpu_devices for worker in workers), default=0)
        counts = np.array([worker.gpu_devices for worker in workers], dtype=np.int64)
        devices = np.where(np.arange(most) < counts[:, None], WHOLE, 0).astype(np.int32)
        numbers: dict[tuple[frozenset[str], int], int] = {}
        kind = [numbers.setdefault((worker.labels, worker.gpu_memory_bytes), len(numbers)) for worker in workers]
        return cls(ids, names, capacity, devices, capacity, devices, np.array(kind, dtype=np.intp), tuple(numbers))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def gpu_workers(self) -> NDArray[np.intp]:
        """Return the numbers of the workers that have a gpu."""
        return np.flatnonzero(self.devices.any(axis=1)) if self.devices.size else np.empty(0, dtype=np.intp)

    def scale(self) -> NDArray[np.float32]:
        """Return (R + 1,) the largest worker's amount of each resource and, last, its thousandths of gpus; never 0.

        Amounts are compared as shares of it.
        """
        if not len(self):
            return np.ones(len(self.capacity) + 1, dtype=np.float32)
        most = np.append(self.capacity.max(axis=1), self.devices.sum(axis=1).max(initial=0))
        scale: NDArray[np.float32] = np.maximum(most, 1).astype(np.float32)
        return scale
