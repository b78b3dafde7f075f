"""More clocks than one per test."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def fake_clock(clock: Any) -> type[Any]:
    """Return the class of the fake clock, for a fresh one per example."""
    return type(clock)
