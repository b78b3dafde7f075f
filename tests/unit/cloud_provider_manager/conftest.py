"""A scripted provider, and the implementations that the contract suite runs over."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drm.cloud_provider_manager import LocalProvider
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, ConfigError, LostError
from drm.model.resources import Resources, total

ONE = WorkerType(name="one", capacity=Resources(cpu_cores=1, memory_bytes=2**30))
BIG = WorkerType(name="big", capacity=Resources(cpu_cores=3, memory_bytes=2**30))
MACHINE = Resources(cpu_cores=2, memory_bytes=4 * 2**30)
SLEEP = (sys.executable, "-S", "-c", "import time; time.sleep(60)")


@dataclass
class ScriptedProvider:
    """Keeps instances in a dict. ``fail_next`` is raised by the next call; ``die`` ends one unasked."""

    name: str = "scripted"
    capacity: Resources = MACHINE
    fail_next: Exception | None = None
    calls: list[str] = field(default_factory=list)
    _instances: dict[str, tuple[Instance, InstanceRequest]] = field(default_factory=dict)

    def _call(self, what: str) -> None:
        self.calls.append(what)
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error

    def create(self, request: InstanceRequest) -> Instance:
        self._call(f"create {request.worker_id}")
        for instance, earlier in self._instances.values():
            if request.token and earlier.token == request.token:
                return instance
        if request.worker_type not in self.offerings():
            raise ConfigError(f"no type {request.worker_type.name}")
        if not request.worker_type.capacity.fits_in(self.available()):
            raise CapacityError("full: " + ", ".join(request.worker_type.capacity.lacking(self.available())))
        instance = Instance(
            instance_id=f"i-{len(self._instances)}",
            worker_id=request.worker_id,
            worker_type=request.worker_type.name,
            provider=self.name,
            state=InstanceState.RUNNING,
        )
        self._instances[instance.instance_id] = (instance, request)
        return instance

    def terminate(self, instance_id: str) -> None:
        self._call(f"terminate {instance_id}")
        self.die(instance_id)

    def describe(self, instance_id: str) -> Instance:
        self._call(f"describe {instance_id}")
        return self._find(instance_id)[0]

    def list_instances(self) -> tuple[Instance, ...]:
        self._call("list")
        return tuple(instance for instance, _ in self._instances.values() if instance.state is not InstanceState.GONE)

    def offerings(self) -> tuple[WorkerType, ...]:
        return (ONE, BIG)

    def available(self) -> Resources:
        live = (request for instance, request in self._instances.values() if instance.state is not InstanceState.GONE)
        return self.capacity - total(request.worker_type.capacity for request in live)

    def die(self, instance_id: str) -> None:
        instance, request = self._find(instance_id)
        self._instances[instance_id] = (dataclasses.replace(instance, state=InstanceState.GONE), request)

    def _find(self, instance_id: str) -> tuple[Instance, InstanceRequest]:
        if instance_id not in self._instances:
            raise LostError(f"no instance {instance_id}")
        return self._instances[instance_id]


def make_request(
    worker_id: str = "w1",
    *,
    worker_type: WorkerType = ONE,
    command: tuple[str, ...] = SLEEP,
    token: str = "",
    environment: tuple[tuple[str, str], ...] = (),
    provider: str = "local",
) -> InstanceRequest:
    return InstanceRequest(
        worker_id=worker_id,
        worker_type=dataclasses.replace(worker_type, provider=provider) if provider != "local" else worker_type,
        command=command,
        token=token,
        environment=environment,
    )


@pytest.fixture
def request_for() -> Callable[..., InstanceRequest]:
    """``make_request``, for the tests of this folder."""
    return make_request


@pytest.fixture
def scripted() -> ScriptedProvider:
    return ScriptedProvider()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalProvider]:
    provider = LocalProvider(MACHINE, (ONE, BIG), log_folder=tmp_path / "logs", grace_s=5.0)
    yield provider
    for instance in provider.list_instances():
        provider.terminate(instance.instance_id)
