"""What is kept of attempts."""

from __future__ import annotations

import math

from drm.model.samples import Sample

KEPT_PER_TEST = 50
_LONGEST_S = 10 * 365 * 86400.0
_TOO_LARGE = 2**63  # SQLite's integers end there


def is_sound(sample: Sample) -> bool:
    """Tell whether the amounts can have been measured: not negative, not absurd.

    A clock that was set amid a test makes years of seconds; what goes by them would plan for years.
    """
    usage = sample.usage
    seconds, sizes = (usage.wall_s, usage.cpu_s), (usage.peak_rss_bytes, usage.gpu_bytes)
    return (
        all(0 <= amount <= _LONGEST_S for amount in seconds)
        and all(0 <= amount < _TOO_LARGE for amount in sizes)
        and math.isfinite(sample.at)
    )
