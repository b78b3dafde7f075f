"""EC2 beyond the contract: what is sent, what its refusals mean, and answers that are lost."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from faulty_ec2_client import FaultyEc2

from drm.cloud_provider_manager.providers.aws import AwsProvider
from drm.cloud_provider_manager.providers.aws_calls import Ec2
from drm.cloud_provider_manager.providers.aws_errors import error_of_code
from drm.model.cluster import InstanceRequest, WorkerType
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

Request = Callable[..., InstanceRequest]
Make = Callable[..., AwsProvider]
pytestmark = pytest.mark.drm(group="ec2")


def offered(provider: AwsProvider, zone: str = "us-east-1a", market: str = "on-demand") -> WorkerType:
    return next(each for each in provider.offerings() if (each.zone, each.market) == (zone, market))


def user_data_of(call: dict[str, str]) -> str:
    return base64.b64decode(call["UserData"]).decode()


def test_what_is_sent_on_demand(aws_with: Make, ec2: FaultyEc2, request_for: Request) -> None:
    provider = aws_with(bootstrap="pip install project", lease_s=3601.0)
    asked = request_for("w1", worker_type=offered(provider), token="r/w1", environment=(("DRM_X", "a b"),))
    provider.create(asked)
    (call,) = ec2.calls()
    assert call["ClientToken"] == "r/w1"
    assert call["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert (call["Placement.AvailabilityZone"], call["MetadataOptions.HttpTokens"]) == ("us-east-1a", "required")
    assert "InstanceMarketOptions.MarketType" not in call
    assert [call[f"TagSpecification.{n}.ResourceType"] for n in (1, 2)] == ["instance", "volume"]
    lines = user_data_of(call).splitlines()
    assert lines[:2] == ["#!/bin/bash", "shutdown -P +61"]
    assert lines[4] == "pip install project"
    assert lines[-3:-1] == ["export DRM_X='a b'", "export DRM_NOTICES=ec2"]
    assert lines[-1].endswith("'import time; time.sleep(60)'")


def test_what_is_sent_for_spot(aws: AwsProvider, ec2: FaultyEc2, request_for: Request) -> None:
    aws.create(request_for("w1", worker_type=offered(aws, "us-east-1b", "spot")))
    (call,) = ec2.calls()
    assert call["InstanceMarketOptions.MarketType"] == "spot"
    assert call["InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior"] == "terminate"
    assert call["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"


def test_a_zone_without_capacity_is_asked_once_and_another_gives(
    aws: AwsProvider, ec2: FaultyEc2, request_for: Request
) -> None:
    """botocore by itself would ask five times in eight seconds: the error is a server's, with status 500."""
    ec2.set(no_capacity=[["us-east-1a", "", ""]])
    with pytest.raises(CapacityError, match=r"InsufficientInstanceCapacity.*another zone"):
        aws.create(request_for("w1", worker_type=offered(aws)))
    assert len(ec2.calls()) == 1
    assert aws.list_instances() == ()
    aws.create(request_for("w1", worker_type=offered(aws, "us-east-1b")))
    assert len(aws.list_instances()) == 1


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RequestLimitExceeded", "503 Service Unavailable", ThrottledError),
        ("VcpuLimitExceeded", "400 Bad Request", QuotaError),
        ("MaxSpotInstanceCountExceeded", "400 Bad Request", QuotaError),
        ("UnauthorizedOperation", "403 Forbidden", UnauthorisedError),
        ("AuthFailure", "401 Unauthorized", UnauthorisedError),
        ("InvalidParameterValue", "400 Bad Request", ConfigError),
        ("InternalError", "500 Internal Server Error", UnknownFateError),
    ],
)
def test_refusals_are_typed_asked_once_and_show_no_secret(
    aws: AwsProvider, ec2: FaultyEc2, request_for: Request, code: str, status: str, kind: type[DrmError]
) -> None:
    message = "No, not for\nAKIDCANARY with canary-secret-key"
    ec2.set(refuse={"code": code, "status": status, "message": message, "times": 9})
    with pytest.raises(kind) as caught:
        aws.create(request_for("w1", worker_type=offered(aws)))
    said = str(caught.value)
    assert type(caught.value) is kind
    assert code in said
    assert "No, not for" in said
    assert "CANARY" not in said
    assert "canary" not in said
    assert "\n" not in said
    assert caught.value.__cause__ is None  # nor in a traceback
    assert len(ec2.calls()) == 1


@pytest.mark.parametrize("fault", ["lose_answer", "garbage"])
def test_after_a_lost_answer_the_same_request_finds_the_first_instance(
    aws_with: Make, ec2: FaultyEc2, request_for: Request, fault: str
) -> None:
    provider = aws_with()
    ec2.set(**{fault: 1})
    asked = request_for("w1", worker_type=offered(provider), token="r/w1")
    with pytest.raises(UnknownFateError) as caught:
        provider.create(asked)
    assert "canary" not in str(caught.value)
    (made,) = aws_with().list_instances()
    assert made.tag("drm-operation") == "r/w1"
    assert provider.create(asked).instance_id == made.instance_id
    assert len(provider.list_instances()) == 1


