"""What tests of every component share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from drm.simulator.acts import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when told: ``clock.advance(2.5)``."""
    from drm.simulator.acts import VirtualClock

    return VirtualClock()


@pytest.fixture(scope="session")
def needs_ray() -> None:
    """Skip where Ray is missing. It is looked for and not imported: it reads RAY_USE_TLS when it is loaded, and a
    driver in this process would then never reach a coordinator, which asks for certificates."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'drm-testing[ray]'")


@pytest.fixture
def run_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where an inner run leaves its record: beside that of the stage it is part of, so that the report shows it."""
    stage = os.environ.get("DRM_STAGE_FOLDER")
    return Path(stage) / "runs" / request.node.name if stage else tmp_path / "record"


@pytest.fixture(scope="session")
def has_time() -> None:
    """What uses this takes minutes."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.skip("CI keeps to its time: nox runs these minutes where CI is not set")
