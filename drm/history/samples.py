"""What is kept of attempts."""

from __future__ import annotations

import math

from drm.model.samples import Sample

KEPT_PER_TEST = 50
_TOO_LARGE = 2**63  # SQLite's integers end there


def is_sound(sample: Sample) -> bool:
    """Tell whether the amounts can have been measured: not negative, not absurd."""
    usage = sample.usage
    amounts = (usage.wall_s, usage.cpu_s, usage.peak_rss_bytes, usage.gpu_bytes)
    return all(0 <= amount < _TOO_LARGE for amount in amounts) and math.isfinite(sample.at)
