"""What tests of every component share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest


class FakeClock:
    """A clock that moves only when told: ``clock.advance(2.5)``."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now(self) -> float:
        return self._now_s

    def utc(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now_s)

    def advance(self, seconds: float) -> float:
        """Move on; return the new time."""
        self._now_s += seconds
        return self._now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
