"""``drm plan --dry-run`` at EC2: what it would create, and what it would not, without creating anything. And where
machines of a cloud join."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_ec2 import FaultyEc2

from drm.model.cluster import WorkerType
from drm.model.resources import Resources
from drm.provisioning import Machines, check_ways
from drm.run_options import RunOptions, place_of

CAPACITY = Resources(cpu_cores=2, memory_bytes=4 * 2**30)
WAYS = tuple(
    WorkerType(name="c7i.large", capacity=CAPACITY, provider="aws", zone=zone, market=market, usd_per_hour=0.09)
    for market in ("spot", "on-demand")
    for zone in ("us-east-1a", "us-east-1b")
)


def machines(ec2: FaultyEc2, image: str) -> Machines:
    table = {"region": "us-east-1", "image": image, "endpoint": ec2.url}
    whole = Resources(cpu_cores=64, memory_bytes=2**40)
    return Machines(providers=("local", "aws"), tables={"aws": table}, limits={"local": CAPACITY, "aws": whole})


def test_every_way_that_can_be_had_is_told(ec2: FaultyEc2) -> None:
    assert check_ways(machines(ec2, ec2.image), WAYS, capacity=CAPACITY) == dict.fromkeys(WAYS, "")
    assert ec2.live() == []


def test_why_ec2_would_not_is_told_for_each(ec2: FaultyEc2) -> None:
    ec2.set(
        refuse={"code": "UnauthorizedOperation", "status": "403 Forbidden", "message": "no", "dry": True, "times": 4}
    )
    told = check_ways(machines(ec2, ec2.image), WAYS, capacity=CAPACITY)
    assert set(told) == set(WAYS)
    assert all("UnauthorizedOperation" in problem for problem in told.values())
    assert ec2.live() == []


@pytest.mark.parametrize(
    ("coordinator", "host"), [("", ""), ("10.0.0.7:6379", "10.0.0.7"), ("[2001:db8::7]:6379", "2001:db8::7")]
)
def test_machines_join_where_there_is_a_coordinator(coordinator: str, host: str) -> None:
    options = RunOptions(executors=(0, 0), capacity=CAPACITY, rootdir=Path("/project"), coordinator=coordinator)
    place = place_of(options, Path("/run/socket"))
    assert (place.reaches_machines, place.host) == (bool(host), host)
    assert {Path("/project"), Path("/run/socket")} < set(place.folders)
