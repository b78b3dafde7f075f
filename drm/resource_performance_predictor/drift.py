"""Past attempts made comparable: of faster and slower machines, and of tests that have changed since."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from drm.model.samples import Sample

_ENOUGH_TESTS = 5  # that both machines ran, before their speeds are compared
_FASTEST, _SLOWEST = 1 / 20, 20.0  # what is outside is no speed of a machine


def speeds(samples: Mapping[str, Sequence[Sample]], machine: str) -> dict[str, float]:
    """Return, per other machine class, what its seconds are to be multiplied by to be those of ``machine``.

    The median, over the tests that both ran, of the ratio of their medians; left out with too few. Where nothing ran
    on ``machine``, the one that ran most is taken in its place: seconds of several others agree at least.
    """
    counts = Counter(row.machine for rows in samples.values() for row in rows)
    if not machine or not counts.keys() - {"", machine}:
        return {}
    if machine not in counts:
        machine = max((name for name in counts if name), key=lambda name: (counts[name], name))
    ratios: dict[str, list[float]] = {}
    for rows in samples.values():
        walls: dict[str, list[float]] = {}
        for row in rows:
            if row.outcome is not None and row.usage.wall_s > 0:
                walls.setdefault(row.machine, []).append(row.usage.wall_s)
        ours = walls.pop(machine, None)
        if not ours:
            continue
        for other, theirs in walls.items():
            ratios.setdefault(other, []).append(statistics.median(ours) / statistics.median(theirs))
    return {
        other: min(_SLOWEST, max(_FASTEST, statistics.median(found)))
        for other, found in ratios.items()
        if len(found) >= _ENOUGH_TESTS
    }


def as_here(rows: Sequence[Sample], factors: Mapping[str, float]) -> Sequence[Sample]:
    """Return the samples with durations as they would have been on this machine."""
    if not factors:
        return rows
    return [
        replace(row, usage=replace(row.usage, wall_s=row.usage.wall_s * factors[row.machine]))
        if row.machine in factors
        else row
        for row in rows
    ]


def since_change(rows: Sequence[Sample], source: int) -> tuple[Sequence[Sample], bool]:
    """Return the samples that still say something of a test whose source is now ``source``, and whether it has
    changed since all of them. Those of before a change count only until there is one of after it."""
    if not source or not any(row.source not in (0, source) for row in rows):
        return rows, False
    same = [row for row in rows if row.source == source]
    return (same, False) if same else (rows, True)
