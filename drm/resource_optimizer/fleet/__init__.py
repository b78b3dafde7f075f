"""Decisions over arrays: many tasks, many workers, whole numbers. Needs numpy (``drm-testing[scale]``)."""

from __future__ import annotations

from drm.resource_optimizer.fleet.online import OnlineAllocator, Placed, Refused
from drm.resource_optimizer.fleet.requests import Request, Worker
from drm.resource_optimizer.fleet.workers import Fleet

__all__ = ["Fleet", "OnlineAllocator", "Placed", "Refused", "Request", "Worker"]
