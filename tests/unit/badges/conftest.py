from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "summary"))  # recorded.py, the runs made up for tests


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with the file of that name; ``UPDATE_GOLDEN=1`` writes it instead, for a person to read."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parents[2] / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
