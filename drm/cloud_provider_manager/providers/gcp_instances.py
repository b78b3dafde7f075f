"""A worker as an instance of Compute Engine: what is asked for, and what the answer means. Pure.

The field names are those of the API, with underscores (docs.cloud.google.com/compute/docs/reference/rest/v1/instances).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drm.cloud_provider_manager.failover import region_of
from drm.cloud_provider_manager.providers.instances import seconds_of
from drm.cloud_provider_manager.tags import TYPE, WORKER, tags_of
from drm.model.cluster import Instance, InstanceRequest, InstanceState
from drm.model.resources import Resources

__all__ = ["METADATA_LIMIT_BYTES", "GcpSettings", "instance_body", "request_id", "seen", "split_id"]

METADATA_LIMIT_BYTES = 256 * 1024  # of one value: docs.cloud.google.com/compute/docs/metadata/setting-custom-metadata
_TAGS = "drm-tags"  # the tags as they are: a label cannot hold all text
_VALUE = re.compile(r"[a-z0-9_-]{0,63}\Z")
_STATES = {
    "PROVISIONING": InstanceState.PENDING,
    "STAGING": InstanceState.PENDING,
    "RUNNING": InstanceState.RUNNING,
    "REPAIRING": InstanceState.RUNNING,
    "PENDING_STOP": InstanceState.TERMINATING,
    "STOPPING": InstanceState.TERMINATING,
    "SUSPENDING": InstanceState.TERMINATING,
    "SUSPENDED": InstanceState.TERMINATING,  # of these two the disk is still paid for
    "TERMINATED": InstanceState.TERMINATING,
    "DEPROVISIONING": InstanceState.TERMINATING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpSettings:
    """What instances are made of. ``limit``: what all instances of DRM in the project may have together.

    ``image``: such as ``projects/debian-cloud/global/images/family/debian-12``. ``network``, and ``subnets`` by region:
    the default ones where not given. ``external_ip``: whether it has an address of its own. ``accelerators``: the kind
    of gpu by machine type, for types that have none of their own. ``service_account``: its e-mail (default: none, so
    that tests have no way into the project). ``bootstrap``: see ``user_data``. ``lease_s``: after which Compute Engine
    deletes the instance. ``settle_s``: how long ``create`` waits for the operation. ``gone_s``: how long ending one
    may take. ``endpoint``: where the API is, if not at its own address.
    """

    project: str
    image: str
    limit: Resources
    network: str = "global/networks/default"
    subnets: Mapping[str, str] = field(default_factory=dict)
    external_ip: bool = True
    disk_gb: int = 20
    accelerators: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""
    bootstrap: str = ""
    lease_s: float = 7200.0
    settle_s: float = 10.0
    gone_s: float = 300.0
    timeout_s: float = 30.0
    endpoint: str = ""


def request_id(token: str, attempt: int) -> str:
    """Return the UUID by which Compute Engine knows a request made twice. ``attempt``: one that was refused is over."""
    digest = hashlib.sha256(f"{token}\0{attempt}".encode("utf-8", "surrogateescape")).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def split_id(instance_id: str) -> tuple[str, str] | None:
    """Return zone and name of an id of ours; None where it is none."""
    zone, slash, name = instance_id.partition("/")
    return (zone, name) if slash and zone and name else None


def instance_body(request: InstanceRequest, settings: GcpSettings, name: str, script: str) -> dict[str, Any]:
    """Return the instance of a worker. Tags are in its metadata; those that a label can hold are labels as well."""
    asked = request.worker_type
    tags = tags_of(request)
    items = {"startup-script": script, _TAGS: json.dumps(tags, sort_keys=True), "serial-port-logging-enable": "false"}
    interface: dict[str, Any] = {"network": settings.network}
    if settings.subnets.get(region_of(asked.zone)):
        interface = {"subnetwork": settings.subnets[region_of(asked.zone)]}
    if settings.external_ip:
        interface["access_configs"] = [{"type_": "ONE_TO_ONE_NAT", "name": "External NAT"}]
    body: dict[str, Any] = {
        "name": name,
        "machine_type": f"zones/{asked.zone}/machineTypes/{asked.name}",
        "labels": {key: value for key, value in tags.items() if _VALUE.match(value)},
        "metadata": {"items": [{"key": key, "value": value} for key, value in items.items()]},
        "scheduling": _scheduling(asked.market, settings.lease_s, gpus=asked.capacity.gpus > 0),
        "network_interfaces": [interface],
        "disks": [
            {
                "boot": True,
                "auto_delete": True,
                "initialize_params": {"source_image": settings.image, "disk_size_gb": settings.disk_gb},
            }
        ],
    }
    if settings.service_account:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        body["service_accounts"] = [{"email": settings.service_account, "scopes": scopes}]
    if settings.accelerators.get(asked.name):
        kind = f"zones/{asked.zone}/acceleratorTypes/{settings.accelerators[asked.name]}"
        body["guest_accelerators"] = [
            {"accelerator_type": kind, "accelerator_count": math.ceil(asked.capacity.gpus)},
        ]
    return body


def _scheduling(market: str, lease_s: float, *, gpus: bool) -> dict[str, Any]:
    """Return how long it may run, and that it is deleted then (.../compute/docs/instances/limit-vm-runtime)."""
    scheduling: dict[str, Any] = {
        "provisioning_model": "SPOT" if market == "spot" else "STANDARD",
        "instance_termination_action": "DELETE",
        "max_run_duration": {"seconds": max(30, math.ceil(lease_s))},
        "automatic_restart": False,
    }
    if market == "spot" or gpus:  # neither can be moved to another machine
        scheduling["on_host_maintenance"] = "TERMINATE"
    return scheduling


def seen(described: Mapping[str, Any], provider: str) -> Instance:
    """Return what an instance is."""
    tags = dict(described.get("labels") or {}) | _tags_of(described)
    zone = str(described.get("zone", "")).rpartition("/")[2]
    status = str(described.get("status", ""))
    state = _STATES.get(status, InstanceState.PENDING)
    is_spot = (described.get("scheduling") or {}).get("provisioning_model") == "SPOT"
    is_taken = is_spot and status in ("STOPPING", "PENDING_STOP")
    return Instance(
        instance_id=f"{zone}/{described['name']}",
        worker_id=tags.get(WORKER, ""),
        worker_type=tags.get(TYPE, ""),
        provider=provider,
        state=state,
        detail=" ".join(filter(None, (f"{zone}/{described['name']}", status.lower(), described.get("status_message")))),
        tags=tuple(sorted((str(key), str(value)) for key, value in tags.items())),
        created_at=seconds_of(described.get("creation_timestamp")),
        notice="spot preemption: it is being stopped" if is_taken else "",
    )


def _tags_of(described: Mapping[str, Any]) -> dict[str, str]:
    items: Sequence[Mapping[str, str]] = (described.get("metadata") or {}).get("items") or ()
    try:
        found = json.loads(next((each["value"] for each in items if each.get("key") == _TAGS), "{}"))
    except (ValueError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}
