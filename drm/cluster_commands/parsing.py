"""What the commands share: how they read their arguments, and say what is wrong."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from drm.command_line import USAGE_ERROR
from drm.engines.ray_engine.state import CoordinatorState, running_coordinators
from drm.model.errors import ConfigError, DrmError

FIRST_PORT = 7410


def say(line: str) -> None:
    print(f"drm: {line}", flush=True)


def ended_well(work: Callable[[], int]) -> int:
    """Return the exit code of ``work``; an error of ours is said, each line one."""
    try:
        return work()
    except DrmError as error:
        for line in str(error).splitlines():
            print(f"drm: {line}", file=sys.stderr)
        return USAGE_ERROR if isinstance(error, ConfigError) else 1


def the_coordinator(address: str | None) -> CoordinatorState:
    """Return the coordinator of this host at an address, or the only one; ConfigError where there is not one."""
    if address is not None:
        return CoordinatorState.of(address)
    found = running_coordinators()
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError("no coordinator of this user runs on this host", remedy="start one with drm coordinator")
    raise ConfigError(
        "several coordinators run on this host", remedy=f"add --coordinator {' or '.join(one.address for one in found)}"
    )


@contextmanager
def end_asked() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, SIGTERM and the end of the terminal set, unless we were told to ignore it (nohup)."""
    asked = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    every = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in every if signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
