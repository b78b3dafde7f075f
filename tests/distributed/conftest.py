"""What the tests on several machines share."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))  # engine_contract.py
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "cloud_provider_manager"))  # faulty_ec2_client.py


def pytest_addoption(parser: pytest.Parser) -> None:
    with suppress(ValueError):  # other stages have it too
        parser.addoption("--quick", action="store_true", help="a part of the own suite instead of the whole")


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--quick", False))


@pytest.fixture(scope="session")
def needs_ray() -> None:
    """Skip where Ray is missing. It is looked for and not imported: it reads RAY_USE_TLS when it is loaded, and a
    driver in this process would then never reach a coordinator, which asks for certificates."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'drm-testing[ray]'")
