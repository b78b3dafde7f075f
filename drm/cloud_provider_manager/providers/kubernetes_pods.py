"""A worker as a pod: what is asked of the API, and what its answer means. Pure: JSON in, JSON out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drm.cloud_provider_manager.providers.instances import seconds_of
from drm.cloud_provider_manager.providers.user_data import is_secret_name
from drm.cloud_provider_manager.tags import MANAGED, TYPE, WORKER, tags_of
from drm.model.cluster import Instance, InstanceRequest, InstanceState
from drm.model.resources import Resources

__all__ = ["KubernetesSettings", "instance_of", "pod_of", "secret_of", "unschedulable", "why_not_started"]

Json = dict[str, Any]

_ZONE = "topology.kubernetes.io/zone"
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\Z")
# A container that waits for one of these never starts by itself (kubernetes.io/docs/concepts/containers/images).
_NEVER = {"InvalidImageName", "ErrImageNeverPull", "ImagePullBackOff", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """What pods are made of. ``limit``: what all pods of DRM in the namespace may have together.

    ``context``: of the kubeconfig (default: its current one; inside a pod, that pod's account). ``node_selector``:
    labels that a node must have, of any market; ``spot_selector``: further ones for the market "spot".
    ``tolerations``: as in a pod's spec. ``gpu_resource``: what gpus are called. ``lease_s``: after which Kubernetes
    ends the pod. ``schedule_s``: how long ``create`` waits for a node; raise it where nodes are added on demand.
    ``grace_s``: between SIGTERM and SIGKILL. ``gone_s``: how long ending a pod may take.
    """

    image: str
    limit: Resources
    namespace: str = "default"
    context: str = ""
    kubeconfig: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    spot_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    service_account: str = ""
    pull_secrets: tuple[str, ...] = ()
    gpu_resource: str = "nvidia.com/gpu"
    lease_s: float = 7200.0
    schedule_s: float = 5.0
    grace_s: int = 10
    gone_s: float = 120.0
    timeout_s: float = 30.0


def pod_of(request: InstanceRequest, settings: KubernetesSettings, name: str) -> Json:
    """Return the pod of a worker. Requests equal limits: its node has what the worker was promised.

    Tags are annotations, which hold any text; those that a label can hold are labels as well, to be selected by.
    """
    asked = request.worker_type
    tags = tags_of(request)
    selector = {**settings.node_selector, **(settings.spot_selector if asked.market == "spot" else {})}
    if asked.zone:
        selector[_ZONE] = asked.zone
    amounts = _amounts(asked.capacity, settings.gpu_resource)
    container: Json = {
        "name": "worker",
        "image": settings.image,
        "command": list(request.command),
        "env": [_variable(key, value, name) for key, value in request.environment],
        "resources": {"requests": amounts, "limits": amounts},
    }
    spec: Json = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": max(1, math.ceil(settings.lease_s)),
        "terminationGracePeriodSeconds": settings.grace_s,
        "automountServiceAccountToken": bool(settings.service_account),  # a test needs no way into the cluster
        "enableServiceLinks": False,
        "containers": [container],
    }
    if selector:
        spec["nodeSelector"] = selector
    if settings.tolerations:
        spec["tolerations"] = [dict(each) for each in settings.tolerations]
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": each} for each in settings.pull_secrets]
    labels = {key: value for key, value in tags.items() if _LABEL.match(value)}
    metadata = {"name": name, "namespace": settings.namespace, "labels": labels, "annotations": tags}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def secret_of(request: InstanceRequest, settings: KubernetesSettings, pod: Mapping[str, Any]) -> Json | None:
    """Return the Secret with the variables that are secret by their name, None where there is none.

    It belongs to its pod: Kubernetes removes it with that.
    """
    held = {key: value for key, value in request.environment if is_secret_name(key)}
    if not held:
        return None
    made = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": made["name"], "uid": made["uid"]}
    metadata = {
        "name": made["name"],
        "namespace": settings.namespace,
        "labels": {MANAGED: "1"},
        "ownerReferences": [owner],
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": held}


def _variable(name: str, value: str, secret: str) -> Json:
    if is_secret_name(name):  # the container is not started before its Secret is there
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
    return {"name": name, "value": value.replace("$(", "$$(")}  # else Kubernetes would expand it


def _amounts(capacity: Resources, gpu_resource: str) -> dict[str, str]:
    amounts = {}
    if capacity.cpu_cores:
        amounts["cpu"] = f"{round(capacity.cpu_cores * 1000)}m"
    if capacity.memory_bytes:
        amounts["memory"] = str(capacity.memory_bytes)
    if capacity.gpus:  # of whole devices only
        amounts[gpu_resource] = str(math.ceil(capacity.gpus))
    return amounts


def instance_of(pod: Mapping[str, Any], provider: str) -> Instance:
    """Return what a pod says of its worker. One whose container can never start is GONE, with the reason."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    tags = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    reason = why_not_started(pod)
    if status.get("phase") in ("Succeeded", "Failed") or reason:
        state = InstanceState.GONE
    elif metadata.get("deletionTimestamp"):
        state = InstanceState.TERMINATING
    else:
        state = InstanceState.RUNNING if status.get("phase") == "Running" else InstanceState.PENDING
    return Instance(
        instance_id=str(metadata["name"]),
        worker_id=tags.get(WORKER, ""),
        worker_type=tags.get(TYPE, ""),
        provider=provider,
        state=state,
        detail=f"pod {metadata['name']} {_words(status, reason)}".rstrip(),
        tags=tuple(sorted((str(key), str(value)) for key, value in tags.items())),
        created_at=seconds_of(metadata.get("creationTimestamp")),
        notice=_notice(status) if state in (InstanceState.RUNNING, InstanceState.TERMINATING) else "",
    )


def unschedulable(pod: Mapping[str, Any]) -> str | None:
    """Return why no node takes the pod now; empty where that is not known yet, None where a node has it."""
    if (pod.get("spec") or {}).get("nodeName"):
        return None
    for each in (pod.get("status") or {}).get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return str(each.get("message") or each.get("reason") or "Unschedulable")
    return ""


def why_not_started(pod: Mapping[str, Any]) -> str:
    """Return why the pod's container will never start; empty where it may."""
    for each in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _NEVER:
            return ": ".join(filter(None, (waiting["reason"], waiting.get("message"))))
    return ""


def _words(status: Mapping[str, Any], reason: str) -> str:
    """Return how the pod is, or how it ended."""
    if reason:
        return f"cannot start ({reason}); is the image there, and may the cluster pull it?"
    phase = status.get("phase")
    if phase not in ("Succeeded", "Failed"):
        return ""
    why = ": ".join(filter(None, (status.get("reason"), status.get("message"))))
    for each in status.get("containerStatuses") or ():
        ended = (each.get("state") or {}).get("terminated") or {}
        if not why and ended.get("reason") == "OOMKilled":
            why = "it passed its memory limit"
        elif not why and "exitCode" in ended:
            why = f"exit code {ended['exitCode']}"
    return f"ended: {why or phase}"


def _notice(status: Mapping[str, Any]) -> str:
    """Return why the pod is about to be taken away (kubernetes.io/docs/concepts/workloads/pods/disruptions)."""
    for each in status.get("conditions") or ():
        if each.get("type") == "DisruptionTarget" and each.get("status") == "True":
            return f"eviction: {each.get('reason') or 'DisruptionTarget'}"
    return ""
