"""Which test goes where, which worker types to add, and why a test fits nowhere."""

from __future__ import annotations

from drm.resource_optimizer.optimizer import ResourceOptimizer
from drm.resource_optimizer.placement import placement_problem

__all__ = ["ResourceOptimizer", "placement_problem"]
