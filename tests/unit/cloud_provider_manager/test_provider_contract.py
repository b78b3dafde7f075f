"""What every provider promises (``drm.ports.CloudProvider``), checked on each implementation."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, ConfigError, LostError, QuotaError, UnknownFateError
from drm.model.resources import Resources
from drm.ports import CloudProvider

Request = Callable[..., InstanceRequest]


@dataclass(frozen=True)
class Case:
    """A provider that has room for two of its smallest type. ``die`` ends an instance behind its back.

    ``other``: the same as another process would make it; ``lose_answer``: the next create is made and its answer is
    lost. None: it cannot be, because the provider is of this process.
    """

    provider: CloudProvider
    request_for: Request
    die: Callable[[Instance], None]
    command: tuple[str, ...] | None = None
    other: Callable[[], CloudProvider] | None = None
    lose_answer: Callable[[], None] | None = None

    def request(self, worker_id: str = "w1", *, worker_type: WorkerType | None = None, **more: Any) -> InstanceRequest:
        if self.command is not None:
            more["command"] = self.command
        return self.request_for(worker_id, worker_type=worker_type or self.one, **more)

    @property
    def one(self) -> WorkerType:
        return min(self.provider.offerings(), key=lambda each: each.capacity.cpu_cores)

    @property
    def big(self) -> WorkerType:
        return max(self.provider.offerings(), key=lambda each: each.capacity.cpu_cores)


# A daemon is started by the executor that tests it: one is enough.
DOCKER = pytest.param("docker", marks=pytest.mark.drm(group="dockerd"))
EC2 = pytest.param("aws", marks=pytest.mark.drm(group="ec2"))
# These libraries take seconds to import: once is enough.
GCP = pytest.param("gcp", marks=pytest.mark.drm(group="gcp"))
PODS = [pytest.param(each, marks=pytest.mark.drm(group="kubernetes")) for each in ("kubernetes", "real_kubernetes")]


@pytest.fixture(params=["local", "scripted", EC2, DOCKER, GCP, *PODS])
def case(request: pytest.FixtureRequest, request_for: Request) -> Case:
    if request.param == "docker":
        daemon = request.getfixturevalue("daemon")
        provider: Any = request.getfixturevalue("docker_provider")
        other = request.getfixturevalue("docker_with")
        return Case(provider, request_for, lambda each: daemon.kill(each.instance_id), ("/bin/sleep", "600"), other)
    if request.param == "aws":
        ec2 = request.getfixturevalue("ec2")
        return Case(
            request.getfixturevalue("aws"),
            request_for,
            lambda each: ec2.end(each.instance_id),
            other=request.getfixturevalue("aws_with"),
            lose_answer=lambda: ec2.set(lose_answer=1),
        )
    if request.param == "gcp":
        compute = request.getfixturevalue("compute")
        return Case(
            request.getfixturevalue("gcp"),
            request_for,
            lambda each: compute.end(each.instance_id),
            other=request.getfixturevalue("gcp_with"),
            lose_answer=lambda: compute.set(lose_answer=1),
        )
    if request.param == "kubernetes":
        cluster = request.getfixturevalue("cluster")
        return Case(
            request.getfixturevalue("kubernetes"),
            request_for,
            lambda each: cluster.end(each.instance_id),
            other=request.getfixturevalue("kubernetes_with"),
            lose_answer=lambda: cluster.set(lose_answer=1),
        )
    if request.param == "real_kubernetes":
        provider = request.getfixturevalue("real_kubernetes")
        return Case(provider, request_for, lambda each: kill_pod(provider, each), ("/bin/sleep", "600"))
    provider = request.getfixturevalue(request.param)
    if request.param == "scripted":
        return Case(provider, request_for, lambda each: provider.die(each.instance_id))
    return Case(provider, request_for, lambda each: os.kill(int(each.detail.split()[1]), signal.SIGKILL))


def kill_pod(provider: Any, instance: Instance) -> None:
    """Delete a pod of a real cluster without telling its provider."""
    provider._api.delete_namespaced_pod(
        instance.instance_id, provider._settings.namespace, body={"gracePeriodSeconds": 0}
    )


def ids(provider: CloudProvider) -> list[str]:
    return [instance.instance_id for instance in provider.list_instances()]


def end(case: Case, instance: Instance) -> None:
    """End an instance behind its provider's back, and wait until that is seen."""
    case.die(instance)
    deadline = time.monotonic() + 30
    while case.provider.describe(instance.instance_id).state is not InstanceState.GONE:
        assert time.monotonic() < deadline, "an instance that died was not seen gone"
        time.sleep(0.005)


