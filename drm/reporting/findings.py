"""What follows from a run's facts: how well it used what it had, and how well it was foreseen.

``analysis`` works it out. Times are seconds since the run started.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Makespan", "Numbers", "PathStep", "PoolStep", "Prediction", "RunAnalysis", "WhatIf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers to see first, of one run or of all. None: there is nothing to count.

    ``slots_busy``: share of the executors' time in which a test ran. ``speed_up``: the tests' own seconds over the wall
    time; ``ideal_speed_up``: over the time that nothing could have beaten.
    """

    slots_busy: float | None = None
    wait_p50_s: float | None = None
    wait_p95_s: float | None = None
    placed: int = 0
    refused: int = 0
    success_rate: float | None = None
    decisions: int = 0
    denied: int = 0
    holds: int = 0
    speed_up: float | None = None
    ideal_speed_up: float | None = None
    regressed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStep:
    """One attempt of the chain that ended last. ``idle_s``: what its executor did nothing for before it."""

    AS_COLUMNS: ClassVar[bool] = True
    test: int
    attempt: int
    worker_id: str
    executor_id: str
    at_s: float
    finished_s: float
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """How long the same tests would have taken on so many, by their measured times; see ``analysis.what_if``."""

    number: int
    makespan_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Makespan:
    """How long the tests took, against what was planned and what could not be beaten.

    ``tests_s``: from the first start to the last end. ``planned_s``: the first plan's; None where nothing was known of
    any test. ``lower_bound_s``: the longest test, or the tests' seconds spread evenly over the most executors
    that there were, whichever is more (Graham 1969). ``unit`` of the what-ifs: ``workers`` or ``executors``.
    """

    wall_s: float = 0.0
    tests_s: float = 0.0
    planned_s: float | None = None
    lower_bound_s: float = 0.0
    longest_s: float = 0.0
    work_s: float = 0.0
    slots: int = 0
    critical_path: tuple[PathStep, ...] = ()
    unit: str = "workers"
    what_if: tuple[WhatIf, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Forecasts against measurements, over all attempts that ran to an outcome.

    ``timed``: attempts with a forecast from measurements. ``time_error_median``: of |forecast - measured| / measured;
    ``time_error_weighted``: sum of |forecast - measured| over sum of measured. ``sized``: attempts with reserved and
    measured memory; ``memory_covered``: the share of them that stayed within it. ``wasted_gib_hours``: memory reserved
    and not used, times the time it was held.
    """

    methods: tuple[tuple[str, int], ...] = ()
    timed: int = 0
    time_error_median: float | None = None
    time_error_weighted: float | None = None
    sized: int = 0
    memory_covered: float | None = None
    reserved_gib_hours: float = 0.0
    wasted_gib_hours: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStep:
    """From ``at_s`` on so many workers were wanted and running: executors, where only those of a worker are scaled."""

    AS_COLUMNS: ClassVar[bool] = True
    at_s: float
    wanted: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnalysis:
    """What follows from one run. ``run``: its name in the report."""

    run: str
    numbers: Numbers
    makespan: Makespan
    prediction: Prediction
    pool: tuple[PoolStep, ...] = ()
