"""What the tests on several machines share."""

from __future__ import annotations

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
