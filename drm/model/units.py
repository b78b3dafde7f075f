"""Sizes, durations and ranges as people write them, parsed once at the edge.

Inside DRM memory is bytes, time is seconds and cpu is cores; only this module
turns ``"4GiB"``, ``"90s"`` or ``"1..4"`` into numbers and back.
"""

from __future__ import annotations

import re

from drm.model.errors import ConfigError

_BINARY = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(ib|b|i)?\s*$", re.IGNORECASE)
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?\s*$", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_MOST_BYTES = 2**63 - 1  # what SQLite can hold
_MOST_S = 1e9
_MOST_SHOWN = 60


def shown(value: object) -> str:
    """Return a wrong value as an error message shows it: in one line, not too long, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # Python shows no number of more than 4,300 digits; a class may show nothing at all
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def parse_bytes(value: str | int | float, *, what: str = "memory") -> int:
    """Return a size in bytes.

    ``"4GiB"``, ``"4Gi"``, ``"4G"`` are binary (4 * 2**30), ``"4GB"`` is decimal
    (IEC 80000-13); a plain number is bytes. Raises ConfigError otherwise.
    """
    if isinstance(value, bool):
        raise _bad_size(value, what)
    if isinstance(value, int | float):
        size: int | float = value
    else:
        match = _SIZE.match(value) if isinstance(value, str) else None
        if match is None:
            raise _bad_size(value, what)
        number, prefix, suffix = match.group(1), match.group(2).lower(), (match.group(3) or "").lower()
        decimal = suffix == "b" and prefix != ""
        size = float(number) * (_DECIMAL if decimal else _BINARY)[prefix]
    if not 0 <= size <= _MOST_BYTES:  # nor is nan
        raise _bad_size(value, what)
    return int(size)


def _bad_size(value: object, what: str) -> ConfigError:
    return ConfigError(f"{what}: {shown(value)} is not a size", remedy='write it like "512MiB" or "4GiB"')


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
    error = ConfigError(f"{what}: {shown(value)} is not a duration", remedy='write it like 60, "90s" or "2m"')
    if isinstance(value, bool):
        raise error
    if isinstance(value, int | float):
        seconds: int | float = value
    else:
        match = _DURATION.match(value) if isinstance(value, str) else None
        if match is None:
            raise error
        seconds = float(match.group(1)) * _SECONDS[(match.group(2) or "").lower()]
    if not 0 <= seconds <= _MOST_S:  # nor is nan
        raise error
    return float(seconds)


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


def parse_count_range(value: str, *, what: str, auto: int, minimum: int = 1, maximum: int = 1000) -> tuple[int, int]:
    """Return (least, most) from ``"4"``, ``"1..4"`` or ``"auto"`` (= 1 to ``auto``)."""
    text = value.strip().lower()
    if text == "auto":
        return 1, auto
    least, dots, most = text.partition("..")
    ends = (least, most if dots else least)
    if all(end.isdecimal() and len(end) < 10 for end in ends):
        low, high = map(int, ends)
        if minimum <= low <= high <= maximum:
            return low, high
    raise ConfigError(
        f"{what}: {shown(value)} is not a count",
        remedy=f'write a number from {minimum} to {maximum:,}, a range like "1..4", or "auto"',
    )
