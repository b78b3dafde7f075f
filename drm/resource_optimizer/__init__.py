"""Which test goes where, which worker types to add, and why a test fits nowhere."""

from __future__ import annotations

from drm.resource_optimizer.optimizer import ResourceOptimizer
from drm.resource_optimizer.placement import lacking, placement_problem
from drm.resource_optimizer.schedule import lower_bound
from drm.resource_optimizer.speculation import Running, next_look_s, stragglers

__all__ = ["ResourceOptimizer", "Running", "lacking", "lower_bound", "next_look_s", "placement_problem", "stragglers"]
