"""How long a test may run. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drm.model.units import format_duration

LEAST_S = 5.0  # a machine under load makes a test of milliseconds take a hundred times as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    seconds: float
    reason: str  # why a test that ran longer was ended


def timeout_of(asked_s: float | None, slow_s: float | None, factor: float | None) -> Timeout | None:
    """Return the timeout that the marker or the configuration asks for; else ``factor`` times ``slow_s``, what the
    test took when it was slow (a 99th percentile), and at least 5 s; None where neither is known."""
    if asked_s is not None:
        return Timeout(seconds=asked_s, reason=f"the test ran longer than its timeout of {format_duration(asked_s)}")
    if factor is None or slow_s is None:
        return None
    seconds = max(LEAST_S, factor * slow_s)
    return Timeout(
        seconds=seconds,
        reason=f"the test ran longer than {format_duration(seconds)}, where it took {format_duration(slow_s)} "
        f"when it was slow (--drm-timeout-factor {factor:g}, at least {format_duration(LEAST_S)})",
    )
