"""Whatever is called in whatever order: never over capacity, and everything given back is back."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from drm.dynamic_resource_manager import DynamicResourceManager
from drm.model.cluster import WorkerState
from drm.model.errors import CapacityError, ConfigError, UnknownWorkerError
from drm.model.resources import ZERO, Resources, total

AMOUNTS = st.builds(
    Resources,
    cpu_cores=st.sampled_from([0, 0.1, 0.25, 1, 5]) | st.floats(0, 5),
    memory_bytes=st.sampled_from([0, 1, 2**20]) | st.integers(0, 2**40),
    gpus=st.sampled_from([0, 0, 0.333, 1]) | st.floats(0, 2),
)
CAPACITIES = st.builds(
    Resources,
    cpu_cores=st.floats(0.5, 16),
    memory_bytes=st.integers(2**20, 2**41),
    gpus=st.integers(0, 4).map(float),
)


class LedgerMachine(RuleBasedStateMachine):
    """The model is a plain dict: reservation -> (worker, amounts)."""

    workers = Bundle("workers")
    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.manager = DynamicResourceManager()
        self.held: dict[str, tuple[str, Resources]] = {}
        self.states: dict[str, WorkerState] = {}
        self.capacities: dict[str, Resources] = {}
        self.count = 0
        self.now_s = 0.0

    @rule(target=workers, capacity=CAPACITIES)
    def register(self, capacity: Resources) -> str:
        self.count += 1
        worker_id = f"w{self.count}"
        self.manager.register_worker(worker_id, worker_type="t", capacity=capacity, now_s=self.now_s)
        self.states[worker_id] = WorkerState.READY
        self.capacities[worker_id] = capacity
        return worker_id

    @rule(target=reservations, worker_id=workers, amounts=AMOUNTS)
    def reserve(self, worker_id: str, amounts: Resources) -> object:
        self.count += 1
        reservation_id = f"r{self.count}"
        fits = self.states.get(
            worker_id
        ) is WorkerState.READY and worker_id in self.manager.check_resource_availability(amounts)
        if amounts == ZERO and worker_id in self.states:
            with pytest.raises(ConfigError, match="asks for nothing"):
                self.manager.reserve_resources(worker_id, reservation_id, amounts, now_s=self.now_s)
            return multiple()
        if not fits:
            with pytest.raises(CapacityError if worker_id in self.states else UnknownWorkerError):
                self.manager.reserve_resources(worker_id, reservation_id, amounts, now_s=self.now_s)
            return multiple()
        assert amounts.fits_in(self.manager.free(worker_id))
        devices = self.manager.reserve_resources(worker_id, reservation_id, amounts, now_s=self.now_s)
        assert devices == self.manager.reserve_resources(worker_id, reservation_id, amounts, now_s=self.now_s)
        assert len(set(devices)) == len(devices) == math.ceil(amounts.gpus)
        self.held[reservation_id] = (worker_id, amounts)
        return reservation_id

    @rule(reservation_id=consumes(reservations))
    def release(self, reservation_id: str) -> None:
        expected = self.held.pop(reservation_id, None)
        if expected is not None:
            assert self.manager.release_resources(reservation_id, now_s=self.now_s) == expected[1]

    @rule(worker_id=consumes(workers))
    def deregister(self, worker_id: str) -> None:
        mine = [reservation_id for reservation_id, (where, _) in self.held.items() if where == worker_id]
        assert list(self.manager.deregister_worker(worker_id)) == mine
        del self.states[worker_id]
        for reservation_id in mine:
            del self.held[reservation_id]

    @rule(worker_id=workers, share=st.floats(0, 1.2))
    def resize(self, worker_id: str, share: float) -> None:
        if worker_id not in self.states:
            return
        before = self.manager.view(worker_id)
        assert before is not None
        whole = self.capacities[worker_id]
        wanted = Resources(
            cpu_cores=whole.cpu_cores * share,
            memory_bytes=int(whole.memory_bytes * share),
            gpus=before.allocatable.gpus,
        )
        if before.reserved.fits_in(wanted) and wanted.fits_in(whole):
            self.manager.update_worker_resources(worker_id, now_s=self.now_s, allocatable=wanted)
            after = self.manager.view(worker_id)
            assert after is not None
            assert (after.allocatable, after.reserved) == (wanted, before.reserved)
        else:
            with pytest.raises((CapacityError, ConfigError)):
                self.manager.update_worker_resources(worker_id, before.used, now_s=self.now_s, allocatable=wanted)
            assert self.manager.view(worker_id) == before

    @rule(worker_id=workers, state=st.sampled_from([WorkerState.READY, WorkerState.DRAINING, WorkerState.STARTING]))
    def change_state(self, worker_id: str, state: WorkerState) -> None:
        self.manager.set_worker_state(worker_id, state, now_s=self.now_s)
        self.states[worker_id] = state

    @rule(worker_id=workers, used=AMOUNTS, step_s=st.floats(-1, 100))
    def pass_time(self, worker_id: str, used: Resources, step_s: float) -> None:
        self.now_s += step_s
        self.manager.update_worker_resources(worker_id, used, now_s=self.now_s)

    @invariant()
    def reserved_is_the_sum_and_never_over(self) -> None:
        snapshot = self.manager.snapshot(self.now_s)
        assert [worker.worker_id for worker in snapshot.workers] == list(self.states)
        for worker in snapshot.workers:
            mine = [amounts for where, amounts in self.held.values() if where == worker.worker_id]
            assert worker.reserved == total(mine)
            assert worker.reserved.fits_in(worker.allocatable)
            free = self.manager.free(worker.worker_id)
            assert (free.cpu_cores, free.memory_bytes) == (worker.free.cpu_cores, worker.free.memory_bytes)
            assert free.gpus <= worker.free.gpus, "of shared devices no request gets all that is left"
            assert (worker.idle_since_s is None) == bool(mine)

    @invariant()
    def utilization_is_a_share(self) -> None:
        together = self.manager.get_worker_utilization()
        for share in (together.cpu_reserved, together.memory_reserved, together.gpu_reserved):
            assert 0 <= share <= 1 + 1e-9

    def teardown(self) -> None:
        for reservation_id in self.held:
            self.manager.release_resources(reservation_id, now_s=self.now_s)
        for worker in self.manager.snapshot(self.now_s).workers:
            assert worker.free == worker.allocatable


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(stateful_step_count=30)
