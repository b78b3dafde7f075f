"""What every worker has, holds and uses; and when there should be more or fewer of them."""

from __future__ import annotations

from drm.dynamic_resource_manager.manager import DynamicResourceManager
from drm.dynamic_resource_manager.scaling import ScalingCase, evaluate_scaling
from drm.dynamic_resource_manager.settings import ScalingSettings, parse_scaling, parse_value_of_time
from drm.dynamic_resource_manager.utilization import Utilization

__all__ = [
    "DynamicResourceManager",
    "ScalingCase",
    "ScalingSettings",
    "Utilization",
    "evaluate_scaling",
    "parse_scaling",
    "parse_value_of_time",
]
