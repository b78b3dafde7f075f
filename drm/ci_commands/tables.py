"""What a terminal shows: tables with columns as wide as what is in them, and help in paragraphs."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence

from drm.reporting.text import one_line

__all__ = ["Paragraphs", "table", "terminal_width"]

_WIDEST = 100
_LEAST = 20  # characters on a line, however narrow the terminal


class Paragraphs(argparse.HelpFormatter):
    """Help whose texts have paragraphs, parted by empty lines; each is as wide as the terminal."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(part, width, indent) for part in text.split("\n\n"))


def terminal_width() -> int | None:
    """Return how many characters a line of the terminal has; None where what is printed goes to no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    rows: Sequence[Sequence[object]], *, right: Sequence[int] = (), indent: str = "", width: int | None = None
) -> list[str]:
    """Return the rows as lines. ``right``: the columns that are set to the right. A value of None is left empty.

    ``width``: a row that is longer has its last column below it. What is shown is tamed: it fits on its line, and a
    terminal obeys nothing of it.
    """
    cells = [["" if value is None else one_line(str(value), _WIDEST) for value in row] for row in rows]
    widths = [
        max((len(row[column]) for row in cells if column < len(row)), default=0) for column in range(_most(cells))
    ]
    lines = []
    for number, row in enumerate(cells):
        parts = [
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        line = (indent + "  ".join(parts)).rstrip()
        if width is None or len(line) <= width or len(parts) < 2 or not row[-1]:
            lines.append(line)
            continue
        short = (indent + "  ".join(parts[:-1])).rstrip()
        if number == 0 and len(short) + len(row[-1]) + 2 <= width:  # the titles stay on one line
            lines.append(f"{short}  {row[-1]}")
            continue
        lines.append(short)
        below = f"{indent}    "
        lines += textwrap.wrap(
            row[-1],
            max(width, len(below) + _LEAST),
            initial_indent=below,
            subsequent_indent=below,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _most(rows: Sequence[Sequence[str]]) -> int:
    return max(map(len, rows), default=0)
