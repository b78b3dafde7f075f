"""Workers on Compute Engine, spot and on demand: one project, machines that are deleted when their lease ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from drm.cloud_provider_manager.providers.gcp_calls import Compute, Operation
from drm.cloud_provider_manager.providers.gcp_errors import MissingError, error_of_operation
from drm.cloud_provider_manager.providers.gcp_instances import (
    METADATA_LIMIT_BYTES,
    GcpSettings,
    instance_body,
    request_id,
    seen,
    split_id,
)
from drm.cloud_provider_manager.providers.instances import Mine, left_of, never_seen, oldest_first, wait_until_gone
from drm.cloud_provider_manager.providers.requests import check_limit, check_offered, unique_name, what_of
from drm.cloud_provider_manager.providers.user_data import user_data
from drm.cloud_provider_manager.providers.young import Young
from drm.cloud_provider_manager.tags import MANAGED
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import ConfigError, DrmError, DuplicateError, UnknownFateError
from drm.model.resources import Resources

__all__ = ["GcpProvider", "GcpSettings"]

_LOOK_S = 2.0
NOTICES = ("DRM_NOTICES", "gce")  # the worker asks whether it will be preempted: see ``drm.worker.notices``


class GcpProvider:
    """Implements ``CloudProvider`` with instances.insert.

    A worker type's name is the machine type, such as ``n2-standard-4``; its zone and market ("spot", "on-demand") say
    where and how it is bought. An instance's id is ``ZONE/NAME``; its name is made of the token. ``compute``: a
    connection that is there already. ``now`` and ``wait`` are time, in seconds.
    """

    def __init__(
        self,
        settings: GcpSettings,
        types: Sequence[WorkerType],
        *,
        name: str = "gcp",
        compute: Compute | None = None,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._settings = settings
        self._types = tuple(types)
        self._now = now
        self._wait = wait
        self._compute = compute or Compute(
            provider=name, project=settings.project, endpoint=settings.endpoint, timeout_s=settings.timeout_s
        )
        self._young = Young(now)
        self._mine = Mine()
        self._operations: dict[str, str] = {}  # of creates that have not been seen to end, by instance
        self._refusals: dict[str, int] = {}  # by token

    def create(self, request: InstanceRequest) -> Instance:
        """Call instances.insert once, and wait a moment for its operation; see ``CloudProvider.create``.

        QuotaError when the limit set here is reached. The token goes to Compute Engine as the requestId and as the
        name: asked again, it makes no second instance.
        """
        check_offered(request, self._types, self.name)
        zone, what = request.worker_type.zone, f"create {what_of(request)}"
        settings = self._settings
        script = user_data(
            request.command,
            (*request.environment, NOTICES),
            lease_s=settings.lease_s,
            bootstrap=settings.bootstrap,
            limit_bytes=METADATA_LIMIT_BYTES,
        )
        name = unique_name(request.token)
        known = self._known(zone, name) if request.token else None
        if known is not None:
            return known
        check_limit(request, self.available(), self.name)
        body = instance_body(request, settings, name, script)
        again = request_id(request.token or name, self._refusals.get(request.token, 0))
        try:
            operation = self._compute.insert(what, zone, body, again)
        except DuplicateError as error:  # somebody was faster with the same token
            known = self._known(zone, name)
            if known is None:
                raise UnknownFateError(error.message) from None
            return known
        return self._begun(request, f"{zone}/{name}", operation)

    def terminate(self, instance_id: str) -> None:
        """Delete an instance; return when it is gone. LostError for an id never seen, or none of DRM's.

        DrmError when it has not gone within ``gone_s``.
        """
        instance = self.describe(instance_id)
        if instance.state is InstanceState.GONE:
            return
        zone, name = self._place(instance_id)
        with suppress(MissingError):
            self._compute.delete(f"terminate {instance_id}", zone, name)
        self._mine[instance_id] = instance
        wait_until_gone(
            lambda: self._there(zone, name) is None,
            instance_id,
            self._settings.gone_s,
            look_s=_LOOK_S,
            now=self._now,
            wait=self._wait,
            remedy="look at it in the console of Google Cloud",
        )
        self._close(instance_id, f"{instance_id} deleted")

    def describe(self, instance_id: str) -> Instance:
        """Return the instance as it is now; LostError for an id never seen, or none of DRM's."""
        zone, name = self._place(instance_id)
        found = self._there(zone, name)
        if found is not None:
            self._young.seen([instance_id])
            return self._tidied(found)
        return self._absent(instance_id)

    def list_instances(self) -> tuple[Instance, ...]:
        """Return the instances of DRM in this project, oldest first."""
        listed = self._compute.instances("list instances", MANAGED)
        there = {
            each.instance_id: each
            for each in (self._tidied(seen(found, self.name)) for found in listed)
            if each.state is not InstanceState.GONE
        }
        self._young.seen(there)
        for instance in self._young.unseen():
            if self._absent(instance.instance_id).state is not InstanceState.GONE:
                there[instance.instance_id] = instance
        return oldest_first(there.values())

    def offerings(self) -> tuple[WorkerType, ...]:
        return self._types

    def available(self) -> Resources:
        """Return what the limit set for this provider leaves; what Compute Engine has free it does not say."""
        return left_of(self._settings.limit, self._types, self.list_instances())

    # -- one create

    def _known(self, zone: str, name: str) -> Instance | None:
        """Return the instance of that name, also where it has ended in this process's time."""
        instance_id = f"{zone}/{name}"
        found = self._there(zone, name, any_owner=True)
        if found is not None:
            if found.tag(MANAGED) != "1":
                raise ConfigError(f"there is an instance {instance_id} that is none of DRM's", remedy="rename it")
            self._mine.setdefault(instance_id, found)
            return found
        known = self._mine.get(instance_id)
        return self._absent(instance_id) if known is not None else None

    def _begun(self, request: InstanceRequest, instance_id: str, operation: Operation) -> Instance:
        zone, name = self._place(instance_id)
        what = f"create {what_of(request)}"
        if not operation.name:
            raise UnknownFateError(f"provider {self.name} answered without an operation for {what_of(request)}")
        deadline = self._now() + self._settings.settle_s
        while not operation.is_done and (left_s := deadline - self._now()) > 0:
            began_s = self._now()
            try:
                operation = self._compute.operation(
                    f"wait for {what_of(request)}", zone, operation.name, patience_s=left_s
                )
            except DrmError:
                break  # the operation goes on: what comes of it is seen later
            if not operation.is_done and self._now() - began_s < _LOOK_S / 2:
                self._wait(_LOOK_S)
        if operation.code:
            self._refusals[request.token] = self._refusals.get(request.token, 0) + 1
            said = self._compute.said(f"{operation.code}: {operation.message}")
            raise error_of_operation(operation.code, f"provider {self.name} could not {what} in {zone} ({said})")
        found = self._there(zone, name)
        instance = found or seen(
            {
                "name": name,
                "zone": zone,
                "status": "PROVISIONING",
                "metadata": instance_body(request, self._settings, name, "")["metadata"],
            },
            self.name,
        )
        self._mine[instance_id] = instance
        if found is None or not operation.is_done:
            self._operations[instance_id] = operation.name
            self._young.made(instance)
        return instance

    # -- looking

    def _there(self, zone: str, name: str, *, any_owner: bool = False) -> Instance | None:
        try:
            found = seen(self._compute.get(f"describe {zone}/{name}", zone, name), self.name)
        except MissingError:
            return None
        return found if any_owner or found.tag(MANAGED) == "1" else None

    def _absent(self, instance_id: str) -> Instance:
        """Return one that Compute Engine does not show: not yet, or no more, or it could not be made."""
        instance = self._mine.get(instance_id)
        if instance is None:
            raise never_seen(self.name, instance_id)
        if instance.state is InstanceState.GONE:
            return instance
        name = self._operations.get(instance_id)
        if name is not None:
            zone, _ = self._place(instance_id)
            with suppress(DrmError):
                operation = self._compute.operation(f"look at {instance_id}", zone, name)
                if operation.code:
                    said = self._compute.said(f"{operation.code}: {operation.message}")
                    return self._close(instance_id, f"{instance_id} could not be made ({said})")
        if any(each.instance_id == instance_id for each in self._young.unseen()):
            return instance
        return self._close(instance_id, f"{instance_id} is there no more")

    def _tidied(self, instance: Instance) -> Instance:
        """Return what an instance is; one of ours that has stopped is deleted, because its disk is paid for."""
        mine = self._mine.get(instance.instance_id)
        if mine is not None and mine.state is not InstanceState.GONE and instance.detail.endswith(" terminated"):
            zone, name = self._place(instance.instance_id)
            with suppress(DrmError):  # the next look tries again
                self._compute.delete(f"delete {instance.instance_id}, which has stopped", zone, name)
        return instance

    def _close(self, instance_id: str, detail: str) -> Instance:
        self._young.seen([instance_id])
        self._operations.pop(instance_id, None)
        self._mine.close(instance_id, detail)
        return self._mine[instance_id]

    def _place(self, instance_id: str) -> tuple[str, str]:
        place = split_id(instance_id)
        if place is None:
            raise never_seen(self.name, instance_id)
        return place
