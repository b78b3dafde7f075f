"""Scaling that was denied, by the limit that denied it: one limit is hit again and again while work waits. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from drm.model.plan import ScalingAction
from drm.summary import RunSummary, ScalingRecord

__all__ = ["Denials", "denials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denials:
    """``times`` one limit denied workers of one type, ``first_s`` the first time; ``reason``: when most were wanted."""

    times: int
    first_s: float
    reason: str


def denials(summary: RunSummary) -> list[Denials]:
    """Return the denials of a run, one entry for each limit and worker type."""
    found: dict[tuple[str, str, tuple[str, ...]], list[ScalingRecord]] = defaultdict(list)
    for record in summary.scaling:
        decision = record.decision
        if decision.action is ScalingAction.DENIED:
            found[decision.trigger.code, decision.worker_type, decision.limits_hit].append(record)
    return [
        Denials(
            times=len(records),
            first_s=records[0].elapsed_s,
            reason=max(records, key=lambda record: record.decision.wanted).decision.reason,
        )
        for records in found.values()
    ]
