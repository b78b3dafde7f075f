"""How workers are bought where there are several ways, what follows where there are none; the start after a crash."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.budget import Budget, BudgetError
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.policy import ExhaustedError, Policy, in_order
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, ConfigError, DuplicateError
from drm.model.resources import Resources

ONE = Resources(cpu_cores=1)
WAYS = tuple(
    WorkerType(name="small", capacity=ONE, usd_per_hour=1.0, provider="cloud", zone=zone, market=market)
    for market, zone in itertools.product(("spot", "on-demand"), ("z-1a", "z-1b"))
)
LOCAL = WorkerType(name="small", capacity=ONE)


class Cloud:
    """Has no capacity in ``closed`` markets."""

    def __init__(self, name: str, types: tuple[WorkerType, ...]) -> None:
        self.name = name
        self.types = types
        self.closed: set[str] = set()
        self.made: list[Instance] = []
        self.lists = 0

    def create(self, request: InstanceRequest) -> Instance:
        if request.worker_type.market in self.closed:
            raise CapacityError(f"no {request.worker_type.market} in {request.worker_type.zone}")
        tags = (*request.tags, ("drm-managed", "1"), ("drm-operation", request.token))
        made = Instance(
            instance_id=f"{self.name}-{len(self.made)}",
            worker_id=request.worker_id,
            worker_type=request.worker_type.name,
            provider=self.name,
            state=InstanceState.RUNNING,
            tags=tags,
            created_at=0.0,
        )
        self.made.append(made)
        return made

    def terminate(self, instance_id: str) -> None:
        self.made = [
            dataclasses.replace(each, state=InstanceState.GONE) if each.instance_id == instance_id else each
            for each in self.made
        ]

    def describe(self, instance_id: str) -> Instance:
        return next(each for each in self.made if each.instance_id == instance_id)

    def list_instances(self) -> tuple[Instance, ...]:
        self.lists += 1
        return tuple(each for each in self.made if each.state is not InstanceState.GONE)

    def offerings(self) -> tuple[WorkerType, ...]:
        return self.types

    def available(self) -> Resources:
        return Resources(cpu_cores=99)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud("cloud", WAYS)


@pytest.fixture
def make(clock: Any, cloud: Cloud) -> Callable[..., CloudProviderManager]:
    def make(policy: Policy, **more: Any) -> CloudProviderManager:
        creator = Creator(clock=clock, ownership=Ownership(run_id="r", owner="me"), wait=clock.advance, **more)
        manager = CloudProviderManager(clock=clock, creator=creator, policy=policy)
        manager.add_provider(cloud)
        manager.offer("small", WAYS)
        return manager

    return make


def asked(worker: str) -> InstanceRequest:
    return InstanceRequest(worker_id=worker, worker_type=WAYS[0], command=("x",), token=f"r/{worker}")


def markets(manager: CloudProviderManager) -> list[str]:
    return [manager.type_of(each.worker_id).market for each in manager.instances()]


def test_the_floor_is_bought_on_demand_first_and_again_when_it_sinks(
    make: Callable[..., CloudProviderManager],
) -> None:
    manager = make(Policy(on_demand_floor=2))
    for n in range(4):
        manager.create_worker(asked(f"w{n}"))
    assert markets(manager) == ["on-demand", "on-demand", "spot", "spot"]
    manager.terminate_worker("w0")
    manager.create_worker(asked("w9"))
    assert markets(manager) == ["on-demand", "spot", "spot", "on-demand"]


def test_without_on_demand_a_spot_machine_is_better_than_none(
    make: Callable[..., CloudProviderManager], cloud: Cloud
) -> None:
    cloud.closed = {"on-demand"}
    manager = make(Policy(on_demand_floor=1))
    manager.create_worker(asked("w0"))
    assert markets(manager) == ["spot"]
    assert in_order(WAYS, Policy(), ()) == WAYS


def test_when_all_is_closed_for_long_a_deadline_error_says_why(
    make: Callable[..., CloudProviderManager], cloud: Cloud, clock: Any
) -> None:
    manager = make(Policy(patience_s=600.0))
    cloud.closed = {"spot", "on-demand"}
    with pytest.raises(CapacityError, match="none of 4 ways") as caught:
        manager.create_worker(asked("w0"))
    assert not isinstance(caught.value, ExhaustedError)
    assert manager.open_ways(WAYS) == ()
    clock.advance(599.0)
    with pytest.raises(CapacityError) as caught:
        manager.create_worker(asked("w0"))
    assert not isinstance(caught.value, ExhaustedError)
    clock.advance(1.0)
    with pytest.raises(ExhaustedError, match=r"no worker could be had for 600 s .*deadline is 600 s.*no spot in z-1a"):
        manager.create_worker(asked("w0"))
    clock.advance(1500.0)
    cloud.closed = set()
    manager.create_worker(asked("w0"))
    clock.advance(1500.0)
    cloud.closed = {"spot", "on-demand"}
    with pytest.raises(CapacityError) as caught:  # it begins anew
        manager.create_worker(asked("w1"))
    assert not isinstance(caught.value, ExhaustedError)


def test_when_all_is_closed_local_workers_come_where_they_are_allowed(
    make: Callable[..., CloudProviderManager], cloud: Cloud
) -> None:
    manager = make(Policy(local=(LOCAL,), patience_s=0.0))
    here = Cloud("local", (LOCAL,))
    manager.add_provider(here)
    cloud.closed = {"spot", "on-demand"}
    made = manager.create_worker(asked("w0"))
    assert made.provider == "local"
    assert manager.create_worker(asked("w0")) == made
    here.closed = {"on-demand"}
    with pytest.raises(ExhaustedError):
        manager.create_worker(asked("w1"))
    with pytest.raises(DuplicateError):
        manager.create_worker(dataclasses.replace(asked("w0"), command=("y",)))


def test_a_budget_that_is_spent_is_no_capacity_and_is_told(make: Callable[..., CloudProviderManager]) -> None:
    manager = make(Policy(patience_s=0.0), budget=Budget(usd=0.5))
    with pytest.raises(ExhaustedError, match=r"committed") as caught:
        manager.create_worker(asked("w0"))
    assert not isinstance(caught.value, BudgetError)


@pytest.mark.parametrize("given", [{"on_demand_floor": -1}, {"patience_s": -1.0}, {"patience_s": float("nan")}])
def test_a_policy_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Policy(**given)


def test_a_cloud_is_asked_for_its_list_no_more_often_than_it_likes(clock: Any, cloud: Cloud) -> None:
    manager = CloudProviderManager(clock=clock)
    manager.add_provider(cloud, look_every_s=5.0)
    manager.create_worker(asked("w0"))
    for _ in range(40):
        manager.poll_lost()
        clock.advance(0.25)
    assert cloud.lists == 2


# -- the start after a crash


def left(cloud: Cloud, worker: str, owner: str) -> Instance:
    tags = (("drm-owner", owner), ("drm-expires", "4000000000"))
    return cloud.create(dataclasses.replace(asked(worker), tags=tags))


def test_the_next_start_ends_what_is_left_and_takes_in_what_is_its_own(
    make: Callable[..., CloudProviderManager], cloud: Cloud, clock: Any, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "history.db")
    for worker in ("w1", "w2"):  # the second was asked for, and the controller died before the answer
        journal.asked(asked(worker), run_id="before", at=0.0)
    journal.made("r/w1", left(cloud, "w1", "dead").instance_id)
    left(cloud, "w2", "dead")
    others = left(cloud, "w3", "other")
    own = left(cloud, "w4", "me")
    clock.advance(400.0)
    manager = make(Policy(), journal=journal, budget=Budget(usd=2.5))
    done = manager.reconcile(alive={"dead": False, "other": True, "me": True}.get, wait=clock.advance)
    assert sorted(each.outcome for each in done.findings) == ["ended", "ended", "kept", "kept"]
    assert {each.instance_id for each in cloud.list_instances()} == {others.instance_id, own.instance_id}
    assert journal.open_entries() == ()
    assert [each.worker_id for each in manager.instances()] == ["w4"]
    with pytest.raises(CapacityError, match=r"2\.0000 of 2\.5000 USD are committed"):  # it counts
        manager.create_worker(asked("w5"))
    manager.terminate_all()
    assert [each.instance_id for each in cloud.list_instances()] == [others.instance_id]
    journal.close()
