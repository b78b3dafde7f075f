"""CreateFleet of type instant, and RunInstances asked without doing it."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable

import pytest
from faulty_ec2_client import FaultyEc2

from drm.cloud_provider_manager.providers.aws import AwsProvider
from drm.cloud_provider_manager.providers.aws_fleet import error_of_fleet, fleet_of, template_of
from drm.model.cluster import InstanceRequest, InstanceState
from drm.model.errors import CapacityError, ConfigError, QuotaError, UnauthorisedError, UnknownFateError

Request = Callable[..., InstanceRequest]
Make = Callable[..., AwsProvider]
pytestmark = pytest.mark.drm(group="ec2")


def asked_of(provider: AwsProvider, request_for: Request, market: str = "on-demand") -> InstanceRequest:
    kind = next(each for each in provider.offerings() if each.market == market)
    return request_for("w1", worker_type=kind, token="r/w1")


@pytest.mark.parametrize("market", ["on-demand", "spot"])
def test_a_fleet_makes_one_instance_and_leaves_no_template(
    aws_with: Make, ec2: FaultyEc2, request_for: Request, market: str
) -> None:
    provider = aws_with(fleet=True)
    made = provider.create(asked_of(provider, request_for, market))
    (call,) = ec2.calls()
    assert (call["Action"], call["Type"], call["ClientToken"]) == ("CreateFleet", "instant", "r/w1")
    assert call["LaunchTemplateConfigs.1.Overrides.1.AvailabilityZone"] == "us-east-1a"
    assert call["TargetCapacitySpecification.DefaultTargetCapacityType"] == market
    assert call["TargetCapacitySpecification.TotalTargetCapacity"] == "1"
    assert ("SpotOptions.AllocationStrategy" in call) == (market == "spot")
    assert (made.state, made.worker_id) == (InstanceState.PENDING, "w1")
    (listed,) = aws_with().list_instances()
    assert listed.instance_id == made.instance_id
    assert listed.tag("drm-operation") == "r/w1"
    assert provider.create(asked_of(provider, request_for, market)).instance_id == made.instance_id
    assert ec2.templates() == []
    provider.terminate(made.instance_id)
    assert provider.list_instances() == ()


def test_a_zone_without_capacity_is_told_by_the_answer(aws_with: Make, ec2: FaultyEc2, request_for: Request) -> None:
    provider = aws_with(fleet=True)
    ec2.set(no_capacity=[["us-east-1a", "", "spot"]])
    with pytest.raises(CapacityError, match=r"create worker w1.*InsufficientInstanceCapacity.*another zone"):
        provider.create(asked_of(provider, request_for, "spot"))
    assert len(ec2.calls()) == 1
    assert ec2.templates() == []
    with pytest.raises(CapacityError):
        provider.create(asked_of(provider, request_for, "spot"))
    assert [call["ClientToken"] for call in ec2.calls()] == ["r/w1", "r/w1#1"]  # the first token's answer is fixed
    assert provider.create(asked_of(provider, request_for)).worker_id == "w1"


def test_after_a_lost_answer_the_same_request_finds_the_first_instance(
    aws_with: Make, ec2: FaultyEc2, request_for: Request
) -> None:
    provider = aws_with(fleet=True)
    ec2.set(lose_answer=1)
    with pytest.raises(UnknownFateError):
        provider.create(asked_of(provider, request_for))
    assert len(ec2.templates()) == 1
    ec2.hide(1)
    made = provider.create(asked_of(provider, request_for))
    assert len(ec2.calls()) == 2
    assert ec2.templates() == []
    assert [each.instance_id for each in provider.list_instances()] == [made.instance_id]


def test_a_template_is_what_run_instances_was_to_get() -> None:
    arguments = {
        "ImageId": "ami-1",
        "InstanceType": "m6i.large",
        "MinCount": 1,
        "UserData": "#!/bin/bash",
        "InstanceInitiatedShutdownBehavior": "terminate",
        "InstanceMarketOptions": {},
    }
    data = template_of(arguments)
    assert data == {
        "ImageId": "ami-1",
        "UserData": base64.b64encode(b"#!/bin/bash").decode(),
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    anywhere = fleet_of(arguments, "t", {"a": "subnet-1", "b": "subnet-2"}, "token")
    (config,) = anywhere["LaunchTemplateConfigs"]
    assert [each["SubnetId"] for each in config["Overrides"]] == ["subnet-1", "subnet-2"]


def test_of_several_errors_the_one_that_others_can_help_with_counts() -> None:
    quota, none = {"ErrorCode": "VcpuLimitExceeded"}, {"ErrorCode": "InsufficientInstanceCapacity"}
    assert type(error_of_fleet([quota, none], "t", "s")) is CapacityError
    assert type(error_of_fleet([quota], "t", "s")) is QuotaError
    assert type(error_of_fleet([], "t", "s")) is UnknownFateError


def test_a_dry_run_makes_nothing_and_says_what_is_wrong(aws_with: Make, ec2: FaultyEc2, request_for: Request) -> None:
    provider = aws_with()
    provider.check(asked_of(provider, request_for))
    assert ec2.live() == []
    assert ec2.calls() == []
    moon = dataclasses.replace(provider.offerings()[0], name="moon")
    with pytest.raises(ConfigError, match="has no worker type 'moon"):
        provider.check(request_for("w1", worker_type=moon))
    ec2.set(refuse={"code": "UnauthorizedOperation", "status": "403 Forbidden", "message": "no", "dry": True})
    with pytest.raises(UnauthorisedError, match=r"check worker w1.*UnauthorizedOperation"):
        provider.check(asked_of(provider, request_for))
