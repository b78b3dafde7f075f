"""Each kind of bad input, at each provider: one line, its class, a remedy, and no secret."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_compute import PROJECT, FakeCompute
from fake_kubernetes import FakeKubernetes
from faulty_ec2_client import FaultyEc2

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.budget import Budget
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.providers.aws_calls import Ec2
from drm.cloud_provider_manager.providers.gcp_calls import Compute
from drm.cloud_provider_manager.reaping import judge
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import ConfigError, DrmError, UnauthorisedError, UnknownFateError
from drm.model.resources import Resources
from drm.provisioning import parse_machines
from drm.settings import read_settings

Request = Callable[..., InstanceRequest]
Act = Callable[[pytest.FixtureRequest], None]
aws, gcp, pods = (pytest.mark.drm(group=name) for name in ("ec2", "gcp", "kubernetes"))


def create(fixtures: pytest.FixtureRequest, which: str, kind: WorkerType | None = None, **settings: Any) -> None:
    """Create a worker at a provider with these settings."""
    provider = fixtures.getfixturevalue(f"{which}_with")(**settings)
    if kind is not None:
        provider._types = (kind,)
    request_for = fixtures.getfixturevalue("request_for")
    provider.create(request_for("w1", worker_type=kind or provider.offerings()[0], token="r/w1"))


def refused_by_ec2(fixtures: pytest.FixtureRequest, code: str) -> None:
    ec2: FaultyEc2 = fixtures.getfixturevalue("ec2")
    ec2.set(refuse={"code": code, "status": "401 Unauthorized", "message": "no, canary-secret-key", "times": 9})
    create(fixtures, "aws")


def wrong_token_of_gcp(fixtures: pytest.FixtureRequest) -> None:
    compute: FakeCompute = fixtures.getfixturevalue("compute")
    from google.oauth2.credentials import Credentials

    wrong = Credentials(token="canary-wrong")
    calls = Compute(provider="gcp", project=PROJECT, endpoint=compute.url, credentials=wrong)
    create(fixtures, "gcp", compute=calls)


def wrong_token_of_cluster(fixtures: pytest.FixtureRequest) -> None:
    cluster: FakeKubernetes = fixtures.getfixturevalue("cluster")
    path: Path = fixtures.getfixturevalue("tmp_path") / "wrong"
    create(fixtures, "kubernetes", kubeconfig=str(cluster.kubeconfig(path, token="canary-wrong")))


def unknown_region_of_ec2(fixtures: pytest.FixtureRequest) -> None:
    fixtures.getfixturevalue("aws_environment")
    Ec2(provider="aws", region="moon-1")


def like(fixtures: pytest.FixtureRequest, which: str, **changes: Any) -> WorkerType:
    return dataclasses.replace(fixtures.getfixturevalue(which).offerings()[0], **changes)


def absent_image_of_pod(fixtures: pytest.FixtureRequest) -> None:
    """The kubelet says so while the provider waits for the pod's node."""
    cluster: FakeKubernetes = fixtures.getfixturevalue("cluster")
    cluster.set(schedules_after=3)
    scheduled = cluster._schedule

    def without_image(pod: Any) -> None:
        scheduled(pod)
        name = pod["metadata"]["name"]
        cluster.wait_for_image(name, "ImagePullBackOff", "manifest for absent:1 not found")

    cluster._schedule = without_image  # type: ignore[method-assign]
    try:
        create(fixtures, "kubernetes", image="absent:1")
    finally:
        cluster._schedule = scheduled  # type: ignore[method-assign]


def garbage(fixtures: pytest.FixtureRequest, which: str, server: str) -> None:
    fixtures.getfixturevalue(server).set(garbage=1)
    create(fixtures, which)


def priced_at_nothing(fixtures: pytest.FixtureRequest, which: str) -> None:
    """A type whose price is 0 at a provider that sends bills."""
    clock = fixtures.getfixturevalue("clock")
    creator = Creator(clock=clock, ownership=Ownership(run_id="r", owner="me"), budget=Budget(usd=10.0))
    manager = CloudProviderManager(clock=clock, creator=creator)
    provider = fixtures.getfixturevalue(which)
    manager.add_provider(provider)
    kind = like(fixtures, which, usd_per_hour=0.0)
    manager.create_worker(fixtures.getfixturevalue("request_for")("w1", worker_type=kind, token="r/w1"))


def unknown_key(fixtures: pytest.FixtureRequest, table: str) -> None:
    folder: Path = fixtures.getfixturevalue("tmp_path")
    (folder / "pytest.ini").write_text(f"[drm]\nprovider = {table}\n[drm:{table}]\nimmage = x\n", encoding="utf-8")
    settings = read_settings(folder)
    option: Callable[[str], tuple[Any, str]] = lambda name: (settings.options.get(name), name)  # noqa: E731
    parse_machines(option, settings.providers, ["cpu=1"], Resources(cpu_cores=1), where=settings.where)


