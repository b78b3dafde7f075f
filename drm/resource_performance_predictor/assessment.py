"""How good the predictions of a run were, now that it is over."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from drm.model.samples import Sample
from drm.resource_performance_predictor.distributions import Uncertainty

_GIB_HOUR = 2**30 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """``predicted``: attempts of tests that had a past. ``median_error`` of their seconds, and the share ``covered`` by
    intervals of 90 %; both None where there were none. GiB-hours reserved in the run, and those of them not used."""

    predicted: int
    median_error: float | None
    covered: float | None
    reserved_gib_hours: float
    unused_gib_hours: float
    too_small: int


def assess(before: Mapping[str, Sequence[Sample]], run: Iterable[Sample]) -> Assessment:
    """Compare a run's attempts with what was predicted of each when it began: from those ``before`` the run, by test
    and oldest first, and from those of the run that had ended by then."""
    uncertainty = Uncertainty(before)
    errors, covered, reserved, unused, too_small = [], 0, 0.0, 0.0, 0
    ended: list[tuple[float, int, Sample]] = []
    for number, row in enumerate(sorted(run, key=lambda row: row.at - row.usage.wall_s)):
        usage = row.usage
        while ended and ended[0][0] <= row.at - usage.wall_s:
            uncertainty.learn(heapq.heappop(ended)[2])
        heapq.heappush(ended, (row.at, number, row))
        reserved += row.reserved_bytes * usage.wall_s
        unused += max(0, row.reserved_bytes - usage.peak_rss_bytes) * usage.wall_s
        too_small += 0 < row.reserved_bytes < usage.peak_rss_bytes
        expected = uncertainty.expected_s(row.task_id)
        if expected is None or row.outcome is None or row.death or not usage.wall_s:
            continue
        low, high = uncertainty.interval(row.task_id)
        errors.append(abs(expected - usage.wall_s) / usage.wall_s)
        covered += low * expected <= usage.wall_s <= high * expected
    return Assessment(
        predicted=len(errors),
        median_error=statistics.median(errors) if errors else None,
        covered=covered / len(errors) if errors else None,
        reserved_gib_hours=reserved / _GIB_HOUR,
        unused_gib_hours=unused / _GIB_HOUR,
        too_small=too_small,
    )
