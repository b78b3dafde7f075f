"""What no measurement and no setting can be."""

from __future__ import annotations

import math

from drm.model.errors import ConfigError
from drm.model.units import format_bytes
from drm.model.work import Usage


def check_usage(task_id: str, usage: Usage) -> None:
    """Raise ConfigError for a usage that cannot have been measured."""
    for name in ("wall_s", "cpu_s", "peak_rss_bytes", "gpu_bytes"):
        value = getattr(usage, name)
        if not 0 <= value < math.inf:
            raise ConfigError(f"sample of {task_id}: {name} is {value!r}", remedy="leave this sample out")


def check_settings(wall_s: float, memory_bytes: int, memory_margin: float, sibling_margin: float) -> None:
    """Raise ConfigError for a default or a margin that is none."""
    if not 0 < wall_s < math.inf:
        raise ConfigError(f"default_wall_s: {wall_s!r} is not a duration")
    if not 0 <= memory_bytes < math.inf:
        raise ConfigError(f"default_memory_bytes: {format_bytes(memory_bytes)} is not a size")
    for name, margin in (("memory_margin", memory_margin), ("sibling_margin", sibling_margin)):
        if not 1 <= margin < math.inf:
            raise ConfigError(f"{name}: {margin!r} is not a factor of at least 1")
