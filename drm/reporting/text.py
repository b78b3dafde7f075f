"""Words and lines that several formats share."""

from __future__ import annotations

import unicodedata

from drm.model.work import Outcome
from drm.summary import RunSummary

__all__ = ["counts_text", "one_line", "plural"]


def one_line(text: str, limit: int = 200) -> str:
    """Return the text on one line of at most ``limit`` characters, without anything a terminal or page obeys.

    Control, format (right-to-left marks) and surrogate characters become spaces or ``?``.
    """
    cut = text[: limit + 1]
    if not (cut.isascii() and cut.isprintable()):
        cut = "".join(_tame(character) for character in cut)
        cut = " ".join(cut.split())
    return cut if len(cut) <= limit and len(text) <= limit else cut[: limit - 3] + "..."


def _tame(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Zl", "Zp"):
        return " "
    return "?" if category == "Cs" else character


def plural(number: int, word: str) -> str:
    """Return ``"1 test"`` or ``"2 tests"``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def counts_text(summary: RunSummary, joint: str = " + ") -> str:
    """Return ``"1540 passed + 11 skipped"``: every outcome that occurred."""
    words = {Outcome.ERROR.value: "errors", Outcome.NOT_RUN.value: "not run"}
    return joint.join(f"{number} {words.get(name, name)}" for name, number in summary.counts if number) or "none"
