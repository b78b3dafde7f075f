"""What a test will need, learnt from what it and its neighbours needed before."""

from __future__ import annotations

from drm.resource_performance_predictor.assessment import Assessment, assess
from drm.resource_performance_predictor.costs import SAFE, CostSettings
from drm.resource_performance_predictor.distributions import Prediction, Spread
from drm.resource_performance_predictor.predictor import ResourcePerformancePredictor
from drm.resource_performance_predictor.statistics import PredictorStatistics

__all__ = [
    "SAFE",
    "Assessment",
    "CostSettings",
    "Prediction",
    "PredictorStatistics",
    "ResourcePerformancePredictor",
    "Spread",
    "assess",
]
