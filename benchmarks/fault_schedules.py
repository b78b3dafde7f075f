"""Whole runs in virtual time on a cloud that fails in every way: is anything lost, overspent, killed or stuck?

    python -m benchmarks.fault_schedules [--schedules 10000] [--first 0] [--jobs N] [--json]

A schedule is a seed. It says of every create whether it succeeds, is refused (no capacity, quota, throttled), is lost
on the way, or is carried out with a lost answer; of every machine whether it boots, when, and when it dies; how often
lists fail; and at which step of the journal or the cloud the controller is killed (SIGKILL: nothing that it would still
do is done). The coordinator, pool, provider manager, budget, journal and reaper are the real ones. After a kill another
controller reconciles and runs the suite again. Counted, over all schedules:

- leaked: machines that are there when every controller has ended and the reaper has been round;
- over budget, over maximum: moments at which a controller had committed more, or had more machines, than it may;
- busy killed: machines that were ended while a test ran on them, by anybody but the fault itself;
- stuck: runs that went on for ever, or ended with a test that has no outcome and without an error that says why.

Exit code 1 where any of them is not 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.budget import Budget
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.reaping import reap
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, DrmError, LostError, QuotaError, ThrottledError, UnknownFateError
from drm.model.observations import Observation
from drm.model.resources import Resources
from drm.simulator import Scenario, Simulation, scenario_of
from drm.simulator.acts import VirtualClock
from drm.simulator.engine import SimulatedEngine
from drm.simulator.scenario import WorkerSpec

LEASE_S, WORKERS, CONTROLLERS = 7200.0, 4, 3
STUCK_S = 12 * 3600.0  # of virtual time
PRICES = {"small": 0.5, "large": 1.0}
ZONES, MARKETS = ("z-1a", "z-1b"), ("spot", "on-demand")
REFUSALS: dict[str, type[DrmError]] = {"capacity": CapacityError, "quota": QuotaError, "throttled": ThrottledError}
FAULTS = (
    *REFUSALS,
    "request lost",
    "answer lost",
    "killed before",
    "killed after",
    "killed at intent",
    "killed at note",
)


KINDS = ("leaked", "over_budget", "over_maximum", "busy_killed", "stuck")


class Killed(BaseException):
    """SIGKILL of the controller."""


def types() -> tuple[WorkerType, ...]:
    return tuple(
        WorkerType(
            name=name,
            capacity=Resources(cpu_cores=1 + (name == "large"), memory_bytes=2**32),
            usd_per_hour=price * (0.4 if market == "spot" else 1.0),
            provider="cloud",
            zone=zone,
            market=market,
        )
        for name, price in PRICES.items()
        for market in MARKETS
        for zone in ZONES
    )


@dataclass
class Machine:
    instance: Instance
    usd_per_hour: float
    owner: str
    since_s: float
    ended_s: float | None = None


@dataclass
class Found:
    """What went wrong in a schedule, and what happened in it."""

    seed: int
    leaked: int = 0
    over_budget: int = 0
    over_maximum: int = 0
    busy_killed: int = 0
    stuck: int = 0
    happened: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        return not any(getattr(self, name) for name in KINDS)


class Cloud:
    """Implements ``drm.ports.CloudProvider``; it outlives controllers. A token makes one machine."""

    name = "cloud"

    def __init__(self, chance: random.Random, clock: VirtualClock, found: Found) -> None:
        self.found = found
        self._chance = chance
        self._clock = clock
        self.rate = chance.choice((0.0, 0.1, 0.3, 0.6))  # of creates that go wrong
        self.list_rate = chance.choice((0.0, 0.0, 0.05, 0.3))
        self.boot_rate = chance.choice((0.0, 0.1, 0.4))  # of machines that never boot
        self.life_s = chance.choice((None, None, 400.0, 1500.0))
        self.machines: dict[str, Machine] = {}
        self.engine: SimulatedEngine | None = None
        self.budget_usd = 0.0
        self.next_kill = ""

    def draw(self) -> str:
        return self._chance.choice(FAULTS) if self._chance.random() < self.rate else ""

    def create(self, request: InstanceRequest) -> Instance:
        fault = self.draw()
        self.found.happened[fault or "created"] += 1
        # What a token has made is not refused for want of anything (the contract of ``CloudProvider.create``).
        if fault in REFUSALS and (fault == "throttled" or request.token not in self.machines):
            raise REFUSALS[fault](f"the schedule says {fault}")
        if fault == "request lost":
            raise UnknownFateError("the request was lost")
        if fault == "killed before":
            raise Killed
        machine = self.machines.get(request.token) or self._made(request)
        if fault == "answer lost":
            raise UnknownFateError("the answer was lost")
        if fault == "killed after":
            raise Killed
        return machine.instance

    def _made(self, request: InstanceRequest) -> Machine:
        instance = Instance(
            instance_id=f"i-{len(self.machines)}",
            worker_id=request.worker_id,
            worker_type=request.worker_type.name,
            provider=self.name,
            state=InstanceState.RUNNING,
            tags=(*request.tags, ("drm-managed", "1"), ("drm-operation", request.token)),
            created_at=self._clock.utc().timestamp(),
        )
        machine = Machine(
            instance, request.worker_type.usd_per_hour, instance.tag("drm-owner"), since_s=self._clock.now()
        )
        self.machines[request.token] = machine
        self._check(machine.owner)
        engine = self.engine
        assert engine is not None
        if self._chance.random() < self.boot_rate:
            self.found.happened["never boots"] += 1
        else:
            boot_s = self._chance.uniform(20.0, 90.0)
            engine.join(request.worker_id, request.worker_type, boot_s)
            if self.life_s is not None:
                engine.at(boot_s + self._chance.expovariate(1 / self.life_s), lambda: self._die(machine, engine))
        return machine

    def _die(self, machine: Machine, engine: SimulatedEngine) -> list[Observation]:
        if machine.ended_s is not None:
            return []
        self.found.happened["died"] += 1
        machine.ended_s = self._clock.now()
        return engine.lose(machine.instance.worker_id, "its machine died")

    def _check(self, owner: str) -> None:
        """Look at the caps of a controller: whenever there is one more machine is when they can be passed."""
        mine = [each for each in self.machines.values() if each.owner == owner]
        self.found.over_maximum += sum(each.ended_s is None for each in mine) > WORKERS
        until_s = [each.since_s + LEASE_S if each.ended_s is None else each.ended_s for each in mine]
        spent = [each.usd_per_hour * (end_s - each.since_s) / 3600 for each, end_s in zip(mine, until_s, strict=True)]
        self.found.over_budget += sum(spent) > self.budget_usd + 1e-9

    def terminate(self, instance_id: str) -> None:
        machine = self._machine(instance_id)
        if machine.ended_s is not None:
            return
        worker_id, engine = machine.instance.worker_id, self.engine
        if engine is not None and not engine.closed and engine.is_busy(worker_id):
            self.found.busy_killed += 1
        if self._chance.random() < self.list_rate:
            raise LostError("the cloud does not answer")
        machine.ended_s = self._clock.now()
        if engine is not None:
            engine.forget(worker_id)

    def _machine(self, instance_id: str) -> Machine:
        found = next((each for each in self.machines.values() if each.instance.instance_id == instance_id), None)
        if found is None:
            raise LostError(f"there is no {instance_id}")
        return found

    def describe(self, instance_id: str) -> Instance:
        machine = self._machine(instance_id)
        state = InstanceState.RUNNING if machine.ended_s is None else InstanceState.GONE
        return replace(machine.instance, state=state)

    def list_instances(self) -> tuple[Instance, ...]:
        if self._chance.random() < self.list_rate:
            raise ThrottledError("too many calls")
        return tuple(each.instance for each in self.machines.values() if each.ended_s is None)

    def offerings(self) -> tuple[WorkerType, ...]:
        return types()

    def available(self) -> Resources:
        return Resources(cpu_cores=1000, memory_bytes=2**50)


class KillingJournal(Journal):
    """A journal at whose steps the controller can be killed."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(Path(":memory:"))
        self._cloud = cloud

    def asked(self, request: InstanceRequest, *, run_id: str, at: float) -> None:
        self._maybe("killed at intent", before=True)
        super().asked(request, run_id=run_id, at=at)
        self._maybe("killed at intent", before=False)

    def made(self, token: str, instance_id: str) -> None:
        self._maybe("killed at note", before=True)
        super().made(token, instance_id)
        self._maybe("killed at note", before=False)

    def closed(self, token: str, outcome: str, *, at: float) -> None:
        super().closed(token, outcome, at=at)

    def _maybe(self, step: str, *, before: bool) -> None:
        cloud = self._cloud
        if cloud.next_kill == f"{step} {before}":
            cloud.next_kill = ""
            raise Killed


