"""No part of a report is longer than the limit, and what is short is left as it is."""

from __future__ import annotations

from typing import Any

import pytest

from drm.worker.report_bounds import MOST, shorten


@pytest.mark.parametrize("value", ["", "short", "x" * MOST, None, 3, ["a", {"b": [1.5, True]}], {}])
def test_what_is_short_stays(value: Any) -> None:
    assert shorten(value) == value


def test_the_middle_of_what_is_long_is_left_out_wherever_it_is() -> None:
    text = "begins" + "x" * 5 * MOST + "ends"
    shortened = shorten({"sections": [("stdout", text)], "deep": [[[text]]]})
    for found in (shortened["sections"][0][1], shortened["deep"][0][0][0]):
        assert found.startswith("begins")
        assert found.endswith("ends")
        assert "the middle of 5 MiB is left out: a report keeps 1 MiB of each part" in found
        assert len(found) < MOST + 200
        assert shorten(found) == found, "what was shortened is not shortened again"
