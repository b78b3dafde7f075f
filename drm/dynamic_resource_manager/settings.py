"""What the user can set about scaling."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from drm.model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSettings:
    """The scaling policy's numbers, all in seconds.

    ``target_queue_s``: waiting work should be cleared in this time.
    ``idle_s``: a worker without a reservation for longer may go.
    ``up_cooldown_s`` / ``down_cooldown_s``: the least time between two decisions of
    the same direction for one worker type. ``default_task_s``: counted for a waiting
    test of unknown duration. ``window_s``: utilization is averaged over it.
    """

    target_queue_s: float = 5.0
    idle_s: float = 3.0
    up_cooldown_s: float = 1.0
    down_cooldown_s: float = 1.0
    default_task_s: float = 0.1
    window_s: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least_is_zero = field.name in ("idle_s", "up_cooldown_s", "down_cooldown_s")
            if not math.isfinite(value) or value < 0 or (value == 0 and not least_is_zero):
                raise ConfigError(
                    f"{field.name}: {value!r} is not a {'duration' if least_is_zero else 'positive duration'}",
                    remedy="give seconds, for example 5",
                )