def test_create_returns_a_live_instance_that_is_listed(case: Case) -> None:
    provider = case.provider
    instance = provider.create(case.request("w7"))
    assert (instance.worker_id, instance.worker_type, instance.provider) == ("w7", case.one.name, provider.name)
    assert instance.state in (InstanceState.PENDING, InstanceState.RUNNING)
    assert provider.describe(instance.instance_id).worker_id == "w7"
    assert ids(provider) == [instance.instance_id]


def test_tags_are_there_from_the_start_and_in_the_list(case: Case) -> None:
    asked = (("drm-run", "r1"), ("drm-owner", "host.1.2"), ("drm-expires", "1800000000"))
    made = case.provider.create(case.request("w1", token="r1/w1", tags=asked))
    (listed,) = case.provider.list_instances()
    for instance in (made, listed, case.provider.describe(made.instance_id)):
        found = dict(instance.tags)
        assert {**found, **dict(asked)} == found
        assert (found["drm-managed"], found["drm-worker"], found["drm-operation"]) == ("1", "w1", "r1/w1")


def test_a_token_seen_before_gives_the_first_instance(case: Case) -> None:
    provider = case.provider
    first = provider.create(case.request("w1", token="t1"))
    assert provider.create(case.request("w1", token="t1")).instance_id == first.instance_id
    assert provider.create(case.request("w2", token="t2")).instance_id != first.instance_id
    assert provider.create(case.request("w1", token="t1")).instance_id == first.instance_id  # also when it is full
    assert len(ids(provider)) == 2


def test_without_tokens_every_create_is_a_new_instance(case: Case) -> None:
    first, second = case.provider.create(case.request("w1")), case.provider.create(case.request("w2"))
    assert first.instance_id != second.instance_id


def test_terminate_returns_when_it_is_gone_and_can_be_repeated(case: Case) -> None:
    provider = case.provider
    instance = provider.create(case.request())
    provider.terminate(instance.instance_id)
    assert ids(provider) == []
    assert provider.describe(instance.instance_id).state is InstanceState.GONE
    provider.terminate(instance.instance_id)


def test_an_instance_that_dies_is_listed_no_more(case: Case) -> None:
    stays, dies = case.provider.create(case.request("w1")), case.provider.create(case.request("w2"))
    end(case, dies)
    assert ids(case.provider) == [stays.instance_id]
    case.provider.terminate(dies.instance_id)


def test_capacity_is_booked_and_given_back(case: Case) -> None:
    provider = case.provider
    whole = provider.available()
    first = provider.create(case.request("w1"))
    assert provider.available() == whole - Resources(cpu_cores=1, memory_bytes=2**30)
    second = provider.create(case.request("w2"))
    with pytest.raises((CapacityError, QuotaError), match="1 cpu of 0"):
        provider.create(case.request("w3"))
    assert len(ids(provider)) == 2
    end(case, first)
    provider.create(case.request("w3"))
    provider.terminate(second.instance_id)
    assert provider.available().cpu_cores == 1


def test_a_type_larger_than_everything_is_refused(case: Case) -> None:
    with pytest.raises((CapacityError, QuotaError), match="3 cpu of 2"):
        case.provider.create(case.request(worker_type=case.big))
    assert ids(case.provider) == []


def test_a_type_not_offered_is_a_config_error(case: Case) -> None:
    moon = WorkerType(name="moon", capacity=Resources(cpu_cores=1))
    with pytest.raises(ConfigError, match="moon"):
        case.provider.create(case.request(worker_type=moon))
    assert ids(case.provider) == []


@pytest.mark.parametrize("method", ["terminate", "describe"])
def test_an_instance_never_seen_is_lost(case: Case, method: str) -> None:
    with pytest.raises(LostError, match="i-99"):
        getattr(case.provider, method)("i-99")


def test_another_process_sees_it_by_its_tags_and_ends_it(case: Case) -> None:
    if case.other is None:
        pytest.skip("it is of this process: nothing of it outlives that")
    made = case.provider.create(case.request("w1", token="r/w1", tags=(("drm-run", "r"),)))
    other = case.other()
    (seen,) = other.list_instances()
    assert (seen.instance_id, seen.worker_id, seen.tag("drm-run")) == (made.instance_id, "w1", "r")
    assert other.create(case.request("w1", token="r/w1", tags=(("drm-run", "r"),))).instance_id == made.instance_id
    other.terminate(made.instance_id)
    assert ids(case.provider) == ids(other) == []


def test_a_create_whose_answer_is_lost_is_found_again(case: Case) -> None:
    if case.lose_answer is None:
        pytest.skip("no answer of it can be lost here")
    case.lose_answer()
    with pytest.raises(UnknownFateError):
        case.provider.create(case.request("w1", token="r/w1"))
    (made,) = case.provider.list_instances()
    assert case.provider.create(case.request("w1", token="r/w1")).instance_id == made.instance_id
    assert ids(case.provider) == [made.instance_id]
