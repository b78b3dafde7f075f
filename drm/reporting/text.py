"""Words and lines that several formats share."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

from drm.model.units import format_duration
from drm.model.work import Outcome
from drm.summary import RunSummary

__all__ = ["amount", "bars", "counts_text", "exchangeable", "one_line", "percent", "plural"]


def one_line(text: str, limit: int = 200) -> str:
    """Return the text on one line of at most ``limit`` characters, without anything a terminal or page obeys.

    Control, format (right-to-left marks) and surrogate characters become spaces or ``?``, and ``##[``, which
    GitHub's runner takes for a command wherever it is in a line, is parted.
    """
    cut = text[: limit + 1]
    if "##[" in cut:
        cut = cut.replace("##[", "## [")
    if not (cut.isascii() and cut.isprintable()):
        cut = "".join(_tame(character) for character in cut)
        cut = " ".join(cut.split())
    return cut if len(cut) <= limit and len(text) <= limit else cut[: limit - 3] + "..."


def exchangeable(text: str, limit: int) -> str:
    """Return the beginning of a text as any reader of JSON takes it: a lone surrogate becomes ``?``."""
    cut = text[:limit]
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()


def _tame(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Zl", "Zp"):
        return " "
    return "?" if category == "Cs" else character


def plural(number: int, word: str) -> str:
    """Return ``"1 test"`` or ``"2 tests"``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def percent(share: float | None) -> str:
    """Return ``"92.4%"``, or a dash where there is no number."""
    return f"{100 * share:.1f}%" if share is not None and math.isfinite(share) else "-"


def amount(seconds: float) -> str:
    """Return a duration for a table, small ones exactly: ``"12.3 µs"``; a dash where there is no number."""
    if not math.isfinite(seconds):
        return "-"
    if 0 < abs(seconds) < 0.01:
        return f"{seconds * 1e6:.1f} µs" if abs(seconds) < 0.001 else f"{seconds * 1000:.2f} ms"
    return format_duration(seconds)


def counts_text(summary: RunSummary, joint: str = " + ") -> str:
    """Return ``"1540 passed + 11 skipped"``: every outcome that occurred."""
    parts = [
        plural(number, name) if name == Outcome.ERROR.value else f"{number} {name.replace('_', ' ')}"
        for name, number in summary.counts
        if number
    ]
    return joint.join(parts) or "none"


_BARS = "▁▂▃▄▅▆▇█"


def bars(values: Iterable[float]) -> str:
    """Return one bar for each value, the largest of them as high as it goes."""
    known = [value if math.isfinite(value) else 0.0 for value in values]
    top = max(known, default=0.0) or 1.0
    return "".join(_BARS[min(7, max(0, int(8 * value / top)))] for value in known)
