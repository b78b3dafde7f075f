"""Random schedules of faults: whatever is lost, refused or killed, nothing leaks and no cap is passed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.budget import Budget
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.reaping import reap
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    LostError,
    QuotaError,
    ThrottledError,
    UnknownFateError,
)
from drm.model.resources import Resources
from drm.simulator.acts import VirtualClock

LEASE_S, USD, WORKERS = 3600.0, 5.0, 4
TYPES = tuple(
    WorkerType(
        name=name, capacity=Resources(cpu_cores=1), usd_per_hour=price, provider="cloud", zone=zone, market=market
    )
    for name, price in (("small", 1.0), ("large", 2.0))
    for market in ("spot", "on-demand")
    for zone in ("z-1a", "z-1b")
)
REFUSALS = {"capacity": CapacityError, "quota": QuotaError, "throttled": ThrottledError, "config": ConfigError}
FAULTS = [
    *("fine", "fine", "fine", "lost request", "lost answer", *REFUSALS),
    *("killed before", "killed after", "killed at journal", "killed at journal's end"),
]


class Killed(BaseException):
    """SIGKILL of the controller: nothing that it would still do is done."""


class FaultyCloud:
    """A cloud that honours tokens, with one fault for each call of ``create``."""

    name = "cloud"

    def __init__(self, faults: list[str], clock: VirtualClock) -> None:
        self.faults = faults
        self.made: dict[str, Instance] = {}
        self._clock = clock

    def create(self, request: InstanceRequest) -> Instance:
        fault = self.faults.pop(0) if self.faults else "fine"
        if fault in REFUSALS:
            raise REFUSALS[fault](fault)
        if fault == "lost request":
            raise UnknownFateError(fault)
        if fault == "killed before":
            raise Killed
        instance = self.made.setdefault(request.token, self._instance(request))
        if fault == "lost answer":
            raise UnknownFateError(fault)
        if fault == "killed after":
            raise Killed
        return instance

    def _instance(self, request: InstanceRequest) -> Instance:
        return Instance(
            instance_id=f"i-{len(self.made)}",
            worker_id=request.worker_id,
            worker_type=request.worker_type.name,
            provider=self.name,
            state=InstanceState.RUNNING,
            tags=(*request.tags, ("drm-managed", "1"), ("drm-operation", request.token)),
            created_at=self._clock.utc().timestamp(),
        )

    def terminate(self, instance_id: str) -> None:
        token = next((token for token, each in self.made.items() if each.instance_id == instance_id), None)
        if token is None:
            raise LostError(instance_id)
        self.made[token] = dataclasses.replace(self.made[token], state=InstanceState.GONE)

    def describe(self, instance_id: str) -> Instance:
        return next(each for each in self.made.values() if each.instance_id == instance_id)

    def list_instances(self) -> tuple[Instance, ...]:
        return tuple(each for each in self.made.values() if each.state is not InstanceState.GONE)

    def offerings(self) -> tuple[WorkerType, ...]:
        return TYPES

    def available(self) -> Resources:
        return Resources(cpu_cores=99)


class KilledJournal(Journal):
    """A journal whose controller can be killed at its steps. ``step``: where next; empty for nowhere."""

    step = ""

    def asked(self, request: InstanceRequest, **more: Any) -> None:
        if self.step == "killed at journal":
            self.step = ""
            raise Killed
        super().asked(request, **more)

    def made(self, token: str, instance_id: str) -> None:
        if self.step == "killed at journal's end":
            self.step = ""
            raise Killed
        super().made(token, instance_id)


class World:
    """A cloud, and one controller after another."""

    def __init__(self, faults: list[str]) -> None:
        self.clock = VirtualClock()
        self.cloud = FaultyCloud([], self.clock)
        self.faults = faults
        self.journal = KilledJournal(Path(":memory:"))
        self.alive: dict[str, bool] = {}
        self.start()

    def start(self) -> None:
        self.owner = f"owner{len(self.alive)}"
        self.alive[self.owner] = True
        self.creator = Creator(
            clock=self.clock,
            ownership=Ownership(run_id=self.owner, owner=self.owner, lease_s=LEASE_S),
            journal=self.journal,
            budget=Budget(usd=USD, workers=WORKERS),
            wait=self.clock.advance,
        )
        self.manager = CloudProviderManager(clock=self.clock, creator=self.creator)
        self.manager.add_provider(self.cloud)
        self.manager.reconcile(alive=self.alive.get, wait=self.clock.advance)
        assert all(self.alive[each.tag("drm-owner")] for each in self.cloud.list_instances())
        self.workers: list[str] = []

    def ask(self) -> None:
        """Ask for a worker; what kills the controller lets the next one start."""
        fault = self.faults.pop(0) if self.faults else "fine"
        if fault.startswith("killed at"):
            self.journal.step = fault
        else:
            # A fault of the network lasts for four questions half of the time: then the fate stays unknown.
            self.cloud.faults = [fault] * (4 if fault.startswith("lost") and len(self.faults) % 2 else 1)
        worker = f"{self.owner}-w{len(self.workers)}"
        asked = InstanceRequest(worker_id=worker, worker_type=TYPES[0], command=("x",), token=worker)
        self.workers.append(worker)
        try:
            self.manager.create_worker_somewhere(asked, TYPES)
        except DrmError:
            pass
        except Killed:
            self.alive[self.owner] = False
            self.start()

    def end(self) -> None:
        live = self.manager.instances()
        if live:
            self.manager.terminate_worker(live[0].worker_id)

    def reap(self) -> None:
        listed = self.cloud.list_instances()
        before = {each.instance_id for each in listed if self.alive[each.tag("drm-owner")]}
        reap([self.cloud], clock=self.clock, alive=self.alive.get, wait=self.clock.advance, journal=self.journal)
        left = {each.instance_id for each in self.cloud.list_instances()}
        assert before <= left, "an instance of a living controller was ended"

    def check(self) -> None:
        """No cap is passed by any controller, no worker has two instances, and what lives is in the journal."""
        live = self.cloud.list_instances()
        assert len({each.worker_id for each in live}) == len(live)
        prices = {each.name: each.usd_per_hour for each in TYPES}
        for owner in self.alive:
            mine = [each for each in live if each.tag("drm-owner") == owner]
            assert len(mine) <= WORKERS
            assert sum(prices[each.worker_type] for each in mine) * LEASE_S / 3600 <= USD
        entries = {each.token for each in self.journal.open_entries()}
        assert {each.tag("drm-operation") for each in live} <= entries


@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=20),
    acts=st.lists(st.sampled_from(["ask", "ask", "ask", "end", "reap", "wait", "outlive"]), max_size=30),
    killed_at_last=st.booleans(),
)
def test_nothing_leaks_and_no_cap_is_passed(faults: list[str], acts: list[str], killed_at_last: bool) -> None:
    world = World(faults)
    for act in acts:
        if act in ("wait", "outlive"):
            world.clock.advance(200.0 if act == "wait" else LEASE_S + 100.0)
        else:
            getattr(world, act)()
        world.check()
    if killed_at_last:
        world.alive[world.owner] = False
    else:
        world.manager.terminate_all()
        assert not [each for each in world.cloud.list_instances() if each.tag("drm-owner") == world.owner]
        world.alive[world.owner] = False
    world.clock.advance(400.0)  # longer than the grace for what a list may show late
    world.reap()
    assert world.cloud.list_instances() == ()
    assert world.journal.open_entries() == ()
    world.journal.close()
