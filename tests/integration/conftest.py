"""A project of its own for a test that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ci_sample
import pytest
from projects import Project, new_project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    yield from new_project(tmp_path / "suite")


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """As ``project``, for a suite that several tests of a module look at."""
    yield from new_project(tmp_path_factory.mktemp("shared") / "suite")


@pytest.fixture(scope="session")
def drm_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DRM as it is here, for a project of its own to install."""
    return ci_sample.build_wheel(tmp_path_factory.mktemp("wheel"))
