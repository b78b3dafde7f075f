"""When the controller was last heard of, told to every process of a machine: without that none begins a test.

A machine that stood still (suspended, stopped, cut off) for longer than its lease has lost its tests to others. What
goes on there before it is ended must not begin the tests that it was sent before. The agent notes the time in memory
that executors share: looking at it takes less than a microsecond.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["VARIABLE", "Heard", "Lease", "now_s"]

VARIABLE = "DRM_LEASE"
_TIME = struct.Struct("d")
_LOOK_S = 0.02
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine is suspended


def now_s() -> float:
    """Return seconds since the machine was started."""
    return time.clock_gettime(_CLOCK)


class Heard:
    """The agent's side. ``lease_s``: silence of the controller after which no test begins."""

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self._file = os.memfd_create("drm-lease")
        os.ftruncate(self._file, _TIME.size)
        self._shared = mmap.mmap(self._file, _TIME.size)
        self.note(self.stamp())

    def stamp(self) -> float:
        """Return what an answer to the controller carries; what comes back with it was said later."""
        return now_s()

    def note(self, stamp: float) -> None:
        """The controller was there after this stamp. When its words arrive says nothing: where a machine stood still,
        they were said long ago."""
        _TIME.pack_into(self._shared, 0, max(stamp, self._noted_s))

    @property
    def _noted_s(self) -> float:
        return float(_TIME.unpack_from(self._shared)[0])

    @property
    def silent_s(self) -> float:
        """Seconds since then."""
        return now_s() - self._noted_s

    @property
    def is_over(self) -> bool:
        return self.silent_s > self.lease_s

    @property
    def environment(self) -> dict[str, str]:
        """What processes of the machine find it by, while this one lives."""
        return {VARIABLE: f"/proc/{os.getpid()}/fd/{self._file}:{self.lease_s}"}


class Lease:
    """An executor's side. Use ``find``."""

    def __init__(self, shared: mmap.mmap | None, lease_s: float) -> None:
        self._shared = shared
        self._lease_s = lease_s

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> Lease | None:
        """Return the lease of this machine; None where it has none, as beside its controller."""
        path, _, seconds = environ.get(VARIABLE, "").rpartition(":")
        if not path:
            return None
        shared = None
        # Where the agent is gone, this process is about to be ended.
        with suppress(OSError, ValueError), open(path, "rb") as file:
            shared = mmap.mmap(file.fileno(), _TIME.size, prot=mmap.PROT_READ)
        return cls(shared, float(seconds))

    @property
    def is_over(self) -> bool:
        return self._shared is None or now_s() - float(_TIME.unpack_from(self._shared)[0]) > self._lease_s

    def wait(self) -> None:
        """Return when the controller is heard of; a machine whose lease is over is ended before that."""
        while self.is_over:
            time.sleep(_LOOK_S)
