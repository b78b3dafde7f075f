"""Compute Engine beyond the contract: what is sent, what its refusals mean, and what becomes of a lost answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_compute import GCP_ZONES, PROJECT, TOKEN, FakeCompute

from drm.cloud_provider_manager.providers.gcp import GcpProvider
from drm.cloud_provider_manager.providers.gcp_calls import Compute
from drm.cloud_provider_manager.providers.gcp_errors import MissingError, error_of_operation
from drm.cloud_provider_manager.providers.gcp_instances import GcpSettings, instance_body
from drm.model.cluster import InstanceRequest, InstanceState, WorkerType
from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    LostError,
    QuotaError,
    ThrottledError,
    UnauthorisedError,
    UnknownFateError,
)
from drm.model.resources import Resources

Request = Callable[..., InstanceRequest]
Make = Callable[..., GcpProvider]
pytestmark = pytest.mark.drm(group="gcp")


def offered(provider: GcpProvider, zone: str = GCP_ZONES[0], market: str = "on-demand") -> WorkerType:
    return next(each for each in provider.offerings() if (each.zone, each.market) == (zone, market))


def asked_of(provider: GcpProvider, request_for: Request, worker: str = "w1", **more: Any) -> InstanceRequest:
    return request_for(worker, **{"worker_type": offered(provider), "token": f"r/{worker}", **more})


def test_what_is_sent_on_demand(gcp_with: Make, compute: FakeCompute, request_for: Request) -> None:
    provider = gcp_with(bootstrap="pip install project", lease_s=3600.5, subnets={"us-central1": "regions/x/subnets/y"})
    provider.create(asked_of(provider, request_for, environment=(("DRM_X", "a b"),)))
    (call,) = compute.inserts()
    body = call.body
    assert body["machineType"] == f"zones/{GCP_ZONES[0]}/machineTypes/n2-standard-2"
    assert body["scheduling"] == {
        "provisioningModel": "STANDARD",
        "instanceTerminationAction": "DELETE",
        "maxRunDuration": {"seconds": "3601"},
        "automaticRestart": False,
    }
    assert body["labels"]["drm-managed"] == "1"
    assert "drm-operation" not in body["labels"]  # "/" is none of a label's characters
    items = {each["key"]: each["value"] for each in body["metadata"]["items"]}
    assert json.loads(items["drm-tags"])["drm-operation"] == "r/w1"
    lines = items["startup-script"].splitlines()
    assert lines[:2] == ["#!/bin/bash", "shutdown -P +61"]
    assert (lines[4], lines[-3:-1]) == ("pip install project", ["export DRM_X='a b'", "export DRM_NOTICES=gce"])
    assert body["disks"][0]["autoDelete"] is True
    assert body["networkInterfaces"][0]["subnetwork"] == "regions/x/subnets/y"
    assert "serviceAccounts" not in body  # tests have no way into the project


def test_what_is_sent_for_spot_and_gpus(gcp: GcpProvider, compute: FakeCompute, request_for: Request) -> None:
    gcp.create(asked_of(gcp, request_for, worker_type=offered(gcp, GCP_ZONES[1], "spot")))
    (call,) = compute.inserts()
    assert f"/zones/{GCP_ZONES[1]}/" in call.path
    scheduling = call.body["scheduling"]
    assert (scheduling["provisioningModel"], scheduling["onHostMaintenance"]) == ("SPOT", "TERMINATE")
    kind = WorkerType(name="n1-standard-4", capacity=Resources(cpu_cores=4, gpus=2), zone="z-1a", provider="gcp")
    settings = GcpSettings(
        project="p", image="i", limit=Resources(), accelerators={"n1-standard-4": "nvidia-tesla-t4"}, external_ip=False
    )
    body = instance_body(request_for("w1", worker_type=kind), settings, "n", "s")
    (accelerator,) = body["guest_accelerators"]
    assert accelerator == {"accelerator_type": "zones/z-1a/acceleratorTypes/nvidia-tesla-t4", "accelerator_count": 2}
    assert body["scheduling"]["on_host_maintenance"] == "TERMINATE"
    assert "access_configs" not in body["network_interfaces"][0]


def test_a_zone_without_capacity_is_asked_once_and_another_gives(
    gcp: GcpProvider, compute: FakeCompute, request_for: Request
) -> None:
    compute.set(no_capacity=((GCP_ZONES[0], "", ""),))
    with pytest.raises(CapacityError, match=r"ZONE_RESOURCE_POOL_EXHAUSTED.*another zone"):
        gcp.create(asked_of(gcp, request_for))
    assert len(compute.inserts()) == 1
    assert gcp.list_instances() == ()
    gcp.create(asked_of(gcp, request_for, worker_type=offered(gcp, GCP_ZONES[1])))
    assert len(gcp.list_instances()) == 1


def test_a_refused_token_is_asked_anew(gcp: GcpProvider, compute: FakeCompute, request_for: Request) -> None:
    """With the same requestId Compute Engine would give back the operation that has failed."""
    compute.set(no_capacity=((GCP_ZONES[0], "", ""),))
    with pytest.raises(CapacityError):
        gcp.create(asked_of(gcp, request_for))
    compute.no_capacity = ()
    assert gcp.create(asked_of(gcp, request_for)).state is InstanceState.RUNNING
    first, second = (call.query["requestId"] for call in compute.inserts())
    assert first != second


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (403, "rateLimitExceeded", ThrottledError),
        (403, "quotaExceeded", QuotaError),
        (403, "forbidden", UnauthorisedError),
        (403, "accessNotConfigured", UnauthorisedError),
        (400, "invalid", ConfigError),
        (404, "notFound", ConfigError),
        (429, "", ThrottledError),
        (500, "internalError", UnknownFateError),
        (503, "backendError", UnknownFateError),
    ],
)
def test_refusals_are_typed_asked_once_and_show_no_secret(
    gcp: GcpProvider, compute: FakeCompute, request_for: Request, status: int, reason: str, kind: type[DrmError]
) -> None:
    compute.set(refuse=(status, reason, f"No, not for\n{TOKEN}"))
    with pytest.raises(DrmError) as caught:
        gcp.create(asked_of(gcp, request_for))
    said = str(caught.value)
    assert type(caught.value) is kind
    assert "No, not for" in said
    assert "canary" not in said
    assert "\n" not in said
    assert caught.value.__cause__ is None  # nor in a traceback
    assert len(compute.inserts()) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", CapacityError),
        ("QUOTA_EXCEEDED", QuotaError),
        ("RESOURCE_OPERATION_RATE_EXCEEDED", ThrottledError),
        ("PERMISSIONS_ERROR", UnauthorisedError),
        ("RESOURCE_NOT_FOUND", ConfigError),
        ("INTERNAL_ERROR", UnknownFateError),
    ],
)
def test_what_an_operation_ends_with_is_typed(
    gcp: GcpProvider, compute: FakeCompute, request_for: Request, code: str, kind: type[DrmError]
) -> None:
    compute.set(fail=(code, f"it failed {TOKEN}"), waits=1)
    with pytest.raises(DrmError, match=f"create worker w1.*{code}: it failed") as caught:
        gcp.create(asked_of(gcp, request_for))
    assert type(caught.value) is kind
    assert "canary" not in str(caught.value)
    assert type(error_of_operation("", "x")) is UnknownFateError


def test_a_quota_of_the_region_is_a_quota_error(gcp: GcpProvider, compute: FakeCompute, request_for: Request) -> None:
    compute.set(quota_cpus=2)
    gcp.create(asked_of(gcp, request_for))
    with pytest.raises(QuotaError, match=r"Quota 'CPUS' exceeded.*ask Google"):
        gcp.create(asked_of(gcp, request_for, "w2"))
    assert len(gcp.list_instances()) == 1


@pytest.mark.parametrize("fault", ["lose_answer", "garbage"])
def test_after_a_lost_answer_the_same_request_finds_the_first_instance(
    gcp_with: Make, compute: FakeCompute, request_for: Request, fault: str
) -> None:
    provider = gcp_with()
    compute.set(**{fault: 1})  # type: ignore[arg-type]
    asked = asked_of(provider, request_for)
    with pytest.raises(UnknownFateError) as caught:
        provider.create(asked)
    assert "canary" not in str(caught.value)
    (made,) = gcp_with().list_instances()
    assert made.tag("drm-operation") == "r/w1"
    assert provider.create(asked).instance_id == made.instance_id
    assert len(provider.list_instances()) == 1


def test_the_request_id_holds_where_the_instance_is_not_shown_yet(
    gcp: GcpProvider, compute: FakeCompute, request_for: Request
) -> None:
    compute.set(lose_answer=1)
    with pytest.raises(UnknownFateError):
        gcp.create(asked_of(gcp, request_for))
    compute.unseen = 2
    gcp.create(asked_of(gcp, request_for))
    first, second = (call.query["requestId"] for call in compute.inserts())
    assert first == second
    assert len(gcp.list_instances()) == 1


def test_after_a_lost_request_there_is_nothing(gcp: GcpProvider, compute: FakeCompute, request_for: Request) -> None:
    compute.set(lose_request=1)
    with pytest.raises(UnknownFateError):
        gcp.create(asked_of(gcp, request_for))
    assert gcp.list_instances() == ()
    gcp.create(asked_of(gcp, request_for))
    assert len(gcp.list_instances()) == 1


def test_an_operation_that_fails_late_is_told_by_the_instance(
    gcp_with: Make, compute: FakeCompute, request_for: Request, clock: Any
) -> None:
    provider = gcp_with(now=clock.now, wait=clock.advance)
    compute.set(fail=("ZONE_RESOURCE_POOL_EXHAUSTED", "none left"), waits=10)
    made = provider.create(asked_of(provider, request_for))
    assert made.state is InstanceState.PENDING
    assert made.worker_id == "w1"
    compute._waiting["operation-1"] = 0
    assert provider.list_instances() == ()
    seen = provider.describe(made.instance_id)
    assert seen.state is InstanceState.GONE
    assert "could not be made (ZONE_RESOURCE_POOL_EXHAUSTED: none left)" in seen.detail


def test_what_is_not_shown_yet_is_there(gcp_with: Make, compute: FakeCompute, request_for: Request, clock: Any) -> None:
    provider = gcp_with(now=clock.now, wait=clock.advance)
    compute.set(waits=100)
    made = provider.create(asked_of(provider, request_for))
    compute.unseen = 1
    assert provider.describe(made.instance_id).worker_id == "w1"
    compute.unseen = 2  # one look a zone
    assert [each.instance_id for each in provider.list_instances()] == [made.instance_id]
    clock.advance(61)
    compute.unseen = 1
    assert provider.describe(made.instance_id).state is InstanceState.GONE


def test_one_that_has_stopped_is_deleted_by_who_made_it(
    gcp_with: Make, compute: FakeCompute, request_for: Request
) -> None:
    provider, other = gcp_with(), gcp_with()
    made = provider.create(asked_of(provider, request_for))
    compute.become(made.instance_id, "TERMINATED")
    assert [each.state for each in other.list_instances()] == [InstanceState.TERMINATING]
    provider.list_instances()
    provider.list_instances()
    assert provider.list_instances() == ()
    assert compute.instances == {}


def test_a_preemption_is_noticed(gcp: GcpProvider, compute: FakeCompute, request_for: Request) -> None:
    made = gcp.create(asked_of(gcp, request_for, worker_type=offered(gcp, market="spot")))
    assert gcp.describe(made.instance_id).notice == ""
    compute.become(made.instance_id, "STOPPING")
    assert gcp.describe(made.instance_id).notice == "spot preemption: it is being stopped"


def test_a_zone_that_does_not_answer_hides_nothing(
    gcp: GcpProvider, compute: FakeCompute, request_for: Request
) -> None:
    gcp.create(asked_of(gcp, request_for))
    compute.unreachable = GCP_ZONES[1]
    with pytest.raises(DrmError, match=f"{GCP_ZONES[1]} does not answer"):
        gcp.list_instances()


def test_an_unlabelled_instance_is_none_of_ours(gcp: GcpProvider, compute: FakeCompute) -> None:
    other = compute.make_untagged()
    assert gcp.list_instances() == ()
    for method in (gcp.describe, gcp.terminate):
        with pytest.raises(LostError, match=other):
            method(other)
    assert len(compute.instances) == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image": "projects/x/global/images/absent"}, r"create worker w1.*images/absent.*was not found"),
        ({"bootstrap": "x" * 300_000}, "bytes of at most 262,144"),
    ],
)
def test_what_cannot_be_is_a_config_error(
    gcp_with: Make, request_for: Request, change: dict[str, Any], match: str
) -> None:
    provider = gcp_with(**change)
    with pytest.raises(ConfigError, match=match):
        provider.create(asked_of(provider, request_for))
    assert provider.list_instances() == ()


def test_unknown_types_and_zones_are_config_errors(gcp: GcpProvider, request_for: Request) -> None:
    capacity = offered(gcp).capacity
    for name, zone, match in (("m99-huge", GCP_ZONES[0], "m99-huge"), ("n2-standard-2", "moon-a", "zones/moon-a")):
        kind = WorkerType(name=name, capacity=capacity, provider="gcp", zone=zone)
        gcp._types = (kind,)
        with pytest.raises(ConfigError, match=match):
            gcp.create(request_for("w1", worker_type=kind, token="t"))


def test_a_secret_is_refused_before_anything_is_asked(
    gcp: GcpProvider, compute: FakeCompute, request_for: Request
) -> None:
    with pytest.raises(ConfigError, match="API_TOKEN") as caught:
        gcp.create(asked_of(gcp, request_for, environment=(("API_TOKEN", "canary-value"),)))
    assert "canary" not in str(caught.value)
    assert compute.calls == []


def test_wrong_and_missing_credentials_are_one_line(
    compute: FakeCompute, gcp_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.oauth2.credentials import Credentials

    given = {"provider": "gcp", "project": PROJECT, "endpoint": compute.url}
    wrong = gcp_with(compute=Compute(**given, credentials=Credentials(token="canary-wrong")))
    with pytest.raises(UnauthorisedError, match=r"check the credentials|gcloud auth") as caught:
        wrong.list_instances()
    assert "canary" not in str(caught.value)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent.json")
    with pytest.raises(UnauthorisedError, match="gcloud auth application-default login") as caught:
        Compute(**given)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_was_not_asked(gcp_with: Make, request_for: Request) -> None:
    from google.oauth2.credentials import Credentials

    away = Compute(
        provider="gcp",
        project=PROJECT,
        endpoint="http://127.0.0.1:9",
        credentials=Credentials(token=TOKEN),
        timeout_s=1.0,
    )
    provider = gcp_with(compute=away)
    with pytest.raises(LostError, match="check the network") as caught:
        provider.create(asked_of(provider, request_for))
    assert not isinstance(caught.value, MissingError)


def test_an_end_that_does_not_come_is_told(
    gcp_with: Make, compute: FakeCompute, request_for: Request, clock: Any
) -> None:
    provider = gcp_with(now=clock.now, wait=clock.advance, gone_s=10.0)
    compute.lingers = 1000
    made = provider.create(asked_of(provider, request_for))
    with pytest.raises(DrmError, match="has not ended 10 s after"):
        provider.terminate(made.instance_id)
