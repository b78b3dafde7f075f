"""Decisions as data: where tests go, how many workers there should be, and why."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One test is to run on one worker, from ``start_s`` on by the plan's reckoning."""

    task_id: str
    worker_id: str
    start_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One test fits no worker; ``reason`` is a sentence a person understands."""

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All allocations: every task is in exactly one of the two lists.

    ``makespan_s`` is when the last test ends by the forecast, ``lower_bound_s``
    what no plan can beat.
    """

    allocations: tuple[Allocation, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    makespan_s: float = 0.0
    lower_bound_s: float = 0.0


class ScalingAction(str, enum.Enum):
    """What a scaling decision asks for."""

    UP = "up"
    DOWN = "down"
    HOLD = "hold"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What set a decision off: ``metric`` had ``value`` against ``threshold``."""

    code: str
    metric: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingDecision:
    """How many workers of a type there should be, and why.

    ``workers`` counts what is there or coming, ``wanted`` what there should be,
    ``granted`` what the limits allow. ``remove`` names idle workers to drain, ``keep`` those that drain and are
    to stay after all: they count as granted.
    """

    action: ScalingAction
    worker_type: str
    workers: int
    wanted: int
    granted: int
    trigger: Trigger
    reason: str
    remove: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    inputs: tuple[tuple[str, float], ...] = ()
    alternatives: tuple[str, ...] = ()
    limits_hit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRecommendation:
    """Add ``count`` workers of a type; ``tasks`` is how many waiting tests it serves."""

    worker_type: str
    count: int
    tasks: int
    usd_per_hour: float
    reason: str