def test_the_token_holds_at_ec2_where_its_list_is_late(aws: AwsProvider, ec2: FaultyEc2, request_for: Request) -> None:
    """The instance is not in the list yet, so that only ClientToken keeps a second one from being made."""
    asked = request_for("w1", worker_type=offered(aws), token="r/w1")
    ec2.set(lose_answer=1)
    with pytest.raises(UnknownFateError):
        aws.create(asked)
    ec2.hide(1)
    aws.create(asked)
    assert len(ec2.calls()) == 2
    assert len(aws.list_instances()) == 1


def test_after_a_lost_request_there_is_nothing(aws: AwsProvider, ec2: FaultyEc2, request_for: Request) -> None:
    ec2.set(lose_request=1)
    asked = request_for("w1", worker_type=offered(aws), token="r/w1")
    with pytest.raises(UnknownFateError):
        aws.create(asked)
    assert aws.list_instances() == ()
    aws.create(asked)
    assert len(aws.list_instances()) == 1


def test_what_ec2_does_not_show_yet_is_there(aws_with: Make, ec2: FaultyEc2, request_for: Request, clock: Any) -> None:
    provider = aws_with(now=clock.now)
    made = provider.create(request_for("w1", worker_type=offered(provider)))
    ec2.set(unseen=2)
    assert provider.describe(made.instance_id).worker_id == "w1"
    assert [each.instance_id for each in provider.list_instances()] == [made.instance_id]
    ec2.set(unseen=2)
    clock.advance(61)
    with pytest.raises(LostError):
        provider.describe(made.instance_id)
    assert provider.list_instances() == ()


def test_what_ended_before_it_was_ever_seen_is_not_there(
    aws: AwsProvider, ec2: FaultyEc2, request_for: Request
) -> None:
    ec2.end(aws.create(request_for("w1", worker_type=offered(aws))).instance_id)
    assert aws.list_instances() == ()


def test_an_untagged_instance_is_none_of_ours(aws: AwsProvider, ec2: FaultyEc2) -> None:
    other = ec2.make_untagged()
    assert aws.list_instances() == ()
    for method in (aws.describe, aws.terminate):
        with pytest.raises(LostError, match=other):
            method(other)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image": "ami-0000000000"}, "ami-0000000000"),
        ({"security_groups": ("sg-none",)}, "sg-none"),
        ({"subnets": {"us-east-1a": "subnet-none"}}, "subnet-none"),
        ({"bootstrap": "x" * 20_000}, "bytes of at most 16,384"),
    ],
)
def test_what_cannot_be_is_a_config_error(
    aws_with: Make, request_for: Request, change: dict[str, Any], match: str
) -> None:
    provider = aws_with(**change)
    with pytest.raises(ConfigError, match=match):
        provider.create(request_for("w1", worker_type=offered(provider)))
    assert provider.list_instances() == ()


def test_a_type_that_ec2_has_not_is_a_config_error(aws: AwsProvider, request_for: Request) -> None:
    aws._types = (WorkerType(name="m99.huge", capacity=offered(aws).capacity, provider="aws", zone="us-east-1a"),)
    with pytest.raises(ConfigError, match=r"m99\.huge"):
        aws.create(request_for("w1", worker_type=aws._types[0]))


def test_a_secret_is_refused_before_anything_is_asked(aws: AwsProvider, ec2: FaultyEc2, request_for: Request) -> None:
    asked = request_for("w1", worker_type=offered(aws), environment=(("API_TOKEN", "canary-value"),))
    with pytest.raises(ConfigError, match="API_TOKEN") as caught:
        aws.create(asked)
    assert "canary" not in str(caught.value)
    assert ec2.calls() == []


def test_an_unknown_region_is_told_with_the_known_ones(aws_environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"moon-1.*us-east-1"):
        Ec2(provider="aws", region="moon-1")


def test_no_credentials_are_told_with_where_they_come_from(
    aws_environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UnauthorisedError, match="AWS_PROFILE"):
        Ec2(provider="aws", region="us-east-1")


def test_a_server_that_is_not_there_was_not_asked(
    aws_with: Make, aws_environment: pytest.MonkeyPatch, request_for: Request
) -> None:
    away = Ec2(provider="aws", region="us-east-1", endpoint_url="http://127.0.0.1:9", timeout_s=1.0)
    with pytest.raises(LostError, match="check the network"):
        away.create("create worker w1", ImageId="ami-1", MinCount=1, MaxCount=1)


def test_an_end_that_does_not_come_is_told(aws_with: Make, request_for: Request, clock: Any) -> None:
    class Endless:
        def __init__(self, inner: Ec2) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def terminate(self, what: str, instance_id: str) -> None:
            """EC2 takes the call, and the machine stays."""

    provider = aws_with(now=clock.now, wait=clock.advance, gone_s=10.0)
    made = provider.create(request_for("w1", worker_type=offered(provider)))
    provider._ec2 = Endless(provider._ec2)  # type: ignore[assignment]
    with pytest.raises(DrmError, match="has not ended 10 s after"):
        provider.terminate(made.instance_id)


def test_an_answer_without_a_code_says_nothing() -> None:
    assert type(error_of_code("", 502, "x", creates=True)) is UnknownFateError
    assert type(error_of_code("", 502, "x")) is DrmError
