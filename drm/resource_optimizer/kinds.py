"""Kinds of tests: those that ask for the same. A suite of 20,000 has a handful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from drm.model.claims import is_serial, most_at_once
from drm.model.resources import Requirements, Resources
from drm.resource_optimizer.placement import side_by_side

if TYPE_CHECKING:
    from drm.resource_optimizer.lanes import Lane

_MEMORY_STEP = 64 * 2**20
_FINEST, _COARSEST = 1 / 16, 1 / 4  # of the largest worker's memory: steps are no larger, nothing is rounded beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What there may be at most. ``largest``: the greatest amounts any worker has; predicted memory is never asked
    beyond them. ``executors``, ``workers``: of the whole run. ``counted``: its counted resources.
    """

    largest: Resources
    executors: int = 1
    workers: int = 1
    counted: Mapping[str, int] = field(default_factory=dict)
    file_order: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the worker of an executor offers it: ``free`` now, ``whole`` when nothing else runs there."""

    free: Resources
    whole: Resources
    labels: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class Kind:
    """``fresh``: its lanes that nobody works in, in the order in which they are to be begun.

    ``most``: how many tests of it can run side by side, at most. ``waiting_s``: work that waits in its lanes,
    groups not counted.
    """

    requirements: Requirements
    most: int
    fresh: list[Lane] = field(default_factory=list)
    waiting_s: float = 0.0

    @property
    def is_serial(self) -> bool:
        return is_serial(self.requirements.claims)

    def fits(self, room: Room) -> bool:
        return self.requirements.amounts.fits_in(room.free) and self.requirements.labels <= room.labels

    def could_fit(self, room: Room) -> bool:
        """Tell whether it fits once others there have ended."""
        return self.requirements.amounts.fits_in(room.whole) and self.requirements.labels <= room.labels

    def wants_less(self, closed: Mapping[str, int]) -> bool:
        """Tell whether it asks for something that is closed to all who want less of it."""
        return bool(closed) and any(amount < closed.get(name, 0) for name, amount in self.requirements.claims)


class Kinds:
    """One kind per distinct amounts, labels, claims and turn."""

    def __init__(self, settings: QueueSettings) -> None:
        self._settings = settings
        self._kinds: dict[tuple[object, ...], Kind] = {}
        self._by_requirements: dict[Requirements, Kind] = {}
        self.least_cores = 1.0

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def of(self, requirements: Requirements) -> Kind:
        kind = self._by_requirements.get(requirements)
        if kind is None:
            rounded = self._round(requirements)
            key = (rounded.amounts, rounded.labels, rounded.claims, rounded.turn)
            kind = self._kinds.get(key)
            if kind is None:
                kind = self._kinds[key] = Kind(rounded, self._most(rounded))
                self.least_cores = min(self.least_cores, rounded.amounts.cpu_cores)
            self._by_requirements[requirements] = kind
        return kind

    def _most(self, requirements: Requirements) -> int:
        on_workers = side_by_side(requirements.amounts, self._settings.largest) * self._settings.workers
        return max(1, min(on_workers, most_at_once(requirements.claims, self._settings.counted)))

    def _round(self, requirements: Requirements) -> Requirements:
        """Round predicted memory up on a coarse grid, so that similar tests share a lane: to a power of two times
        64 MiB, or a finer step where the worker is small; and not where that would take a good part of the worker."""
        amounts = requirements.amounts
        if requirements.states_memory or amounts.memory_bytes <= 0:
            return requirements
        whole = self._settings.largest.memory_bytes
        memory = _MEMORY_STEP
        while memory > max(2**20, whole * _FINEST):
            memory //= 2
        while memory < amounts.memory_bytes:
            memory *= 2
        if memory > whole * _COARSEST:
            memory = amounts.memory_bytes
        return replace(requirements, amounts=replace(amounts, memory_bytes=memory))