def run_schedule(seed: int) -> Found:
    """Run one schedule, controllers and all."""
    chance = random.Random(seed)
    found, clock = Found(seed), VirtualClock()
    cloud = Cloud(chance, clock, found)
    cloud.budget_usd = chance.choice((2.0, 6.0, 20.0))
    journal = KillingJournal(cloud)
    alive: dict[str, bool] = {}
    tests = chance.randint(1, 16)
    for number in range(CONTROLLERS):
        owner = f"controller{number}"
        alive[owner] = True
        if chance.random() < 0.3:
            cloud.next_kill = f"{chance.choice(('killed at intent', 'killed at note'))} {chance.random() < 0.5}"
        ended = _run_controller(owner, cloud, journal, clock, alive, tests, seed)
        alive[owner] = False
        if cloud.engine is not None:
            cloud.engine = None
        if ended:
            break
        found.happened["controller killed"] += 1
    cloud.list_rate = 0.0
    clock.advance(LEASE_S)
    reap([cloud], clock=clock, alive=alive.get, wait=_waiting(clock), journal=journal)
    found.leaked += sum(each.ended_s is None for each in cloud.machines.values()) + len(journal.open_entries())
    journal.close()
    return found


def _waiting(clock: VirtualClock) -> Callable[[float], None]:
    def wait(seconds: float) -> None:
        clock.advance(seconds)

    return wait


