"""What every provider promises (``drm.ports.CloudProvider``), checked on each implementation."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from drm.cloud_provider_manager import LocalProvider
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, ConfigError, LostError
from drm.model.resources import Resources
from drm.ports import CloudProvider

Request = Callable[..., InstanceRequest]
Die = Callable[[Instance], None]


@pytest.fixture(params=["local", "scripted"])
def case(request: pytest.FixtureRequest) -> tuple[CloudProvider, Die]:
    """An implementation, and how to end one of its instances behind its back."""
    provider: Any = request.getfixturevalue(request.param)
    if request.param == "scripted":
        return provider, lambda instance: provider.die(instance.instance_id)
    return provider, lambda instance: _kill_process(provider, instance)


def _kill_process(provider: LocalProvider, instance: Instance) -> None:
    pid = int(instance.detail.split()[1])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while provider.describe(instance.instance_id).state is not InstanceState.GONE:
        assert time.monotonic() < deadline, "a killed process was not seen gone"
        time.sleep(0.002)


def ids(provider: CloudProvider) -> list[str]:
    return [instance.instance_id for instance in provider.list_instances()]


def test_create_returns_a_live_instance_that_is_listed(case: tuple[CloudProvider, Die], request_for: Request) -> None:
    provider, _ = case
    instance = provider.create(request_for("w7"))
    assert (instance.worker_id, instance.worker_type, instance.provider) == ("w7", "one", provider.name)
    assert instance.state in (InstanceState.PENDING, InstanceState.RUNNING)
    assert provider.describe(instance.instance_id).worker_id == "w7"
    assert ids(provider) == [instance.instance_id]


def test_a_token_seen_before_gives_the_first_instance(case: tuple[CloudProvider, Die], request_for: Request) -> None:
    provider, _ = case
    first = provider.create(request_for("w1", token="t1"))
    assert provider.create(request_for("w1", token="t1")).instance_id == first.instance_id
    assert provider.create(request_for("w2", token="t2")).instance_id != first.instance_id
    assert len(ids(provider)) == 2


def test_without_tokens_every_create_is_a_new_instance(case: tuple[CloudProvider, Die], request_for: Request) -> None:
    provider, _ = case
    assert provider.create(request_for("w1")).instance_id != provider.create(request_for("w2")).instance_id


def test_terminate_returns_when_it_is_gone_and_can_be_repeated(
    case: tuple[CloudProvider, Die], request_for: Request
) -> None:
    provider, _ = case
    instance = provider.create(request_for())
    provider.terminate(instance.instance_id)
    assert ids(provider) == []
    assert provider.describe(instance.instance_id).state is InstanceState.GONE
    provider.terminate(instance.instance_id)


def test_an_instance_that_dies_is_listed_no_more(case: tuple[CloudProvider, Die], request_for: Request) -> None:
    provider, die = case
    stays, dies = provider.create(request_for("w1")), provider.create(request_for("w2"))
    die(dies)
    assert ids(provider) == [stays.instance_id]
    provider.terminate(dies.instance_id)


def test_capacity_is_booked_and_given_back(case: tuple[CloudProvider, Die], request_for: Request) -> None:
    provider, die = case
    whole = provider.available()
    first = provider.create(request_for("w1"))
    assert provider.available() == whole - Resources(cpu_cores=1, memory_bytes=2**30)
    second = provider.create(request_for("w2"))
    with pytest.raises(CapacityError, match="1 cpu of 0"):
        provider.create(request_for("w3"))
    assert len(ids(provider)) == 2
    die(first)
    provider.create(request_for("w3"))
    provider.terminate(second.instance_id)
    assert provider.available().cpu_cores == 1


def test_a_type_larger_than_everything_is_a_capacity_error(
    case: tuple[CloudProvider, Die], request_for: Request
) -> None:
    provider, _ = case
    big = next(offered for offered in provider.offerings() if offered.name == "big")
    with pytest.raises(CapacityError, match="3 cpu of 2"):
        provider.create(request_for(worker_type=big))


def test_a_type_not_offered_is_a_config_error(case: tuple[CloudProvider, Die], request_for: Request) -> None:
    provider, _ = case
    with pytest.raises(ConfigError, match="moon"):
        provider.create(request_for(worker_type=WorkerType(name="moon", capacity=Resources(cpu_cores=1))))
    assert ids(provider) == []


@pytest.mark.parametrize("method", ["terminate", "describe"])
def test_an_instance_never_seen_is_lost(case: tuple[CloudProvider, Die], method: str) -> None:
    provider, _ = case
    with pytest.raises(LostError, match="i-99"):
        getattr(provider, method)("i-99")
