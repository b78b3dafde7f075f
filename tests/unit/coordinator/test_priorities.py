"""Orders other than that of the shortest run, and tests in quarantine."""

from __future__ import annotations

import pytest

from drm.model.samples import Risk
from drm.model.work import Task
from drm.priorities import groups_of
from drm.quarantine import is_quarantined

TASKS = [Task(task_id=name, scope="m.py", position=place) for place, name in enumerate("abcd")]
RISKS = {
    "a": Risk(chance=0.1, failed_last=False),
    "b": Risk(chance=0.5, failed_last=False, has_failed=True),
    "c": Risk(chance=0.9, failed_last=True, has_failed=True),
}


def order(kind: str, seconds: dict[str, float] | None = None) -> list[str]:
    groups = groups_of(TASKS, kind, RISKS, seconds or {})
    positions = [task.position for group in groups for task in group]
    assert positions == sorted(positions)
    return ["".join(task.task_id for task in group) for group in groups]


def test_what_failed_last_comes_first() -> None:
    assert order("failed-first") == ["c", "abd"]


def test_what_is_likely_to_fail_soon_comes_first() -> None:
    assert order("risk") == ["cb", "da"], "of a test never seen nothing is known; it comes before one that passes"
    assert order("risk", {"c": 100.0, "b": 1.0}) == ["bc", "da"]


@pytest.mark.parametrize("kind", ["longest", "slow-first", "file"])
def test_other_orders_are_the_queues(kind: str) -> None:
    assert groups_of(TASKS, kind, RISKS, {}) == [TASKS]


@pytest.mark.parametrize(
    ("pattern", "holds"),
    [
        ("a/test_m.py::TestX::test_y[1]", True),
        ("a/test_m.py::TestX::test_y", True),
        ("a/test_m.py::TestX", True),
        ("a/test_m.py", True),
        ("a", True),
        ("*test_y*", True),
        ("a/test_m.py::Test", False),
        ("test_y", False),
    ],
)
def test_a_quarantine_names_tests_files_and_patterns(pattern: str, holds: bool) -> None:
    assert is_quarantined("a/test_m.py::TestX::test_y[1]", [pattern]) is holds
