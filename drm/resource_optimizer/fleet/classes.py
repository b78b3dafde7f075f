"""Distinct requests by columns, and which workers could ever serve them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.resource_optimizer.fleet.requests import Request
from drm.resource_optimizer.fleet.workers import CPU, MEMORY, Fleet, Ints

UNSERVED = WHOLE + 1  # thousandths of one device that no device has


class ClassTable:
    """C classes for one fleet: what each takes of a worker.

    ``amounts``: (R, C). ``whole``: (C,) devices it takes for itself. ``share``: (C, K) thousandths of one device
    on a worker of each kind, 0 where it wants none, ``UNSERVED`` where it asks for memory and that is too little
    or unknown. ``allowed``: (C, K) whether the labels of a kind do. ``lacks``: (C,) whether it names a resource that
    no worker has. ``unit``: (R + 1, C) its direction: amounts as shares of the largest worker's, length 1.
    """

    def __init__(self, requests: Sequence[Request], fleet: Fleet) -> None:
        self.requests = requests
        count, kinds = len(requests), fleet.kinds
        rows = {name: row for row, name in enumerate(fleet.names, start=2)}
        self.amounts: Ints = np.zeros((len(fleet.capacity), count), dtype=np.int64)
        self.amounts[CPU] = [request.cpu_milli for request in requests]
        self.amounts[MEMORY] = [request.memory_bytes for request in requests]
        self.lacks = np.zeros(count, dtype=bool)
        for column, request in enumerate(requests):
            for name, amount in request.resources:
                if name in rows:
                    self.amounts[rows[name], column] = amount
                else:
                    self.lacks[column] = True
        self.whole = np.array([_whole(request) for request in requests], dtype=np.int64)
        self.share = np.array(
            [[_share(request, memory) for _, memory in kinds] for request in requests], dtype=np.int32
        ).reshape(count, len(kinds))
        self.uses_gpu = np.array([request.uses_gpu for request in requests], dtype=bool)
        labels = [(request.all_labels, request.any_labels) for request in requests]
        found = {each: _carried(each, (carried for carried, _ in kinds)) for each in set(labels)}
        self.allowed = np.array([found[each] for each in labels], dtype=bool).reshape(count, len(kinds))
        self.allowed &= ~self.lacks[:, None]
        self.scale = scale = fleet.scale()
        gpu = self.gpu_milli().astype(np.float32)
        self.unit: NDArray[np.float32] = np.vstack([self.amounts.astype(np.float32), gpu]) / scale[:, None]
        length = np.sqrt((self.unit * self.unit).sum(axis=0, dtype=np.float32))
        self.unit /= np.where(length > 0, length, 1)

    def extended(self, requests: Sequence[Request], fleet: Fleet) -> ClassTable:
        """Return the table with more classes after those it has."""
        more = ClassTable(requests, fleet)
        joined = copy.copy(self)
        joined.requests = [*self.requests, *requests]
        joined.amounts = np.hstack([self.amounts, more.amounts])
        joined.unit = np.hstack([self.unit, more.unit])
        for name in ("lacks", "whole", "share", "uses_gpu", "allowed"):
            setattr(joined, name, np.concatenate([getattr(self, name), getattr(more, name)]))
        return joined

    def __len__(self) -> int:
        return len(self.requests)

    def gpu_milli(self) -> Ints:
        """Return (C,) the thousandths of gpus that each takes; of a share by memory, where it takes least."""
        served = (self.share > 0) & (self.share < UNSERVED)
        least = np.where(served, self.share, WHOLE).min(axis=1, initial=WHOLE)
        return self.whole * WHOLE + np.where(served.any(axis=1), least, 0)


def _whole(request: Request) -> int:
    return 1 if request.gpu_milli == WHOLE else request.gpu_devices


def _share(request: Request, memory_bytes: int) -> int:
    if request.gpu_memory_bytes:
        if request.gpu_memory_bytes > memory_bytes:
            return UNSERVED
        return -(-request.gpu_memory_bytes * WHOLE // memory_bytes)
    return request.gpu_milli if request.gpu_milli < WHOLE else 0


def _carried(labels: tuple[frozenset[str], frozenset[str]], kinds: Iterable[frozenset[str]]) -> list[bool]:
    every, some = labels
    return [every <= carried and (not some or bool(some & carried)) for carried in kinds]
