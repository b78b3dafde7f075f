"""``drm`` with a provider whose machines are the hosts of ``benchmarks.hosts``, for tests and benchmarks.

    DRM_HOSTS='[["host1", "10.77.0.2", "drm12x0h1"]]' python -m benchmarks.on_hosts run --coordinator HOST:PORT ...

It stands where the provider ``local`` would. A machine is a host that nobody has; ``drm worker`` runs on it as a
process in its network namespace, and all of that host ends with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.hosts import Host
from drm.cli import main
from drm.cloud_provider_manager import LocalProvider
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError
from drm.model.resources import Resources
from drm.provisioning import building

VARIABLE = "DRM_HOSTS"


class HostProvider:
    """Implements ``CloudProvider``: the processes are those of a ``LocalProvider``, each on a host of its own."""

    def __init__(self, hosts: Sequence[Host], capacity: Resources, types: Sequence[WorkerType]) -> None:
        every = Resources(cpu_cores=capacity.cpu_cores * len(hosts), memory_bytes=capacity.memory_bytes * len(hosts))
        self._processes = LocalProvider(every, types, grace_s=60.0)
        self._free = list(hosts)
        self._taken: dict[str, Host] = {}  # by instance
        self._made: dict[str, str] = {}  # instances by the token of their request

    def create(self, request: InstanceRequest) -> Instance:
        known = self._made.get(request.token)
        if known is not None:
            return self._processes.describe(known)
        self._give_back()
        if not self._free:
            raise CapacityError("every host is taken", remedy="wait until a worker has ended")
        host = self._free[0]
        made = self._processes.create(replace(request, command=tuple(host.command(request.command))))
        self._taken[made.instance_id] = self._free.pop(0)
        if request.token:
            self._made[request.token] = made.instance_id
        return made

    def terminate(self, instance_id: str) -> None:
        self._processes.terminate(instance_id)
        self._give_back()

    def _give_back(self) -> None:
        for instance_id in list(self._taken):
            if self._processes.describe(instance_id).state is InstanceState.GONE:
                host = self._taken.pop(instance_id)
                host.kill()
                self._free.append(host)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processes, name)


if __name__ == "__main__":
    hosts = [Host(*fields) for fields in json.loads(os.environ[VARIABLE])]
    building._MAKERS = {  # type: ignore[misc]
        **building._MAKERS,
        "local": lambda _table, _machines, types, capacity, _place: HostProvider(hosts, capacity, types),
    }
    sys.exit(main())
