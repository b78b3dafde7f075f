"""A plugin of pytest in a run of the soak: the provider of its workers fails, or its clock is wrong, as it is told.

``SOAK_PROVIDER``: a seed; creates of workers are refused, lost on the way, or carried out with a lost answer, and
ends of workers fail; each is a line of the file ``provider``. ``SOAK_CLOCK``: a file with the seconds by which the
time of day is off; only where no ``clock_step.c`` can be compiled, and then only who asks ``time.time`` or DRM's own
clock is told the wrong time.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.fault_schedules import REFUSALS
from drm import session
from drm.cloud_provider_manager.providers.local import LocalProvider
from drm.model.cluster import Instance, InstanceRequest
from drm.model.errors import LostError, UnknownFateError

__all__ = ["PLUGIN", "SECONDS"]

PLUGIN = __name__
SECONDS = struct.Struct("=q")
_RATE = 0.6  # of creates that go wrong
_END_RATE = 0.5
_MOST = 12  # then all goes well: a run must come to its end
_MOST_ENDS = 3  # of one worker that fail: an outage of some seconds, after which no worker may be left


class _Scripted:
    """What goes wrong next, by a seed."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(seed)
        self._left = _MOST
        self.failed_ends: Counter[str] = Counter()
        self.create, self.terminate = LocalProvider.create, LocalProvider.terminate

    def draw(self, names: list[str], rate: float) -> str:
        fault = self._chance.choice(names) if self._left and self._chance.random() < rate else ""
        self._left -= bool(fault)
        if fault:
            with open("provider", "a", encoding="utf-8") as file:
                file.write(f"{fault}\n")
        return fault


def _spoil(seed: str) -> None:
    script = _Scripted(seed)
    faults = [*REFUSALS, "request lost", "answer lost"]

    def create(self: LocalProvider, request: InstanceRequest) -> Instance:
        fault = script.draw(faults, _RATE)
        if fault in REFUSALS:
            raise REFUSALS[fault](f"the soak says {fault}")
        if fault == "request lost":
            raise UnknownFateError("the request was lost")
        made = script.create(self, request)
        if fault:
            raise UnknownFateError("the answer was lost")
        return made

    def terminate(self: LocalProvider, instance_id: str) -> None:
        if script.failed_ends[instance_id] < _MOST_ENDS and script.draw(["lost"], _END_RATE):
            script.failed_ends[instance_id] += 1
            raise LostError("the provider does not answer")
        script.terminate(self, instance_id)

    LocalProvider.create = create  # type: ignore[method-assign]
    LocalProvider.terminate = terminate  # type: ignore[method-assign]


def _shift(file: Path) -> None:
    true_time, true_utc = time.time, session.SystemClock.utc

    def off_s() -> float:
        return float(SECONDS.unpack(file.read_bytes())[0])

    def utc(self: session.SystemClock) -> datetime:
        return true_utc(self) + timedelta(seconds=off_s())

    time.time = lambda: true_time() + off_s()
    session.SystemClock.utc = utc  # type: ignore[method-assign]


if "SOAK_PROVIDER" in os.environ:
    _spoil(os.environ["SOAK_PROVIDER"])
if "SOAK_CLOCK" in os.environ and "LD_PRELOAD" not in os.environ:
    _shift(Path(os.environ["SOAK_CLOCK"]))
