"""A history, in a file and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from unwarned import no_warning

from drm.history import MemoryHistory, open_history
from drm.ports import HistoryStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".drm" / "history.db"


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, path: Path) -> HistoryStore:
    return open_history(path, warn=no_warning) if request.param == "file" else MemoryHistory()
