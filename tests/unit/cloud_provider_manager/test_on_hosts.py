"""The provider whose machines are hosts: each is one machine's at a time, and a request that is repeated takes none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks.hosts import Host
from benchmarks.on_hosts import HostProvider
from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.errors import CapacityError
from drm.model.resources import Resources

ONE = Resources(cpu_cores=1, memory_bytes=2**30)
KIND = WorkerType(name="small", capacity=ONE, provider="local")
COMMAND = (sys.executable, "-c", "import time; time.sleep(600)")
REQUEST = InstanceRequest(worker_id="w1", worker_type=KIND, command=COMMAND, token="once")


@pytest.fixture
def provider() -> Iterator[HostProvider]:
    provider = HostProvider([Host("host1", "127.0.0.1")], ONE, [KIND])
    yield provider
    for instance in provider.list_instances():
        provider.terminate(instance.instance_id)


def test_a_request_that_is_repeated_is_the_same_machine_where_every_host_is_taken(provider: HostProvider) -> None:
    made = provider.create(REQUEST)
    assert provider.create(REQUEST).instance_id == made.instance_id
    with pytest.raises(CapacityError, match="every host is taken"):
        provider.create(replace(REQUEST, worker_id="w2", token="another"))


def test_a_host_is_free_again_when_its_machine_has_ended(provider: HostProvider) -> None:
    first = provider.create(REQUEST)
    provider.terminate(first.instance_id)
    second = provider.create(replace(REQUEST, worker_id="w2", token="another"))
    assert second.instance_id != first.instance_id
    assert provider.create(REQUEST).state.name == "GONE"
