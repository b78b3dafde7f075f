"""The manager on EC2 with a zone out of capacity, and with answers that are lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_ec2_client import FaultyEc2

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.budget import Budget
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.providers.aws import AwsProvider
from drm.model.cluster import InstanceRequest
from drm.model.errors import CapacityError, UnknownFateError

Request = Callable[..., InstanceRequest]
pytestmark = pytest.mark.drm(group="ec2")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "history.db")
    yield journal
    journal.close()


@pytest.fixture
def manager(clock: Any, aws: AwsProvider, journal: Journal) -> CloudProviderManager:
    own = Ownership(run_id="r1", owner="o", lease_s=3600.0)
    creator = Creator(clock=clock, ownership=own, journal=journal, budget=Budget(usd=5.0), wait=clock.advance)
    manager = CloudProviderManager(clock=clock, creator=creator)
    manager.add_provider(aws)
    return manager


@pytest.fixture
def asked(request_for: Request, aws: AwsProvider) -> InstanceRequest:
    return dataclasses.replace(request_for("w1", token="r1/w1"), worker_type=aws.offerings()[0])


def ways(ec2: FaultyEc2) -> list[tuple[str, str, str]]:
    """Return zone, type and market of each RunInstances."""
    return [
        (
            call["Placement.AvailabilityZone"],
            call["InstanceType"],
            call.get("InstanceMarketOptions.MarketType", "on-demand"),
        )
        for call in ec2.calls()
    ]


def test_a_zone_out_of_capacity_is_gone_round_of_and_left_alone(
    manager: CloudProviderManager, aws: AwsProvider, ec2: FaultyEc2, asked: InstanceRequest, clock: Any
) -> None:
    ec2.set(no_capacity=[["us-east-1a", "", ""]])
    manager.create_worker_somewhere(asked, aws.offerings())
    assert ways(ec2) == [("us-east-1a", "m6i.large", "spot"), ("us-east-1b", "m6i.large", "spot")]
    manager.create_worker_somewhere(dataclasses.replace(asked, worker_id="w2", token="r1/w2"), aws.offerings())
    assert ways(ec2)[2:] == [("us-east-1b", "m6i.large", "spot")]
    manager.terminate_all()
    clock.advance(180.0)
    ec2.set()
    manager.create_worker_somewhere(dataclasses.replace(asked, worker_id="w3", token="r1/w3"), aws.offerings())
    assert ways(ec2) == [("us-east-1a", "m6i.large", "spot")]
    manager.terminate_all()
    assert aws.list_instances() == ()


def test_without_capacity_for_spot_it_is_bought_on_demand(
    manager: CloudProviderManager, aws: AwsProvider, ec2: FaultyEc2, asked: InstanceRequest
) -> None:
    ec2.set(no_capacity=[["us-east-1a", "", "spot"], ["us-east-1b", "", "spot"]])
    offered = [each for each in aws.offerings() if each.name == "m6i.large"]
    manager.create_worker_somewhere(asked, offered)
    assert [market for _, _, market in ways(ec2)] == ["spot", "spot", "on-demand"]


def test_without_any_capacity_it_is_told_at_once(
    manager: CloudProviderManager, aws: AwsProvider, ec2: FaultyEc2, asked: InstanceRequest, journal: Journal
) -> None:
    ec2.set(no_capacity=[["us-east-1a", "", ""], ["us-east-1b", "", ""]])
    offered = [each for each in aws.offerings() if each.name == "m6i.large"]
    with pytest.raises(CapacityError, match=r"none of 4 ways.*InsufficientInstanceCapacity.*opens in 180 s"):
        manager.create_worker_somewhere(asked, offered)
    assert len(ec2.calls()) == 4
    assert journal.open_entries() == ()


def test_a_lost_answer_makes_one_instance_and_tries_no_other_zone(
    manager: CloudProviderManager, aws: AwsProvider, ec2: FaultyEc2, asked: InstanceRequest
) -> None:
    ec2.set(lose_answer=1)
    manager.create_worker_somewhere(asked, aws.offerings())
    assert {zone for zone, _, _ in ways(ec2)} == {"us-east-1a"}
    assert len(ec2.live()) == 1


def test_a_fate_that_stays_unknown_stops_the_search_and_is_found_at_the_end(
    manager: CloudProviderManager, aws: AwsProvider, ec2: FaultyEc2, asked: InstanceRequest, journal: Journal
) -> None:
    refusal = {"code": "InternalError", "status": "500 Internal Server Error", "message": "oops", "times": 99}
    ec2.set(refuse=refusal)
    with pytest.raises(UnknownFateError):
        manager.create_worker_somewhere(asked, aws.offerings())
    assert len(ways(ec2)) == 4
    assert len(set(ways(ec2))) == 1
    assert len(journal.open_entries()) == 1
