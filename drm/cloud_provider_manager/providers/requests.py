"""What all providers check of a request, in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.errors import ConfigError

WAIT = "wait for a worker to end, or ask for fewer or smaller ones"


def check_offered(request: InstanceRequest, types: Sequence[WorkerType], provider: str) -> None:
    """Raise ConfigError for a type that is not offered, in that zone and market, and for an empty command."""
    asked = request.worker_type
    if (asked.name, asked.zone, asked.market) not in {(each.name, each.zone, each.market) for each in types}:
        offered = ", ".join(dict.fromkeys(each.name for each in types)) or "none"
        place = " ".join(filter(None, (asked.name, asked.zone, "" if asked.market == "on-demand" else asked.market)))
        raise ConfigError(f"provider {provider} has no worker type {place!r}", remedy=f"types: {offered}")
    if not request.command:
        raise ConfigError(f"worker {request.worker_id} has no command to run")


def what_of(request: InstanceRequest) -> str:
    """Return the request as a phrase of a message."""
    return f"worker {request.worker_id} of type {request.worker_type.name}"
