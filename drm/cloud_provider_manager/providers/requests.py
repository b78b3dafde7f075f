"""What all providers check of a request, in the same words, and make of its token."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence

from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.errors import ConfigError, QuotaError
from drm.model.resources import Resources

__all__ = ["WAIT", "check_limit", "check_offered", "unique_name", "what_of"]

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


def check_limit(request: InstanceRequest, left: Resources, provider: str) -> None:
    """Raise QuotaError where the limit that was set for the provider leaves too little."""
    lacking = request.worker_type.capacity.lacking(left)
    if lacking:
        raise QuotaError(
            f"the limit of provider {provider} leaves too little for {what_of(request)}: {', '.join(lacking)}",
            remedy=WAIT,
        )


def unique_name(token: str) -> str:
    """Return the name by which a provider itself makes the token unique; without a token, one that nothing else has.

    It is a DNS label: at most 63 lower case letters, digits and dashes.
    """
    if not token:
        return f"drm-{uuid.uuid4().hex}"
    words = re.sub(r"[^a-z0-9]+", "-", token.lower()).strip("-")[-30:].strip("-")
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return "-".join(filter(None, ("drm", words, digest)))


def what_of(request: InstanceRequest) -> str:
    """Return the request as a phrase of a message."""
    return f"worker {request.worker_id} of type {request.worker_type.name}"
