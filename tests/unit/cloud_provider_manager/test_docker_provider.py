"""Containers beyond the contract, on a real daemon: what they are given, how they end, what other processes see."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from docker_daemon import Daemon

from drm.cloud_provider_manager.providers.docker import DockerProvider
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import ConfigError, LostError
from drm.model.resources import Resources

Request = Callable[..., InstanceRequest]
Make = Callable[..., DockerProvider]
group = pytest.mark.drm(group="dockerd")
SLEEP = ("/bin/sleep", "600")


def end_of(provider: DockerProvider, instance: Instance) -> Instance:
    deadline = time.monotonic() + 30
    while (seen := provider.describe(instance.instance_id)).state is not InstanceState.GONE:
        assert time.monotonic() < deadline, "it did not end"
        time.sleep(0.01)
    return seen


@group
def test_the_container_has_the_limits_labels_and_environment(
    docker_provider: DockerProvider, daemon: Daemon, request_for: Request
) -> None:
    made = docker_provider.create(request_for("w1", command=SLEEP, token="run 1/w1", environment=(("DRM_X", "y"),)))
    with daemon.client() as api:
        seen = api.inspect_container(made.instance_id)
    limits = seen["HostConfig"]
    assert (limits["NanoCpus"], limits["Memory"], limits["MemorySwap"]) == (10**9, 2**30, 2**30)
    assert limits["NetworkMode"] == "none"
    assert "DRM_X=y" in seen["Config"]["Env"]
    assert seen["Name"] == "/drm-run_1_w1"
    assert made.created_at == pytest.approx(time.time(), abs=600)


@group
def test_how_it_ended_is_told_and_nothing_is_left(
    docker_provider: DockerProvider, daemon: Daemon, request_for: Request
) -> None:
    made = docker_provider.create(request_for("w1", command=("/bin/sh", "-c", "exit 7")))
    assert end_of(docker_provider, made).detail.endswith("ended: exit code 7")
    with daemon.client() as api:
        assert api.containers(all=True) == []


@group
def test_a_program_that_is_not_in_the_image_leaves_no_container(
    docker_provider: DockerProvider, daemon: Daemon, request_for: Request
) -> None:
    with pytest.raises(ConfigError, match=r"start worker w1.*/bin/absent"):
        docker_provider.create(request_for("w1", command=("/bin/absent",)))
    with daemon.client() as api:
        assert api.containers(all=True) == []


@group
def test_an_image_that_is_not_there_is_told(docker_with: Make, request_for: Request) -> None:
    with pytest.raises(ConfigError, match="no image 'absent:1'; pull or build it"):
        docker_with(image="absent:1").create(request_for("w1", command=SLEEP))


@group
def test_another_process_sees_and_ends_what_this_one_made(
    docker_provider: DockerProvider, docker_with: Make, request_for: Request
) -> None:
    first = docker_provider.create(request_for("w1", command=SLEEP, token="t"))
    ended = docker_provider.create(request_for("w2", command=("/bin/sh", "-c", "exit 0")))
    other = docker_with()
    assert other.create(request_for("w1", command=SLEEP, token="t")).instance_id == first.instance_id
    assert other.available().cpu_cores <= 1
    deadline = time.monotonic() + 30
    while {each.instance_id: each.state for each in other.list_instances()} != {
        first.instance_id: InstanceState.RUNNING,
        ended.instance_id: InstanceState.TERMINATING,  # what is left of it can be found, and removed
    }:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for instance in (first, ended):
        other.terminate(instance.instance_id)
    assert other.list_instances() == docker_provider.list_instances() == ()


@group
def test_a_container_of_somebody_else_is_left_alone(docker_provider: DockerProvider, daemon: Daemon) -> None:
    with daemon.client() as api:
        settings = api.create_host_config(network_mode="none")
        other = api.create_container("drm-test:latest", list(SLEEP), host_config=settings)["Id"]
        try:
            assert docker_provider.list_instances() == ()
            with pytest.raises(LostError, match=other):
                docker_provider.terminate(other)
            assert [each["Id"] for each in api.containers(all=True)] == [other]
        finally:
            api.remove_container(other)


@group
def test_gpus_are_given_device_by_device(docker_with: Make, daemon: Daemon, request_for: Request) -> None:
    """Without a gpu here the daemon refuses to start: what it was asked for is what is looked at."""
    kind = WorkerType(name="gpu", capacity=Resources(cpu_cores=1, gpus=1))
    provider = docker_with(capacity=Resources(cpu_cores=2, gpus=2), types=(kind,))
    asked = request_for("w1", worker_type=kind, command=SLEEP)
    arguments = provider._arguments(asked, "", [])
    assert arguments["device_requests"][0]["DeviceIDs"] == ["0"]
    taken: Any = type("Container", (), {"labels": {"drm-gpus": "0:1000"}})
    assert provider._arguments(asked, "", [taken])["device_requests"][0]["DeviceIDs"] == ["1"]
    with pytest.raises(ConfigError, match="start worker w1"):
        provider.create(asked)
    assert provider.list_instances() == ()


def test_a_daemon_that_is_not_there_is_told_in_one_line() -> None:
    pytest.importorskip("docker")
    with pytest.raises(LostError, match="is dockerd running") as caught:
        DockerProvider(Resources(cpu_cores=1), (), image="x", host="unix:///nonexistent/docker.sock")
    assert "\n" not in str(caught.value)
