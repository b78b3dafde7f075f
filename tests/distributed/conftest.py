"""What the tests on several machines share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))  # engine_contract.py


@pytest.fixture(scope="session")
def needs_ray() -> None:
    """Skip where Ray is missing. It is looked for and not imported: it reads RAY_USE_TLS when it is loaded, and a
    driver in this process would then never reach a coordinator, which asks for certificates."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'drm-testing[ray]'")
