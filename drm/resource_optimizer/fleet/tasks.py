"""Tasks by columns: the class of each, and what it really asks for where classes are rounded up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drm.model.errors import ConfigError, DuplicateError
from drm.resource_optimizer.fleet.requests import MOST, Request
from drm.resource_optimizer.fleet.workers import Ints

_LEADING = 4  # binary digits that are kept: amounts of one class differ by 12.5 % at most


@dataclass(frozen=True, slots=True)
class TaskTable:
    """N tasks of C classes.

    ``class_of``: (N,) which of ``requests``. ``expected_s``: (N,) predicted seconds: longer ones go first among equals.
    ``exact``: (2, N) cpu and memory where ``requests`` has them rounded up: what is reserved is exact, what
    a class has to find free is not. ``ids``: of the tasks, in order; without them they are numbered.
    """

    requests: Sequence[Request]
    class_of: NDArray[np.int32]
    expected_s: NDArray[np.float64] | None = None
    exact: Ints | None = None
    ids: Sequence[str] | None = None

    @classmethod
    def of(cls, tasks: Iterable[tuple[str, Request]], *, expected_s: ArrayLike | None = None) -> TaskTable:
        """Return the table of tasks given as id and request. DuplicateError if an id comes twice."""
        numbers: dict[Request, int] = {}
        ids, class_of = [], []
        for task_id, request in tasks:
            ids.append(task_id)
            class_of.append(numbers.setdefault(request, len(numbers)))
        if len(set(ids)) != len(ids):
            raise DuplicateError("a task id comes twice", remedy="make ids unique before planning")
        return cls(list(numbers), np.array(class_of, dtype=np.int32), _seconds(expected_s, len(ids)), None, ids)

    @classmethod
    def from_columns(
        cls,
        cpu_milli: ArrayLike,
        memory_bytes: ArrayLike,
        *,
        gpu_devices: ArrayLike = 0,
        gpu_milli: ArrayLike = 0,
        priority: ArrayLike = 0,
        expected_s: ArrayLike | None = None,
        rounded: bool = False,
    ) -> TaskTable:
        """Return the table of tasks given by columns of whole numbers.

        ``rounded``: put amounts of cpu and memory that differ by less than 12.5 % into one class.
        ConfigError for what is no amount.
        """
        cpu, memory = _whole("cpu_milli", cpu_milli), _whole("memory_bytes", memory_bytes)
        rest = [_whole(name, value) for name, value in (("gpu_devices", gpu_devices), ("gpu_milli", gpu_milli))]
        rank = np.asarray(priority)
        columns = np.broadcast_arrays(cpu, memory, *rest, rank)
        exact = np.stack([np.ravel(columns[0]), np.ravel(columns[1])])
        keys = [*(_step(row) if rounded else row for row in exact), *(np.ravel(column) for column in columns[2:])]
        class_of, first = _distinct(keys)
        rows = [key[first].tolist() for key in keys]
        if rounded:
            rows[:2] = [[_of_step(step) for step in steps] for steps in rows[:2]]
        requests = [
            Request(cpu_milli=a, memory_bytes=b, gpu_devices=c, gpu_milli=d, priority=e)
            for a, b, c, d, e in zip(*rows, strict=True)
        ]
        seconds = _seconds(expected_s, exact.shape[1])
        return cls(requests, class_of, seconds, exact if rounded else None)

    def __len__(self) -> int:
        return len(self.class_of)

    def id_of(self, task: int) -> str:
        return self.ids[task] if self.ids is not None else str(task)


def _whole(name: str, values: ArrayLike) -> Ints:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or (array.size and not 0 <= array.min() <= array.max() <= MOST):
        raise ConfigError(f"{name}: not all are whole numbers from 0 to {MOST}", remedy="check the column")
    return array.astype(np.int64, copy=False)


def _seconds(values: ArrayLike | None, count: int) -> NDArray[np.float64] | None:
    if values is None:
        return None
    seconds = np.asarray(values, dtype=np.float64)
    if seconds.shape != (count,) or not np.isfinite(seconds).all() or (seconds < 0).any():
        raise ConfigError("expected_s: not one finite number of seconds for each task", remedy="give 0 where unknown")
    return seconds


def _step(amounts: Ints) -> Ints:
    """Return the number of the step to which each amount is rounded up: to four leading binary digits."""
    _, digits = np.frexp(amounts.astype(np.float64))
    shift = np.maximum(digits.astype(np.int64) - _LEADING, 0)
    leading = (amounts + (np.int64(1) << shift) - 1) >> shift
    return (shift << (_LEADING + 1)) | leading


def _of_step(step: int) -> int:
    """Return the amount of a step."""
    return (step & ((1 << (_LEADING + 1)) - 1)) << (step >> (_LEADING + 1))


def _distinct(keys: Sequence[Ints]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Return the class of each row of the columns, and the first row of each class; classes by their amounts."""
    code, size = np.zeros(len(keys[0]), dtype=np.int64), 1
    for key in keys:
        number, count = _ranks(key)
        code = code * count + number
        size *= count
        if size > 4 * len(code) + 2**16:
            code, size = _ranks(code)
    code, size = _ranks(code)
    first = np.full(size, len(code), dtype=np.intp)
    first[code[::-1]] = np.arange(len(code) - 1, -1, -1)
    return code.astype(np.int32), first


def _ranks(key: Ints) -> tuple[Ints, int]:
    """Return the rank of each value among the distinct ones, and how many those are."""
    if not len(key):
        return key, 0
    low, high = int(key.min()), int(key.max())
    if high - low <= 4 * len(key) + 2**16:
        there = np.zeros(high - low + 1, dtype=bool)
        there[key - low] = True
        return (np.cumsum(there) - 1)[key - low], int(there.sum())
    distinct, number = np.unique(key, return_inverse=True)
    return number.reshape(-1).astype(np.int64), len(distinct)
