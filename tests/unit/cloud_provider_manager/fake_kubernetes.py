"""The part of a Kubernetes API server that pods of DRM need, with a scheduler and a kubelet that are played.

It follows "Kubernetes API Concepts" (kubernetes.io/docs/reference/using-api/api-concepts: Status objects, watches from
a resourceVersion, preconditions), "Resource Quotas" (403 Forbidden, "exceeded quota"), "Pod Lifecycle" (Pending,
PodScheduled=False/Unschedulable, deletion with a grace period: a deletionTimestamp first, then gone), "Taints and
Tolerations", "Owners and Dependents" (a Secret goes with its pod), and "Disruptions" (DisruptionTarget).
"""

from __future__ import annotations

import copy
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fake_http import Answer, Asked, HangUpError, Json, serving

TOKEN = "canary-bearer-token"
NAMESPACE = "drm"
IMAGE = "registry.example/tests:1"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\Z")
_PATH = re.compile(r"/api/v1/namespaces/([^/]+)/(pods|secrets)(?:/([^/]+))?\Z")


@dataclass
class Node:
    """What a node has free, its labels, and the keys of its NoSchedule taints."""

    cpu_milli: int = 64_000
    memory_bytes: int = 2**38
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()


class _Refusal(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class FakeKubernetes:
    """A cluster. ``set`` sets what it is like and what goes wrong, and empties it.

    ``quota_pods``: a ResourceQuota. ``lingers``: how many reads a deleted pod is still there for. ``schedules_after``:
    how many reads or watches before the scheduler looks. ``refuse``: (status, reason, message) for POSTs.
    ``lose_request``, ``lose_answer``, ``garbage``: how many of the next POSTs of pods.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self.url = ""
        self.set()

    def set(
        self,
        *,
        nodes: tuple[Node, ...] = (Node(),),
        quota_pods: int | None = None,
        lingers: int = 1,
        schedules_after: int = 0,
        refuse: tuple[int, str, str] | None = None,
        lose_request: int = 0,
        lose_answer: int = 0,
        garbage: int = 0,
    ) -> None:
        with self._changed:
            self.nodes, self.quota_pods, self.lingers = nodes, quota_pods, lingers
            self.schedules_after, self.refuse = schedules_after, refuse
            self.left = {"lose_request": lose_request, "lose_answer": lose_answer, "garbage": garbage}
            self.pods: dict[str, Json] = {}
            self.secrets: dict[str, Json] = {}
            self.calls: list[Asked] = []
            self._version = 100
            self._lingering: dict[str, int] = {}
            self._waiting: dict[str, int] = {}
            self._changed.notify_all()

    @contextmanager
    def serving(self) -> Iterator[FakeKubernetes]:
        with serving(self.answer) as self.url:
            yield self

    def kubeconfig(self, path: Path, token: str = TOKEN) -> Path:
        """Write a kubeconfig for this server, in JSON, which is YAML."""
        path.write_text(
            '{"apiVersion": "v1", "kind": "Config", "current-context": "fake",'
            f' "clusters": [{{"name": "fake", "cluster": {{"server": "{self.url}"}}}}],'
            f' "users": [{{"name": "me", "user": {{"token": "{token}"}}}}],'
            ' "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}]}'
        )
        return path

    # -- what happens behind a client's back

    def end(self, name: str, **status: Any) -> None:
        """Let a pod's container end, as the kubelet would report it."""
        state = {"terminated": {"exitCode": 137, "reason": "Error", **status.pop("terminated", {})}}
        self._update(name, **{"phase": "Failed", "containerStatuses": [_container(state)], **status})

    def evict(self, name: str, reason: str = "EvictionByEvictionAPI") -> None:
        """Announce the end of a pod: the condition comes first, then its deletion."""
        condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        with self._changed:
            conditions = [*self.pods[name]["status"]["conditions"], condition]
        self._update(name, conditions=conditions)

    def wait_for_image(self, name: str, reason: str, message: str) -> None:
        waiting = {"waiting": {"reason": reason, "message": message}}
        self._update(name, phase="Pending", containerStatuses=[_container(waiting)])

    def forget(self, name: str) -> None:
        with self._changed:
            self._remove(name)

    def _update(self, name: str, **status: Any) -> None:
        with self._changed:
            self.pods[name]["status"].update(status)
            self._touch(self.pods[name])

    def _touch(self, pod: Json) -> None:
        self._version += 1
        pod["metadata"]["resourceVersion"] = str(self._version)
        self._changed.notify_all()

    # -- the API

    def answer(self, asked: Asked) -> Answer:
        with self._changed:
            self.calls.append(asked)
            try:
                return self._answer(asked)
            except _Refusal as error:
                status: Json = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(error)}
                return Answer(error.status, {**status, "reason": error.reason, "code": error.status})

    def _answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise _Refusal(401, "Unauthorized", "Unauthorized")
        found = _PATH.match(asked.path)
        if found is None:
            raise _Refusal(404, "NotFound", f"the server could not find {asked.path}")
        namespace, kind, name = found.groups()
        if namespace != NAMESPACE:
            raise _Refusal(404, "NotFound", f'namespaces "{namespace}" not found')
        if asked.method == "POST":
            return self._post(asked, kind)
        if kind == "secrets":
            raise _Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        if asked.query.get("watch") in ("true", "True", "1"):
            return Answer(200, self._watch(asked))
        self._look_for_nodes()
        self._end_what_lingers()
        if asked.method == "DELETE":
            return self._delete(name, asked)
        if name:
            return Answer(200, copy.deepcopy(self._pod(name)))
        return Answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._selected(asked)})

    def _selected(self, asked: Asked) -> list[Json]:
        wanted = [part.split("=") for part in asked.query.get("labelSelector", "").split(",") if part]
        name = asked.query.get("fieldSelector", "").removeprefix("metadata.name=")
        return [
            copy.deepcopy(pod)
            for pod in self.pods.values()
            if all((pod["metadata"].get("labels") or {}).get(key) == value for key, value in wanted)
            and name in ("", pod["metadata"]["name"])
        ]

    def _watch(self, asked: Asked) -> Iterator[Json]:
        """Yield what changes after the resourceVersion, until the timeout."""
        since = int(asked.query.get("resourceVersion") or 0)
        deadline = datetime.now(UTC).timestamp() + float(asked.query.get("timeoutSeconds", "5"))
        while True:
            with self._changed:
                self._look_for_nodes()
                pods = [pod for pod in self._selected(asked) if int(pod["metadata"]["resourceVersion"]) > since]
                left_s = deadline - datetime.now(UTC).timestamp()
                if not pods:
                    if left_s <= 0:
                        return
                    self._changed.wait(min(left_s, 0.05))
            for pod in pods:
                since = max(since, int(pod["metadata"]["resourceVersion"]))
                yield {"type": "MODIFIED", "object": pod}

    def _post(self, asked: Asked, kind: str) -> Answer:
        if self.refuse is not None:
            raise _Refusal(*self.refuse)
        if kind == "secrets":
            secret = copy.deepcopy(asked.body)
            secret["data"] = secret.pop("stringData", {})
            name = secret["metadata"]["name"]
            if name in self.secrets:
                raise _Refusal(409, "AlreadyExists", f'secrets "{name}" already exists')
            self.secrets[name] = secret
            return Answer(201, {"kind": "Secret", "apiVersion": "v1", "metadata": secret["metadata"]})
        if self._has("lose_request"):
            raise HangUpError
        made = self._create(asked.body)
        if self._has("lose_answer"):
            raise HangUpError
        if self._has("garbage"):
            return Answer(201, f"<html>the token is {TOKEN}\n</html")
        return Answer(201, made)

    def _has(self, fault: str) -> bool:
        there = self.left[fault] > 0
        self.left[fault] -= there
        return there

    def _create(self, body: Json) -> Json:
        pod = copy.deepcopy(body)
        metadata = pod["metadata"]
        name = metadata["name"]
        if not _NAME.match(name) or not all(map(_VALUE.match, (metadata.get("labels") or {}).values())):
            raise _Refusal(422, "Invalid", f'Pod "{name}" is invalid: metadata: Invalid value')
        if name in self.pods:
            raise _Refusal(409, "AlreadyExists", f'pods "{name}" already exists')
        if self.quota_pods is not None and len(self.pods) >= self.quota_pods:
            used = f"requested: pods=1, used: pods={len(self.pods)}, limited: pods={self.quota_pods}"
            raise _Refusal(403, "Forbidden", f'pods "{name}" is forbidden: exceeded quota: compute, {used}')
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        pod["status"] = {"phase": "Pending", "conditions": []}
        self.pods[name] = pod
        self._touch(pod)
        self._waiting[name] = self.schedules_after
        return copy.deepcopy(pod)

    # -- the scheduler, the kubelet, the garbage collector

    def _look_for_nodes(self) -> None:
        for name, reads in list(self._waiting.items()):
            if reads > 0:
                self._waiting[name] -= 1
            else:
                self._schedule(self.pods[name])

    def _end_what_lingers(self) -> None:
        for name, reads in list(self._lingering.items()):
            self._lingering[name] -= 1
            if reads <= 0:
                self._remove(name)

    def _schedule(self, pod: Json) -> None:
        reasons = []
        for number, node in enumerate(self.nodes):
            why_not = self._why_not(pod["spec"], node, f"node-{number}")
            if not why_not:
                pod["spec"]["nodeName"] = f"node-{number}"
                pod["status"] |= {"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]}
                del self._waiting[pod["metadata"]["name"]]
                self._touch(pod)
                return
            reasons.append(f"1 {why_not}")
        message = f"0/{len(self.nodes)} nodes are available: {', '.join(reasons)}."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        if pod["status"]["conditions"] != [condition]:
            pod["status"]["conditions"] = [condition]
            self._touch(pod)

    def _why_not(self, spec: Json, node: Node, name: str) -> str:
        if any(node.labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
            return "node(s) didn't match Pod's node affinity/selector"
        tolerated = {each.get("key") for each in spec.get("tolerations") or ()}
        if not set(node.taints) <= tolerated:
            return "node(s) had untolerated taint"
        here = [pod["spec"] for pod in self.pods.values() if pod["spec"].get("nodeName") == name]
        cpu, memory = (sum(part) for part in zip(*(map(_wants, [spec, *here])), strict=True))
        if cpu > node.cpu_milli:
            return "Insufficient cpu"
        return "Insufficient memory" if memory > node.memory_bytes else ""

    def _pod(self, name: str) -> Json:
        if name not in self.pods:
            raise _Refusal(404, "NotFound", f'pods "{name}" not found')
        return self.pods[name]

    def _delete(self, name: str, asked: Asked) -> Answer:
        pod = self._pod(name)
        uid = (asked.body.get("preconditions") or {}).get("uid", pod["metadata"]["uid"])
        if uid != pod["metadata"]["uid"]:
            raise _Refusal(409, "Conflict", f"the UID in the precondition ({uid}) does not match")
        grace_s = asked.body.get("gracePeriodSeconds", 30)
        left = copy.deepcopy(pod)
        if grace_s == 0 or pod["status"]["phase"] in ("Succeeded", "Failed"):
            self._remove(name)
        elif "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace_s}
            self._lingering[name] = self.lingers
            self._touch(pod)
            left = copy.deepcopy(pod)
        return Answer(200, left)

    def _remove(self, name: str) -> None:
        pod = self.pods.pop(name)
        self._lingering.pop(name, None)
        self._waiting.pop(name, None)
        owned = [
            key
            for key, secret in self.secrets.items()
            if any(owner["uid"] == pod["metadata"]["uid"] for owner in secret["metadata"].get("ownerReferences") or ())
        ]
        for key in owned:
            del self.secrets[key]


def _container(state: Json) -> Json:
    known = {"name": "worker", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0}
    return {**known, "state": state}


def _wants(spec: Json) -> tuple[int, int]:
    asked = spec["containers"][0]["resources"]["requests"]
    return int(asked.get("cpu", "0m").removesuffix("m")), int(asked.get("memory", "0"))
