"""Watching how much memory a worker's processes hold, many times a second and for next to nothing.

What is shared makes this hard: executors are forks, and most of their pages are the zygote's. Only the
proportional set size counts each page once, and the kernel walks all pages to tell it. So that is read once a
second at most, and what resident sizes (a few microseconds) have grown by since then is added.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

from drm.model.memory import MemoryLevel, MemorySample
from drm.worker import probe
from drm.worker.limits import MemoryLimits
from drm.worker.linux import descendants_of

_SCAN_S = 1.0
_SCAN_SHARE = 50  # a scan that takes a millisecond is followed by none for 50
_NEAR, _NEAR_BYTES = 0.25, 2**30  # when less than this is left, look often
_WATCH_S, _NEAR_WATCH_S = 0.1, 0.02
_TELL_BYTES = 16 * 2**20  # what has changed by less is told with the next usage


class MemoryWatch:
    """Looks at the processes of one worker: this process and all below it. ``limit_bytes`` is what it was given."""

    def __init__(self, limit_bytes: int) -> None:
        self._limits = MemoryLimits()
        self._limit_bytes = limit_bytes
        self._stands_alone = limit_bytes < self._limits.limit_bytes  # else the limits below it are met first
        self._scanned_bytes = 0
        self._residents_then: dict[str, int] = {}
        self._next_scan_s = float("-inf")
        self.interval_s = _WATCH_S
        self.told: MemorySample | None = None  # what the controller has heard last

    def scan(self, residents: Mapping[str, int] | None = None) -> int:
        """Return what all processes of the worker hold, each page counted once."""
        began = time.monotonic()
        own = os.getpid()
        self._scanned_bytes = sum(map(probe.proportional_bytes, (own, *descendants_of(own))))
        self._residents_then = dict(residents or {})
        now = time.monotonic()
        self._next_scan_s = now + max(_SCAN_S, _SCAN_SHARE * (now - began))
        return self._scanned_bytes

    def used_bytes(self, residents: Mapping[str, int]) -> int:
        """Return what they hold: as of the last scan, and what executors have grown by since."""
        if time.monotonic() >= self._next_scan_s or residents.keys() != self._residents_then.keys():
            return self.scan(residents)
        then = self._residents_then
        return max(0, self._scanned_bytes + sum(size - then[name] for name, size in residents.items()))

    def sample(self, residents: Mapping[str, int]) -> MemorySample:
        """Return how things stand; ``interval_s`` is then how long to wait before the next look."""
        levels = self._limits.levels()
        if self._stands_alone:
            used = self.used_bytes(residents)
            levels.insert(0, MemoryLevel(name="the worker", limit_bytes=self._limit_bytes, used_bytes=used))
        self.interval_s = _NEAR_WATCH_S if _is_near(levels) else _WATCH_S
        return MemorySample(
            levels=tuple(levels), pressure=self._limits.pressure(), resident_bytes=tuple(residents.items())
        )

    def is_news(self, sample: MemorySample) -> bool:
        """Tell whether the controller should hear of the sample now, rather than with the next usage.

        Where memory is short or waited for, each is news; else one in which something has grown or shrunk, or an
        executor came or went: to tell ten times a second that nothing has happened costs the controller of many
        machines more than its decisions do.
        """
        told = self.told  # that memory is short no more is news too
        return told is None or _is_short(told) or _is_short(sample) or _have_changed(told, sample)


def _is_short(sample: MemorySample) -> bool:
    return _is_near(sample.levels) or sample.pressure > 0


def _have_changed(told: MemorySample, sample: MemorySample) -> bool:
    before, now = dict(told.resident_bytes), dict(sample.resident_bytes)
    if before.keys() != now.keys() or len(told.levels) != len(sample.levels):
        return True
    changes = [now[name] - before[name] for name in now]
    changes += [level.used_bytes - old.used_bytes for level, old in zip(sample.levels, told.levels, strict=True)]
    return any(abs(change) >= _TELL_BYTES for change in changes)


def with_children(pid: int) -> int:
    """Return what a process and all below it hold; pages that they share count for each."""
    return sum(map(probe.resident_bytes, (pid, *descendants_of(pid))))


def _is_near(levels: Iterable[MemoryLevel]) -> bool:
    return any(level.left_bytes < min(level.limit_bytes * _NEAR, _NEAR_BYTES) for level in levels)
