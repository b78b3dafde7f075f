"""For histories of which nothing is to be said to a person."""

from __future__ import annotations


def no_warning(line: str) -> None:
    raise AssertionError(f"unexpected warning: {line}")
