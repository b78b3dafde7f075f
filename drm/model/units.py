"""Sizes, durations and ranges as people write them, parsed once at the edge.

Inside DRM memory is bytes, time is seconds and cpu is cores; only this module
turns ``"4GiB"``, ``"90s"`` or ``"1..4"`` into numbers and back.
"""

from __future__ import annotations

import math
import re

from drm.model.errors import ConfigError

_BINARY = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(ib|b|i)?\s*$", re.IGNORECASE)
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?\s*$", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_bytes(value: str | int | float, *, what: str = "memory") -> int:
    """Return a size in bytes.

    ``"4GiB"``, ``"4Gi"``, ``"4G"`` are binary (4 * 2**30), ``"4GB"`` is decimal
    (IEC 80000-13); a plain number is bytes. Raises ConfigError otherwise.
    """
    if isinstance(value, bool):
        raise _bad_size(value, what)
    if isinstance(value, int | float):
        if not math.isfinite(value) or value < 0:
            raise _bad_size(value, what)
        return int(value)
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        raise _bad_size(value, what)
    number, prefix, suffix = match.group(1), match.group(2).lower(), (match.group(3) or "").lower()
    decimal = suffix == "b" and prefix != ""
    return int(float(number) * (_DECIMAL if decimal else _BINARY)[prefix])


def _bad_size(value: object, what: str) -> ConfigError:
    return ConfigError(f"{what}: {value!r} is not a size", remedy='write it like "512MiB" or "4GiB"')


def format_bytes(size: int | float) -> str:
    """Return a size for people, binary units, at most one decimal: ``"1.5 GiB"``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            text = f"{value:.1f}".removesuffix(".0")
            return f"{text} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def parse_duration(value: str | int | float, *, what: str = "timeout") -> float:
    """Return a duration in seconds from ``60``, ``"60s"``, ``"2m"``, ``"1h"`` or ``"500ms"``."""
    error = ConfigError(f"{what}: {value!r} is not a duration", remedy='write it like 60, "90s" or "2m"')
    if isinstance(value, bool):
        raise error
    if isinstance(value, int | float):
        if not math.isfinite(value) or value < 0:
            raise error
        return float(value)
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise error
    return float(match.group(1)) * _SECONDS[(match.group(2) or "").lower()]


def format_duration(seconds: float) -> str:
    """Return a duration for people: ``"240 ms"``, ``"4.2 s"``, ``"20m00s"``, ``"1h02m"``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def parse_count_range(value: str, *, what: str, auto: int, minimum: int = 1) -> tuple[int, int]:
    """Return (least, most) from ``"4"``, ``"1..4"`` or ``"auto"`` (= ``auto`` exactly)."""
    text = value.strip().lower()
    if text == "auto":
        return auto, auto
    least, dots, most = text.partition("..")
    if least.isdigit() and (most.isdigit() if dots else True):
        low, high = int(least), int(most) if dots else int(least)
        if minimum <= low <= high:
            return low, high
    raise ConfigError(
        f"{what}: {value!r} is not a count", remedy=f'write a number >= {minimum}, a range like "1..4", or "auto"'
    )
