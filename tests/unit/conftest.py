"""What unit tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test may depend on how fast the machine is today: no deadline, and no complaint about slow generation
# (the first text that is drawn builds a table of all characters, under a tracer in the stages).
# Each run tries the same forty examples of a property, so that none fails by chance; ``DRM_EXAMPLES=2500`` tries as
# many as one wants, new ones each time.
settings.register_profile(
    "drm",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(os.environ.get("DRM_EXAMPLES", "40")),
    derandomize="DRM_EXAMPLES" not in os.environ,
)
settings.load_profile("drm")


# What is collected, and the clients of clouds that some tests import, stays: searches for garbage go through all of it.
gc.set_threshold(10_000, 20, 50)


def pytest_collection_finish() -> None:
    gc.freeze()


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with the file of that name; ``UPDATE_GOLDEN=1`` writes it instead, for a person to read."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parents[1] / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
