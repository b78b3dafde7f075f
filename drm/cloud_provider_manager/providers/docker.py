"""Workers in containers of a docker daemon: each has a share of its cpu, memory and gpus."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from drm.cloud_provider_manager.extras import load
from drm.cloud_provider_manager.providers.docker_errors import Asking
from drm.cloud_provider_manager.providers.instances import Mine, never_seen, seconds_of
from drm.cloud_provider_manager.providers.requests import WAIT, check_offered, what_of
from drm.cloud_provider_manager.tags import MANAGED, TYPE, WORKER, tags_of
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, ConfigError, DrmError, UnknownFateError
from drm.model.gpus import WHOLE, assign, devices_of, most_left
from drm.model.resources import Resources, total

__all__ = ["DockerProvider"]

_HELD = ("drm-milli-cpus", "drm-memory-bytes", "drm-gpus")
_LIVE = {"created": InstanceState.PENDING, "restarting": InstanceState.PENDING, "removing": InstanceState.TERMINATING}
_ENDED = ("exited", "dead")


class DockerProvider:
    """Implements ``CloudProvider`` with containers; the daemon keeps the books, so that they outlive this process.

    ``capacity``: what all containers of DRM on this daemon may have together. ``image``: what a worker runs in; it
    is never pulled. ``host``: as DOCKER_HOST, which is the default. ``network``: "none", "host" or one of the
    daemon's (default: its own). ``volumes``: paths here to paths there, read-only: the project and its Python.
    ``environment``: further variables of each container.
    ``grace_s``: between SIGTERM and SIGKILL. ``timeout_s``: for an answer of the daemon.
    A container that this process made and that has ended is removed when that is seen; one that another made
    is listed as TERMINATING, until it is terminated.
    """

    def __init__(
        self,
        capacity: Resources,
        types: Sequence[WorkerType],
        *,
        image: str,
        name: str = "docker",
        host: str = "",
        network: str = "",
        volumes: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        grace_s: int = 10,
        timeout_s: float = 60.0,
    ) -> None:
        self.name = name
        self._docker = load("docker", extra="docker")
        self._asking = Asking(name, self._docker)
        self._capacity = capacity
        self._types = tuple(types)
        self._image = image
        self._network = network
        self._volumes = dict(volumes or {})
        self._environment = dict(environment or {})
        self._grace_s = grace_s
        self._mine = Mine()
        with self._asking("reach the daemon"):
            settings = {"timeout": timeout_s, "version": "auto"}
            client = self._docker.DockerClient
            self._client = client(base_url=host, **settings) if host else client.from_env(**settings)

    def create(self, request: InstanceRequest) -> Instance:
        """Create and start the worker's container; see ``CloudProvider.create``. ConfigError for an image not there."""
        name = _container_name(request)
        known = self._find(name) if request.token else None
        if known is not None:
            return self._begun(known, request)
        check_offered(request, self._types, self.name)
        live = self._live()
        lacking = request.worker_type.capacity.lacking(self._left(live))
        if lacking:
            raise CapacityError(
                f"provider {self.name} has too little left for {what_of(request)}: {', '.join(lacking)}", remedy=WAIT
            )
        try:
            with self._asking(f"create {what_of(request)}", creates=True):
                container = self._client.containers.create(self._image, **self._arguments(request, name, live))
        except self._docker.errors.ImageNotFound as error:
            raise ConfigError(
                f"provider {self.name} has no image {self._image!r}", remedy="pull or build it first"
            ) from error
        return self._begun(container, request)

    def _begun(self, container: Any, request: InstanceRequest) -> Instance:
        """Start the container if it was never started; one that cannot be is removed."""
        if container.status == "created":
            try:
                with self._asking(f"start {what_of(request)}", creates=True):
                    container.start()
                    container.reload()
            except UnknownFateError:
                raise
            except DrmError:
                with self._asking(f"remove {what_of(request)}"):
                    container.remove(force=True, v=True)
                raise
        instance = self._seen(container)
        self._mine[instance.instance_id] = instance
        return instance

    def terminate(self, instance_id: str) -> None:
        """Stop and remove a container; return when it is gone. LostError for an id never seen, or none of DRM's."""
        container = self._container(instance_id)
        if container is None:
            return
        with self._asking(f"terminate {instance_id}", missing_is_fine=True):
            container.stop(timeout=self._grace_s)
            container.reload()
        detail = self._seen(container).detail
        with self._asking(f"remove {instance_id}", missing_is_fine=True):
            container.remove(force=True, v=True)
        self._mine.close(instance_id, detail)

    def describe(self, instance_id: str) -> Instance:
        """Return the container as it is now; LostError for an id never seen, or none of DRM's."""
        container = self._container(instance_id)
        return self._mine[instance_id] if container is None else self._tidied(container)

    def list_instances(self) -> tuple[Instance, ...]:
        """Return DRM's containers that are there, oldest first."""
        return self._mine.there(map(self._tidied, self._all()))

    def offerings(self) -> tuple[WorkerType, ...]:
        return self._types

    def available(self) -> Resources:
        """Return the capacity that no container of DRM holds."""
        return self._left(self._live())

    def close(self) -> None:
        """Close the connection to the daemon; containers live on."""
        self._client.close()

    def _arguments(self, request: InstanceRequest, name: str, live: Sequence[Any]) -> dict[str, Any]:
        capacity = request.worker_type.capacity
        gpus = assign(self._gpus_left(live), round(capacity.gpus * WHOLE))
        held = (round(capacity.cpu_cores * 1000), capacity.memory_bytes, " ".join(f"{d}:{m}" for d, m in gpus))
        arguments: dict[str, Any] = {
            "command": list(request.command),
            "environment": {**self._environment, **dict(request.environment)},
            "labels": {**tags_of(request), **dict(zip(_HELD, map(str, held), strict=True))},
            "volumes": {path: {"bind": there, "mode": "ro"} for path, there in self._volumes.items()},
            "stdin_open": False,
            "detach": True,
        }
        if request.token:
            arguments["name"] = name
        if capacity.cpu_cores:
            arguments["nano_cpus"] = round(capacity.cpu_cores * 1e9)
        if capacity.memory_bytes:  # without swap beyond it: a worker that needs more is ended, not slowed
            arguments |= {"mem_limit": capacity.memory_bytes, "memswap_limit": capacity.memory_bytes}
        if self._network:
            arguments["network_mode"] = self._network
        if gpus:
            devices = [str(device) for device, _ in gpus]
            request_of = self._docker.types.DeviceRequest
            arguments["device_requests"] = [request_of(device_ids=devices, capabilities=[["gpu"]])]
        return arguments

    def _all(self) -> list[Any]:
        found: list[Any] = []
        with self._asking("list instances"):
            found += self._client.containers.list(all=True, filters={"label": f"{MANAGED}=1"}, ignore_removed=True)
        return found

    def _live(self) -> list[Any]:
        return [container for container in self._all() if container.status not in _ENDED]

    def _left(self, live: Sequence[Any]) -> Resources:
        left = self._capacity - total(map(_held_by, live))
        return dataclasses.replace(left, gpus=most_left(self._gpus_left(live)) / WHOLE)

    def _gpus_left(self, live: Sequence[Any]) -> list[int]:
        left = devices_of(self._capacity.gpus)
        for container in live:
            for share in container.labels.get(_HELD[2], "").split():
                device, milli = map(int, share.split(":"))
                if device < len(left):  # the daemon had more of them once
                    left[device] -= milli
        return left

    def _find(self, name: str) -> Any | None:
        found: list[Any] = []
        with self._asking(f"look for {name}", missing_is_fine=True):
            found.append(self._client.containers.get(name))
        return found[0] if found else None

    def _container(self, instance_id: str) -> Any | None:
        """Return a container of DRM's, None for one of this process that is gone; LostError for any other."""
        container = self._find(instance_id)
        if container is not None and container.labels.get(MANAGED) == "1":
            return container
        if container is None and instance_id in self._mine:
            self._mine.close(instance_id, self._mine[instance_id].detail)
            return None
        raise never_seen(self.name, instance_id)

    def _tidied(self, container: Any) -> Instance:
        """Return what a container is; one of ours that has ended is removed."""
        instance = self._seen(container)
        if instance.state is InstanceState.GONE and instance.instance_id in self._mine:
            with self._asking(f"remove {instance.instance_id}", missing_is_fine=True):
                container.remove(force=True, v=True)
            self._mine.close(instance.instance_id, instance.detail)
        return instance

    def _seen(self, container: Any) -> Instance:
        labels, status = container.labels, container.status
        state = InstanceState.GONE if status in _ENDED else _LIVE.get(status, InstanceState.RUNNING)
        return Instance(
            instance_id=str(container.id),
            worker_id=labels.get(WORKER, ""),
            worker_type=labels.get(TYPE, ""),
            provider=self.name,
            state=state,
            detail=_detail(container),
            tags=tuple(sorted(labels.items())),
            created_at=seconds_of(container.attrs.get("Created")),
        )


def _container_name(request: InstanceRequest) -> str:
    """Return the name by which the daemon itself makes the token unique: letters, digits, ``_``, ``.`` and ``-``."""
    return "drm-" + re.sub(r"[^A-Za-z0-9_.-]", "_", request.token)


def _held_by(container: Any) -> Resources:
    cpus, memory = (int(container.labels.get(name, "0")) for name in _HELD[:2])
    return Resources(cpu_cores=cpus / 1000, memory_bytes=memory)


def _detail(container: Any) -> str:
    state = container.attrs.get("State", {})
    if container.status not in _ENDED or not isinstance(state, dict):
        return f"container {container.short_id}"
    cause = "it passed its memory limit" if state.get("OOMKilled") else f"exit code {state.get('ExitCode')}"
    return f"container {container.short_id} ended: {cause}"
