"""Decisions over arrays: many tasks, many workers, whole numbers. Needs numpy (``drm-testing[scale]``)."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("numpy") is None:
    raise ImportError("drm.resource_optimizer.fleet needs numpy; install it with: pip install 'drm-testing[scale]'")

from drm.resource_optimizer.fleet.batch import allocate_resources
from drm.resource_optimizer.fleet.fleet_plan import FleetPlan
from drm.resource_optimizer.fleet.online import OnlineAllocator, Placed, Refused
from drm.resource_optimizer.fleet.requests import Request, Worker
from drm.resource_optimizer.fleet.tasks import TaskTable
from drm.resource_optimizer.fleet.workers import Fleet

__all__ = [
    "Fleet",
    "FleetPlan",
    "OnlineAllocator",
    "Placed",
    "Refused",
    "Request",
    "TaskTable",
    "Worker",
    "allocate_resources",
]