CASES: list[Any] = [
    # bad credentials
    pytest.param(lambda f: refused_by_ec2(f, "AuthFailure"), UnauthorisedError, "check the credentials", marks=aws),
    pytest.param(wrong_token_of_gcp, UnauthorisedError, "check the credentials|gcloud auth", marks=gcp),
    pytest.param(wrong_token_of_cluster, UnauthorisedError, "check the credentials", marks=pods),
    # a clock that is wrong: each cloud takes the request for too old, or the token for expired
    pytest.param(lambda f: refused_by_ec2(f, "RequestExpired"), UnauthorisedError, "this machine's clock", marks=aws),
    pytest.param(wrong_token_of_cluster, UnauthorisedError, "this machine's clock", marks=pods),
    # an unknown region, zone or type
    pytest.param(unknown_region_of_ec2, ConfigError, "'moon-1' is not known; regions: ", marks=aws),
    pytest.param(lambda f: create(f, "gcp", like(f, "gcp", zone="moon-a")), ConfigError, "zones/moon-a", marks=gcp),
    pytest.param(lambda f: create(f, "aws", like(f, "aws", name="m99.huge")), ConfigError, r"m99\.huge", marks=aws),
    pytest.param(lambda f: create(f, "gcp", like(f, "gcp", name="m99-huge")), ConfigError, "m99-huge", marks=gcp),
    # an image that does not exist
    pytest.param(lambda f: create(f, "aws", image="ami-0000000000"), ConfigError, "ami-0000000000", marks=aws),
    pytest.param(lambda f: create(f, "gcp", image="projects/x/absent"), ConfigError, "projects/x/absent", marks=gcp),
    pytest.param(absent_image_of_pod, ConfigError, "absent:1 not found.*; check the image", marks=pods),
    # a configuration with an unknown key
    *(
        pytest.param(lambda f, table=table: unknown_key(f, table), ConfigError, "unknown key 'immage'; did you mean")
        for table in ("docker", "kubernetes", "aws", "gcp")
    ),
    pytest.param(lambda f: unknown_key(f, "docke"), ConfigError, "'docke' is no provider; write one or more of"),
    # a price of zero
    pytest.param(lambda f: priced_at_nothing(f, "aws"), ConfigError, "price 0.0 USD an hour; give its real", marks=aws),
    pytest.param(lambda f: priced_at_nothing(f, "gcp"), ConfigError, "price 0.0 USD an hour; give its real", marks=gcp),
    pytest.param(lambda f: priced_at_nothing(f, "kubernetes"), ConfigError, "price 0.0 USD an hour", marks=pods),
    # garbage for an answer
    pytest.param(lambda f: garbage(f, "aws", "ec2"), UnknownFateError, "create worker w1", marks=aws),
    pytest.param(lambda f: garbage(f, "gcp", "compute"), UnknownFateError, "create worker w1", marks=gcp),
    pytest.param(lambda f: garbage(f, "kubernetes", "cluster"), UnknownFateError, "create worker w1", marks=pods),
]


@pytest.mark.parametrize(("act", "kind", "match"), CASES)
def test_it_is_one_line_with_its_class_and_no_secret(
    act: Act, kind: type[DrmError], match: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(DrmError, match=match) as caught:
        act(request)
    said = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in said
    assert "canary" not in said.lower()
    assert caught.value.__cause__ is None or "canary" not in repr(caught.value.__cause__)


def test_a_step_of_this_machines_clock_ends_nothing_and_spends_nothing(clock: Any, scripted: Any) -> None:
    """Money and blocks go by a clock that only goes forward; the wall clock is in tags alone."""
    scripted.name = "docker"
    kind = WorkerType(name="one", capacity=Resources(cpu_cores=1, memory_bytes=2**30), provider="docker")
    scripted.offerings = lambda: (kind,)
    ahead = [timedelta()]
    wall = clock.utc
    clock.utc = lambda: wall() + ahead[0]
    creator = Creator(clock=clock, ownership=Ownership(run_id="r", owner="me"), budget=Budget(workers=9, per_minute=2))
    manager = CloudProviderManager(clock=clock, creator=creator)
    manager.add_provider(scripted)
    for worker, step in (("w1", timedelta()), ("w2", timedelta(days=-400))):
        ahead[0] = step
        manager.create_worker(InstanceRequest(worker_id=worker, worker_type=kind, command=("x",)))
    ahead[0] = timedelta(days=400)
    with pytest.raises(DrmError, match="2 workers were made in the last minute"):
        manager.create_worker(InstanceRequest(worker_id="w3", worker_type=kind, command=("x",)))
    for instance in scripted.list_instances():
        assert not judge(instance, now=clock.utc().timestamp(), alive=True).end
    unknown = Instance(instance_id="i", worker_id="w", worker_type="t", provider="p", state=InstanceState.RUNNING)
    assert not judge(unknown, now=clock.utc().timestamp(), alive=None).end