def _run_controller(
    owner: str,
    cloud: Cloud,
    journal: Journal,
    clock: VirtualClock,
    alive: dict[str, bool],
    tests: int,
    seed: int,
) -> bool:
    """Run the suite under one controller; False where it was killed."""

    def providers(engine: SimulatedEngine) -> CloudProviderManager:
        cloud.engine = engine
        creator = Creator(
            clock=clock,
            ownership=Ownership(run_id=owner, owner=owner, lease_s=LEASE_S),
            journal=journal,
            budget=Budget(usd=cloud.budget_usd, workers=WORKERS),
            wait=_waiting(clock),
        )
        manager = CloudProviderManager(clock=clock, creator=creator)
        manager.add_provider(cloud)
        for name in PRICES:
            manager.offer(name, [each for each in types() if each.name == name])
        return manager

    simulation = Simulation(_scenario(seed, tests), providers=providers, clock=clock)
    until_s = clock.now() + STUCK_S
    try:
        simulation.providers.reconcile(alive=alive.get, wait=_waiting(clock))
        simulation.prepare()
        simulation.coordinator.submit(simulation.workload.tasks, simulation.places)
        while not simulation.coordinator.is_done:
            simulation.coordinator.step()
            if clock.now() > until_s:
                cloud.found.stuck += 1
                break
    except Killed:
        return False
    except DrmError as error:  # it is told, with the reason
        cloud.found.happened[f"given up: {type(error).__name__}"] += 1
    try:
        simulation.coordinator.close()
    except Killed:
        return False
    except DrmError as error:  # a machine could not be ended: it is told, and left to the reaper
        cloud.found.happened[f"not ended: {type(error).__name__}"] += 1
    settled = sum(count for _, count in simulation.tally.counts)
    cloud.found.stuck += settled != tests
    return True


def _scenario(seed: int, tests: int) -> Scenario:
    base = scenario_of(
        {
            "seed": seed,
            "workload": {"synthetic": {"tests": tests, "classes": [{"seconds": 40, "sigma": 1.0}]}},
            "workers": [{"memory": "4GiB", "start": 60}],
            "pool": f"0..{WORKERS}",
            "policies": {"scaling": "makespan,boot=60s", "value_of_time": 20},
            "sample": 600,
        },
        where="schedule",
        folder=Path(),
    )
    return replace(base, workers=tuple(WorkerSpec(worker_type=each, start_s=60.0) for each in types()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fault_schedules")
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first one")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    totals: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    dirty = []
    seeds = range(options.first, options.first + options.schedules)
    with multiprocessing.Pool(options.jobs) as pool:
        for found in pool.imap_unordered(run_schedule, seeds, chunksize=20):
            totals.update({name: getattr(found, name) for name in KINDS})
            happened.update(found.happened)
            if not found.is_clean:
                dirty.append(found)
    if options.json:
        rows = [asdict(each) for each in dirty]
        print(json.dumps({"schedules": len(seeds), **totals, "happened": happened, "unclean": rows}))
    else:
        print(f"{len(seeds):,} schedules: {', '.join(f'{totals[name]} {name}'.replace('_', ' ') for name in KINDS)}")
        print(f"happened: {', '.join(f'{count:,} {name}' for name, count in happened.most_common())}")
        for found in sorted(dirty, key=lambda each: each.seed)[:20]:
            print(f"  not clean: {found}")
    return 1 if dirty else 0


if __name__ == "__main__":
    sys.exit(main())
