"""What a coordinator is wired from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drm.coordinator.pool import WorkerPool
from drm.coordinator.recorder import Recorder
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.ports import Clock, Engine, Surface
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_performance_predictor import ResourcePerformancePredictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The four components (the pool stands for the provider manager) and the doors to the outside.

    ``keep``: as of ``Delivery``.
    """

    clock: Clock
    engine: Engine
    manager: DynamicResourceManager
    optimizer: ResourceOptimizer
    predictor: ResourcePerformancePredictor
    pool: WorkerPool
    recorder: Recorder
    surface: Surface
    keep: Callable[..., None] | None = None
