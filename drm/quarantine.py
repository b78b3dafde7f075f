"""Tests in quarantine: they run and are reported, and what they come to fails no run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import pytest

__all__ = ["REASON", "is_in_quarantine", "is_quarantined", "put_in_quarantine"]

REASON = "in quarantine ([drm] quarantine)"


def is_quarantined(nodeid: str, patterns: Sequence[str]) -> bool:
    """Tell whether a pattern is the nodeid, a part of it from its beginning (a file, a class, a test without its
    parameters), or matches it as a shell's pattern does."""
    return any(
        nodeid == pattern
        or any(nodeid.startswith(f"{pattern}{end}") for end in ("::", "[", "/"))
        or fnmatchcase(nodeid, pattern)
        for pattern in patterns
    )


def put_in_quarantine(items: Iterable[pytest.Item], patterns: Sequence[str]) -> None:
    """Mark the tests as ones that may fail: every process that collects the suite does the same."""
    for item in items if patterns else ():
        if is_quarantined(item.nodeid, patterns):
            item.add_marker(pytest.mark.xfail(reason=REASON, strict=False), append=False)


def is_in_quarantine(item: pytest.Item) -> bool:
    """Tell whether the test was put there."""
    return any(mark.kwargs.get("reason") == REASON for mark in item.iter_markers("xfail"))
