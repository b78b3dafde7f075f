"""The account of a run is checked: what is lost, or counted twice, or left out without a reason, is found."""

from __future__ import annotations

from typing import Any

import pytest

from drm.model import events
from drm.model.work import Outcome
from drm.reporting.terminal import closing_lines
from drm.summary import summarise
from drm.summary.audit import doubts

PASSED, FAILED, NOT_RUN = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_RUN


def told(collected: int, *counts: tuple[str, int]) -> events.RunFinished:
    return events.RunFinished(seq=9, at="x", elapsed_s=1.0, collected=collected, counts=counts, wall_s=1.0)


@pytest.mark.parametrize(
    ("counted", "run", "reason", "words"),
    [
        ({PASSED: 2, FAILED: 1}, told(3, ("passed", 2), ("failed", 1)), "", None),
        ({PASSED: 2, NOT_RUN: 1}, told(3, ("passed", 2), ("not_run", 1)), "interrupted", None),
        ({PASSED: 2, NOT_RUN: 1}, None, "", None),
        ({PASSED: 2, NOT_RUN: 1}, told(3, ("passed", 2), ("not_run", 1)), "", "1 tests did not run, though nothing"),
        ({PASSED: 2}, told(3, ("passed", 3)), "", "2 tests were discovered, and 3 were kept account of"),
        ({PASSED: 3}, told(3, ("passed", 2)), "", "of 3 tests, 2 have an outcome"),
        ({PASSED: 2, FAILED: 1}, told(3, ("passed", 3)), "", "the accounts have {'passed': 3}"),
    ],
)
def test_what_does_not_add_up_is_found(counted: Any, run: Any, reason: str, words: str | None) -> None:
    found = doubts(counted, run, reason=reason)
    assert bool(found) == (words is not None)
    assert words is None or any(words in doubt for doubt in found)


def test_a_test_that_ends_twice_is_found_and_said() -> None:
    at = {"at": "x", "elapsed_s": 1.0}
    end = {"task_id": "a", "outcome": PASSED, "attempts": 1, "wall_s": 0.1, **at}
    summary = summarise(
        [
            events.TestsDiscovered(seq=1, task_ids=("a",), **at),
            events.TestFinished(seq=2, **end),
            events.TestFinished(seq=3, **end),
            told(1, ("passed", 1)),
        ]
    )
    assert summary.doubts == ("a ended twice",)
    assert "drm: THE ACCOUNT DOES NOT ADD UP: a ended twice; this is an error of DRM" in closing_lines(summary)
