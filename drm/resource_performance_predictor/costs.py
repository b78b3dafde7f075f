"""What a wrong guess of memory costs, and what is tried after one that was too small."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drm.model.errors import ConfigError

__all__ = ["SAFE", "CostSettings", "next_reservation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSettings:
    """What a wrong guess costs, in byte-seconds.

    Too much: what is not used, for as long as the attempt takes. Too little: all of the attempt, what the next one
    has too much, and ``failure_penalty`` times what it used. Nobody gets less than ``least_bytes``. ``cautious``: the
    largest of the leaders, not their mean. ``decay``: what a cost counts one attempt later. ``leaders``: how many are
    followed. ``boosted``: LightGBM is one more expert where it is installed, from 30 samples on.
    """

    failure_penalty: float = 0.5
    cautious: bool = False
    decay: float = 0.98
    leaders: int = 10
    boosted: bool = True
    least_bytes: float = 32 * 2**20

    def __post_init__(self) -> None:
        for name, least in (("failure_penalty", 0.0), ("decay", 0.0), ("leaders", 1.0), ("least_bytes", 0.0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ConfigError(f"{name}: {value!r} is not a number of at least {least:g}")


SAFE = CostSettings(failure_penalty=2.0, cautious=True, leaders=5)
"""Fewer attempts that are killed, for more memory that stands empty."""


def next_reservation(reserved: float, largest_seen: float, kills: int, limit: float = math.inf) -> float:
    """Return bytes to reserve after the ``kills``-th kill for memory: at most ``limit``, the largest worker's.

    First more than was ever seen, and twice what was too little; then all that there is, where that is known.
    """
    if kills <= 1 or math.isinf(limit):
        return min(limit, max(1.05 * largest_seen, 2 * reserved))
    return limit
