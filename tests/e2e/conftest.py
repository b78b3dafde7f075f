"""What the tests of the whole workflow share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path, run_folder: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, run_folder, most=5)
    yield made
    made.close()
