"""In which order classes are placed: what is hard to place first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drm.resource_optimizer.fleet.classes import ClassTable
from drm.resource_optimizer.fleet.units import Units
from drm.resource_optimizer.fleet.workers import Fleet

Order = Callable[[Units, Fleet, NDArray[np.intp]], NDArray[np.intp]]
Doubles = NDArray[np.float64]
_SLICES = 10


def content_rank(table: ClassTable) -> NDArray[np.intp]:
    """Return (U,) a rank of the classes by what they ask for, whatever order they were given in."""
    requests = table.requests
    worded = any(r.all_labels or r.any_labels or r.locks or r.resources or r.group for r in requests)
    words = np.zeros(len(requests), dtype=np.intp)
    if worded:
        texts = [
            (sorted(r.all_labels), sorted(r.any_labels), r.locks, r.resources, r.group or "", r.gpu_memory_bytes)
            for r in requests
        ]
        words[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
    shares = table.share.max(axis=1, initial=0)
    order = np.lexsort((words, table.whole, shares, *table.amounts))
    rank = np.empty(len(requests), dtype=np.intp)
    rank[order] = np.arange(len(requests))
    return rank


def scarce_then_dominant(units: Units, fleet: Fleet, rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """By priority, then gpus and labels that few workers have, then the largest share of a worker."""
    return _sorted(units, rank, -_reach(units, fleet), _dominant(units, fleet))


def gpus_then_few_cpus(units: Units, fleet: Fleet, rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """By priority, then gpus asked for, then those that leave most of the rest."""
    table = units.table
    return _sorted(units, rank, table.gpu_milli().astype(np.float64), -_dominant(units, fleet, gpus=False))


def labels_then_gpus(units: Units, fleet: Fleet, rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """By priority, then whether labels narrow the choice, then as ``gpus_then_few_cpus``."""
    table = units.table
    narrow = np.asarray(~table.allowed.all(axis=1), dtype=np.float64)
    return _sorted(units, rank, narrow, table.gpu_milli().astype(np.float64), -_dominant(units, fleet, gpus=False))


def largest_sum(units: Units, fleet: Fleet, rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """By priority, then the sum of the shares of a worker."""
    return _sorted(units, rank, (_shares(units, fleet)).sum(axis=0))


def in_slices(units: Units, fleet: Fleet, rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """By priority, then a tenth of each class in turn: no class finds only what the others left, shares find partners.

    Returned are the classes ten times; each time as many of its tasks are placed.
    """
    once = gpus_then_few_cpus(units, fleet, rank)
    priority = _priority(units)[once]
    again = np.tile(once, _SLICES)
    return again[np.argsort(-np.tile(priority, _SLICES), kind="stable")]


ORDERS: tuple[Order, ...] = (scarce_then_dominant, gpus_then_few_cpus, labels_then_gpus, largest_sum, in_slices)


def _priority(units: Units) -> Doubles:
    return np.array([request.priority for request in units.table.requests], dtype=np.float64)


def _sorted(units: Units, rank: NDArray[np.intp], *keys: Doubles) -> NDArray[np.intp]:
    """Return the classes, of each key the highest first, priority before all."""
    return np.lexsort((rank, *(-key for key in reversed(keys)), -_priority(units)))


def _shares(units: Units, fleet: Fleet) -> Doubles:
    """Return (R + 1, U) amounts as shares of the largest worker's."""
    table = units.table
    asked = np.vstack([table.amounts, table.gpu_milli()])
    shares: Doubles = asked / fleet.scale()[:, None].astype(np.float64)
    return shares


def _dominant(units: Units, fleet: Fleet, *, gpus: bool = True) -> Doubles:
    """The dominant share of Ghodsi et al., "Dominant Resource Fairness" (NSDI '11)."""
    shares = _shares(units, fleet)
    dominant: Doubles = (shares if gpus else shares[:-1]).max(axis=0)
    return dominant


def _reach(units: Units, fleet: Fleet) -> Doubles:
    """Return (U,) how many workers carry the labels, and have the gpus and named resources, that a class wants."""
    table = units.table
    kinds, has_gpu = len(fleet.kinds), fleet.devices.any(axis=1) if fleet.devices.size else np.zeros(len(fleet), bool)
    all_of = np.bincount(fleet.kind, minlength=kinds).astype(np.float64)
    gpu_of = np.bincount(fleet.kind[has_gpu], minlength=kinds).astype(np.float64)
    reach: Doubles = (table.allowed * np.where(table.uses_gpu[:, None], gpu_of, all_of)).sum(axis=1)
    for row in range(2, len(table.amounts)):
        having = float((fleet.capacity[row] > 0).sum())
        reach = np.where(table.amounts[row] > 0, np.minimum(reach, having), reach)
    return reach
