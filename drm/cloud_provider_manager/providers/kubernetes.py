"""Workers as pods of a Kubernetes cluster, in one namespace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from drm.cloud_provider_manager.extras import load
from drm.cloud_provider_manager.messages import one_line
from drm.cloud_provider_manager.providers.instances import Mine, left_of, never_seen, wait_until_gone
from drm.cloud_provider_manager.providers.kubernetes_config import configured
from drm.cloud_provider_manager.providers.kubernetes_errors import Asking, MissingError
from drm.cloud_provider_manager.providers.kubernetes_pods import (
    KubernetesSettings,
    instance_of,
    pod_of,
    secret_of,
    unschedulable,
    why_not_started,
)
from drm.cloud_provider_manager.providers.requests import check_limit, check_offered, unique_name, what_of
from drm.cloud_provider_manager.tags import MANAGED
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, ConfigError, DrmError, DuplicateError, UnknownFateError
from drm.model.resources import Resources

__all__ = ["KubernetesProvider", "KubernetesSettings"]

_LOOK_S = 0.5


class KubernetesProvider:
    """Implements ``CloudProvider`` with pods; the API server keeps the books, so that they outlive this process.

    A pod's name is made of the token: the server refuses a second one. A worker type's zone is the node's
    ``topology.kubernetes.io/zone``; its market "spot" adds ``spot_selector``. ``now`` and ``wait`` are time.
    A pod that this process made and that has ended is deleted when that is seen; one that another made is listed as
    TERMINATING, until it is terminated.
    """

    def __init__(
        self,
        settings: KubernetesSettings,
        types: Sequence[WorkerType],
        *,
        name: str = "kubernetes",
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._settings = settings
        self._types = tuple(types)
        self._now = now
        self._wait = wait
        self._mine = Mine()
        self._client = load("kubernetes.client", extra="kubernetes")
        self._watch = load("kubernetes.watch", extra="kubernetes")
        configuration = configured(name, settings)
        secrets = [*(configuration.api_key or {}).values(), configuration.password]
        words = (word for secret in secrets if secret for word in (secret, secret.removeprefix("Bearer ")))
        self._asking = Asking(name, load("kubernetes.client.exceptions", extra="kubernetes"), tuple(words))
        self._connection = self._client.ApiClient(configuration)
        self._api = self._client.CoreV1Api(self._connection)

    def create(self, request: InstanceRequest) -> Instance:
        """Create the worker's pod and wait for a node; see ``CloudProvider.create``.

        CapacityError, and no pod is left, where no node takes it within ``schedule_s``; QuotaError where the limit
        set here, or a ResourceQuota of the namespace, is reached.
        """
        check_offered(request, self._types, self.name)
        name = unique_name(request.token)
        known = self._read(name) if request.token else None
        if known is not None:
            return self._begun(known, request)
        if request.token and name in self._mine:
            return self._mine[name]  # it is gone: the token was for that one
        check_limit(request, self.available(), self.name)
        namespace, what = self._settings.namespace, f"create {what_of(request)}"
        try:
            with self._asking(what, creates=True):
                body = pod_of(request, self._settings, name)
                pod = self._json(self._api.create_namespaced_pod(namespace, body, **self._timeout()))
                if not (pod.get("metadata") or {}).get("uid"):
                    raise UnknownFateError(f"provider {self.name} answered without a pod for {what_of(request)}")
        except DuplicateError:  # somebody was faster with the same token, or an answer was lost
            again = self._read(name)
            if again is None:
                raise UnknownFateError(f"provider {self.name} could not {what} (a pod {name} came and went)") from None
            pod = again
        return self._begun(pod, request)

    def terminate(self, instance_id: str) -> None:
        """Delete a pod; return when the API has it no more. LostError for an id never seen, or none of DRM's.

        DrmError when it is still there after ``gone_s``: a node that does not answer keeps its pods.
        """
        pod = self._pod(instance_id)
        if pod is not None:
            self._delete(pod)

    def describe(self, instance_id: str) -> Instance:
        """Return the pod as it is now; LostError for an id never seen, or none of DRM's."""
        pod = self._pod(instance_id)
        return self._mine[instance_id] if pod is None else self._tidied(pod)

    def list_instances(self) -> tuple[Instance, ...]:
        """Return DRM's pods in the namespace, oldest first."""
        return self._mine.there(map(self._tidied, self._all()))

    def offerings(self) -> tuple[WorkerType, ...]:
        return self._types

    def available(self) -> Resources:
        """Return what the limit set for this provider leaves; whether a node has it free is seen when it is asked."""
        return left_of(self._settings.limit, self._types, self.list_instances())

    def close(self) -> None:
        """Close the connections; pods live on."""
        self._connection.rest_client.pool_manager.clear()

    # -- one create

    def _begun(self, pod: dict[str, Any], request: InstanceRequest) -> Instance:
        """Give the pod its secret, and wait for a node; a pod that cannot have either is deleted."""
        name = pod["metadata"]["name"]
        if ((pod["metadata"].get("labels") or {}).get(MANAGED)) != "1":
            raise ConfigError(f"there is a pod {name} that is none of DRM's", remedy="use another namespace")
        instance = instance_of(pod, self.name)
        self._mine[name] = instance
        if instance.state is InstanceState.GONE:
            return self._tidied(pod)
        try:
            self._give_secret(pod, request)
            pod = self._scheduled(pod, request)
        except UnknownFateError:
            raise
        except DrmError as error:
            try:
                self._delete(pod)
            except DrmError as kept:
                raise UnknownFateError(f"{error.message}, and its pod {name} could not be deleted ({kept})") from None
            del self._mine[name]
            raise
        self._mine[name] = instance_of(pod, self.name)
        return self._mine[name]

    def _give_secret(self, pod: dict[str, Any], request: InstanceRequest) -> None:
        secret = secret_of(request, self._settings, pod)
        if secret is not None:
            with suppress(DuplicateError), self._asking(f"give {what_of(request)} its secrets", creates=True):
                self._api.create_namespaced_secret(self._settings.namespace, secret, **self._timeout())

    def _scheduled(self, pod: dict[str, Any], request: InstanceRequest) -> dict[str, Any]:
        """Return the pod when a node has it, or it is not known to have none; CapacityError where none takes it."""
        deadline = self._now() + self._settings.schedule_s
        while True:
            refusal = unschedulable(pod)
            never = why_not_started(pod)
            if never:
                raise ConfigError(
                    f"provider {self.name} could not start {what_of(request)} ({one_line(never)})",
                    remedy="check the image, and that the cluster may pull it",
                )
            left_s = deadline - self._now()
            if refusal is None or (left_s <= 0 and not refusal):
                return pod
            if left_s <= 0:
                raise CapacityError(
                    f"no node takes {what_of(request)} within {self._settings.schedule_s:g} s ({one_line(refusal)})",
                    remedy="add nodes, or ask for another type, zone or market",
                )
            pod = self._changed(pod, left_s)

    def _changed(self, pod: dict[str, Any], patience_s: float) -> dict[str, Any]:
        """Return the pod as its next change leaves it, or as it is where none comes in time: a watch."""
        metadata, namespace = pod["metadata"], self._settings.namespace
        began_s = self._now()
        with suppress(DrmError), self._asking("watch a pod"):
            watch = self._watch.Watch()
            for event in watch.stream(
                self._api.list_namespaced_pod,
                namespace,
                field_selector=f"metadata.name={metadata['name']}",
                resource_version=metadata.get("resourceVersion", ""),
                timeout_seconds=max(1, round(patience_s)),
                _request_timeout=max(1.0, patience_s),
            ):
                if event["type"] != "BOOKMARK":
                    watch.stop()
                    break
        if self._now() - began_s < _LOOK_S / 2:  # a watch that is refused at once must not become a busy loop
            self._wait(min(_LOOK_S, patience_s))
        found = self._read(metadata["name"])
        if found is None:
            raise UnknownFateError(f"pod {metadata['name']} was there a moment ago, and is not")
        return found

    # -- calls

    def _delete(self, pod: Mapping[str, Any]) -> None:
        """Delete this very pod, not one that has taken its name since; return when it is gone."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        detail = instance_of(pod, self.name).detail
        with suppress(MissingError), self._asking(f"terminate {name}"):
            self._api.delete_namespaced_pod(
                name,
                self._settings.namespace,
                body={"gracePeriodSeconds": self._settings.grace_s, "preconditions": {"uid": uid}},
                **self._timeout(),
            )
        wait_until_gone(
            lambda: (self._read(name) or {"metadata": {}})["metadata"].get("uid") != uid,
            f"pod {name}",
            self._settings.gone_s,
            look_s=_LOOK_S,
            now=self._now,
            wait=self._wait,
            remedy="look at its node; `kubectl delete pod --force` forgets it without an end",
        )
        self._mine.close(name, detail)

    def _read(self, name: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = []
        with suppress(MissingError), self._asking(f"describe {name}"):
            found.append(self._json(self._api.read_namespaced_pod(name, self._settings.namespace, **self._timeout())))
        return found[0] if found else None

    def _all(self) -> list[dict[str, Any]]:
        with self._asking("list instances"):
            listed = self._api.list_namespaced_pod(
                self._settings.namespace, label_selector=f"{MANAGED}=1", **self._timeout()
            )
            return [self._json(each) for each in listed.items]

    def _pod(self, instance_id: str) -> dict[str, Any] | None:
        """Return a pod of DRM's, None for one of this process that is gone; LostError for any other."""
        pod = self._read(instance_id)
        if pod is not None and (pod["metadata"].get("labels") or {}).get(MANAGED) == "1":
            return pod
        if pod is None and instance_id in self._mine:
            self._mine.close(instance_id, self._mine[instance_id].detail)
            return None
        raise never_seen(self.name, instance_id)

    def _tidied(self, pod: Mapping[str, Any]) -> Instance:
        """Return what a pod is; one of ours that has ended is deleted."""
        instance = instance_of(pod, self.name)
        if instance.state is InstanceState.GONE and instance.instance_id in self._mine:
            with suppress(DrmError):  # the next look tries again
                self._delete(pod)
            self._mine.close(instance.instance_id, instance.detail)
        return instance

    def _json(self, found: Any) -> dict[str, Any]:
        """Return an object of the client as the API's JSON."""
        read = self._connection.sanitize_for_serialization(found)
        return read if isinstance(read, dict) else {}

    def _timeout(self) -> dict[str, float]:
        return {"_request_timeout": self._settings.timeout_s}
