"""What tests of every component share."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

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

    def move_to(self, now_s: float) -> None:
        """Move on to a time; one that is past changes nothing."""
        self._now_s = max(self._now_s, now_s)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def run_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where an inner run leaves its record: beside that of the stage it is part of, so that the report shows it."""
    stage = os.environ.get("DRM_STAGE_FOLDER")
    return Path(stage) / "runs" / request.node.name if stage else tmp_path / "record"
