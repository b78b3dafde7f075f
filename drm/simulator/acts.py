"""What tests and workers of a simulated run really do, and the clock that it goes by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from drm.model.work import Outcome

START = datetime(2026, 1, 1, tzinfo=UTC)  # of every simulated run, so that the same run gives the same bytes


class VirtualClock:
    """Implements ``drm.ports.Clock``: time moves when the engine says so."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now(self) -> float:
        return self._now_s

    def utc(self) -> datetime:
        return START + timedelta(seconds=self._now_s)

    def advance(self, seconds: float) -> float:
        """Move on; return the new time."""
        self._now_s += seconds
        return self._now_s

    def move_to(self, now_s: float) -> None:
        """Move on to a time; one that is past changes nothing."""
        self._now_s = max(self._now_s, now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What one attempt does: it takes ``seconds``, holds ``peak_bytes`` and keeps ``cores`` busy.

    ``outcome``: what its report says. ``signal``: it ends with its executor instead, ``at_share`` of the way
    through. ``hangs``: it ends only when it is ended. ``is_deaf``: it does not hear an interrupt. ``is_missing``:
    the executor does not find it.
    """

    seconds: float
    peak_bytes: int = 0
    cores: float = 1.0
    outcome: Outcome = Outcome.PASSED
    message: str = ""
    signal: str = ""
    oom_kills: int = 0
    at_share: float = 1.0
    hangs: bool = False
    is_deaf: bool = False
    is_missing: bool = False


Script = Callable[[str, int], Act]
"""What (task id, attempt) does; the same each time it is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What one instance does: it joins ``start_s`` seconds after it was asked for (None: it never does), and is lost
    ``lives_s`` seconds after that (None: it stays)."""

    start_s: float | None = 0.1
    lives_s: float | None = None
