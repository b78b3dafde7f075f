"""A provider whose instances start, fail to and vanish as a script says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, LostError
from drm.model.resources import Resources, total
from drm.simulator.acts import Machine
from drm.simulator.engine import SimulatedEngine

PROVIDER = "simulated"


class SimulatedProvider:
    """Implements ``drm.ports.CloudProvider``: its instances join the engine.

    ``machine`` says what the instance of a worker (id, type) does. ``limits``: how many there may be at a time, by
    type; there is no limit for types that are not named.
    """

    name = PROVIDER

    def __init__(
        self,
        engine: SimulatedEngine,
        types: tuple[WorkerType, ...],
        *,
        machine: Callable[[str, WorkerType], Machine],
        limits: Mapping[str, int],
    ) -> None:
        self._engine = engine
        self._types = types
        self._machine = machine
        self._limits = limits
        self._instances: dict[str, Instance] = {}
        self._counts: Counter[str] = Counter()

    def create(self, request: InstanceRequest) -> Instance:
        worker_id, worker_type = request.worker_id, request.worker_type
        limit = self._limits.get(worker_type.name)
        if limit is not None and self._counts[worker_type.name] >= limit:
            raise CapacityError(f"there are {limit} {worker_type.name} and no more", remedy="ask again later")
        instance = Instance(
            instance_id=f"i-{worker_id}",
            worker_id=worker_id,
            worker_type=worker_type.name,
            provider=self.name,
            state=InstanceState.RUNNING,
        )
        machine = self._machine(worker_id, worker_type)
        if machine.start_s is None:
            instance = replace(instance, state=InstanceState.GONE, detail="it ended with exit code 1")
        else:
            self._engine.join(worker_id, worker_type, machine.start_s)
            if machine.lives_s is not None:
                self._engine.at(
                    machine.start_s + machine.lives_s,
                    lambda: self._engine.lose(worker_id, "its machine was taken away"),
                )
        self._instances[instance.instance_id] = instance
        self._counts[worker_type.name] += 1
        return instance

    def terminate(self, instance_id: str) -> None:
        instance = self._instances.pop(instance_id, None)
        if instance is not None:
            self._counts[instance.worker_type] -= 1
            self._engine.forget(instance.worker_id)

    def describe(self, instance_id: str) -> Instance:
        if instance_id not in self._instances:
            raise LostError(f"instance {instance_id} is gone")
        return self._instances[instance_id]

    def list_instances(self) -> tuple[Instance, ...]:
        return tuple(each for each in self._instances.values() if each.state is not InstanceState.GONE)

    def offerings(self) -> tuple[WorkerType, ...]:
        return self._types

    def available(self) -> Resources:
        left = ((each, self._limits.get(each.name, 0) - self._counts[each.name]) for each in self._types)
        return total(each.capacity for each, count in left for _ in range(max(0, count)))
