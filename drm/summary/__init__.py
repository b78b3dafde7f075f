"""What a run came to: its events, folded into one frozen value."""

from __future__ import annotations

from drm.summary.fold import Summarizer, summarise
from drm.summary.values import (
    Allocations,
    InstanceRecord,
    Interruption,
    RunSummary,
    ScalingRecord,
    TestRecord,
    UtilizationSeries,
    WorkerRecord,
)

__all__ = [
    "Allocations",
    "InstanceRecord",
    "Interruption",
    "RunSummary",
    "ScalingRecord",
    "Summarizer",
    "TestRecord",
    "UtilizationSeries",
    "WorkerRecord",
    "summarise",
]
