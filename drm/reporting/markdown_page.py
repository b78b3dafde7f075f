"""Markdown that stays under a size and shows text as it is, whatever the text: for reports, summaries and comments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from drm.reporting.report import Link
from drm.reporting.text import one_line

__all__ = ["MARKS", "Page", "escape", "links_line", "mark_of"]

_TABLE_BYTES = 8_000
_RESERVE_BYTES = 200  # for the line that says what was left out
# What could start markup inside a table cell; "_" only at the edge of a word, ":" and "." only in an address.
_PUNCTUATION = re.compile(r"([\\`*\[\]#|~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.)", re.IGNORECASE)
# Mentions and references are looked for in the text as it is shown, where no backslash is left to stop them.
_REFERENCE = re.compile(r"\\?(@)|(?:(\\#|!)|(?<=\bgh)(-))(?=\d)", re.IGNORECASE)
MARKS = {"passing": "✅", "failing": "❌", "error": "💥", "partial": "⚠️", "stale": "⚠️"}


def escape(text: str, limit: int = 300) -> str:
    """Return the text as one line that GitHub and GitLab show as it is.

    No markup, link, mention, reference or table cell comes of it.
    """
    plain = one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _REFERENCE.sub(
        lambda match: f"{next(filter(None, match.groups()))}&#8203;", _PUNCTUATION.sub(r"\\\1", plain)
    )


def mark_of(state: str) -> str:
    """Return the sign of a state."""
    return MARKS.get(state, "⬜")


def links_line(links: Iterable[Link]) -> str:
    """Return the links on one line; nothing where there are none."""
    return " · ".join(f"[{escape(link.title, 40)}]({link.url})" for link in links)


class Page:
    """Lines, as long as they fit in ``limit`` bytes; at the end it says how many rows did not."""

    def __init__(self, limit: int) -> None:
        self._lines: list[str] = []
        self._room = limit - _RESERVE_BYTES
        self._limit = limit
        self._left_out = 0

    def add(self, *lines: str) -> bool:
        """Add the lines, all or none."""
        size = sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)
        if size > self._room:
            return False
        self._room -= size
        self._lines.extend(lines)
        return True

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        raw: bool = False,
        share: int = _TABLE_BYTES,
    ) -> None:
        """Add a table under its title, as many rows as fit in its share of the bytes, and say how many did not.

        ``raw``: the cells are escaped already.
        """
        share = min(share, self._room - _RESERVE_BYTES)
        head = (title, "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns))
        lines: list[str] = []
        for row in rows:
            line = "| " + " | ".join(row if raw else map(escape, row)) + " |"
            share -= len(line.encode("utf-8", "replace")) + 1
            if share < 0:
                break
            lines.append(line)
        if rows and self.add(*head, *lines, ""):
            if len(lines) < len(rows):
                self.add(f"{len(rows) - len(lines)} more rows are in report.json.", "")
        elif rows:
            lines.clear()
            self.add(f"{title}: {len(rows)} rows are in report.json.", "")
        self._left_out += len(rows) - len(lines)

    def text(self) -> str:
        """Return the page, its last line saying what was left out."""
        lines = self._lines
        if self._left_out:
            kept = f"which stays under {self._limit // 1000} KB"
            said = f"{self._left_out} rows of tables are left out of this page, {kept}; report.json has them all."
            lines = [*lines, said]
        return "\n".join(lines).rstrip("\n") + "\n"
