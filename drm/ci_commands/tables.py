"""Tables in a terminal: columns as wide as what is in them, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence

from drm.reporting.text import one_line

__all__ = ["table"]

_WIDEST = 100


def table(rows: Sequence[Sequence[object]], *, right: Sequence[int] = (), indent: str = "") -> list[str]:
    """Return the rows as lines. ``right``: the columns that are set to the right. A value of None is left empty.

    What is shown is tamed: it fits on its line, and a terminal obeys nothing of it.
    """
    cells = [["" if value is None else one_line(str(value), _WIDEST) for value in row] for row in rows]
    widths = [
        max((len(row[column]) for row in cells if column < len(row)), default=0) for column in range(_most(cells))
    ]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        lines.append((indent + "  ".join(parts)).rstrip())
    return lines


def _most(rows: Sequence[Sequence[str]]) -> int:
    return max(map(len, rows), default=0)
