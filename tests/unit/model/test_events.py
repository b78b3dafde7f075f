from __future__ import annotations

from datetime import UTC, datetime

from drm.model import events


def test_times_are_utc_with_milliseconds() -> None:
    assert events.utc_text(datetime(2026, 2, 3, 4, 5, 6, 7089, tzinfo=UTC)) == "2026-02-03T04:05:06.007Z"
