"""How a run is to go."""

from __future__ import annotations

from dataclasses import dataclass

from drm.model.cluster import WorkerType


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """``executors``: processes per worker, least and most. ``workers``: separate workers, least and most, of
    ``worker_types`` (none: only those the engine has by itself).

    ``grace_s``: how long executors may tear down when a run is cut short; ``teardown_s``: at its normal end.
    ``start_s``: how long a worker may take to join. ``lost_attempts``: how often a test is begun anew when its
    worker is lost. ``max_failures``: bad tests after which no other is begun (0: no limit); the surface ends the run.
    """

    run_id: str
    executors: tuple[int, int]
    workers: tuple[int, int] = (0, 0)
    worker_types: tuple[WorkerType, ...] = ()
    grace_s: float = 5.0
    teardown_s: float = 300.0
    start_s: float = 300.0
    lost_attempts: int = 3
    max_failures: int = 0
