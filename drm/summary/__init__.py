"""What a run came to: its events, folded into one frozen value."""

from __future__ import annotations

from drm.summary.fold import Summarizer, summarise
from drm.summary.values import (
    AllocationRecord,
    Allocations,
    InstanceRecord,
    Interruption,
    RefusalRecord,
    RunSummary,
    ScalingRecord,
    TestRecord,
    UtilizationSeries,
    WorkerRecord,
)

__all__ = [
    "AllocationRecord",
    "Allocations",
    "InstanceRecord",
    "Interruption",
    "RefusalRecord",
    "RunSummary",
    "ScalingRecord",
    "Summarizer",
    "TestRecord",
    "UtilizationSeries",
    "WorkerRecord",
    "summarise",
]
