"""Workers, reservations, and what happens to impossible requests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drm.dynamic_resource_manager import DynamicResourceManager
from drm.model.cluster import WorkerState, WorkerView
from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    DuplicateError,
    LostError,
    UnknownTaskError,
    UnknownWorkerError,
)
from drm.model.resources import ZERO, Resources

GIB = 2**30
CAPACITY = Resources(cpu_cores=4, memory_bytes=8 * GIB, gpus=1)


@pytest.fixture
def manager() -> DynamicResourceManager:
    manager = DynamicResourceManager()
    manager.register_worker("w1", worker_type="cpu", capacity=CAPACITY, labels=frozenset({"db"}), now_s=1.0)
    return manager


def cpu(cores: float) -> Resources:
    return Resources(cpu_cores=cores)


def test_a_registered_worker_is_ready_idle_and_free(manager: DynamicResourceManager) -> None:
    (view,) = manager.snapshot(2.0).workers
    assert view.state is WorkerState.READY
    assert (view.ready_at_s, view.idle_since_s) == (1.0, 1.0)
    assert view.free == CAPACITY == manager.free("w1")


def test_reserving_and_releasing_moves_exact_amounts(manager: DynamicResourceManager) -> None:
    amounts = Resources(cpu_cores=0.1, memory_bytes=1, gpus=0.333)
    for number in range(3):
        manager.reserve_resources("w1", f"r{number}", amounts, now_s=2.0)
    (view,) = manager.snapshot(2.0).workers
    assert view.reserved == Resources(cpu_cores=0.3, memory_bytes=3, gpus=0.999)
    assert (view.reservations, view.idle_since_s) == (3, None)
    for number in range(3):
        assert manager.release_resources(f"r{number}", now_s=3.0 + number) == amounts
    (view,) = manager.snapshot(9.0).workers
    assert view.reserved == ZERO
    assert view.idle_since_s == 5.0


def test_a_worker_is_idle_only_when_it_holds_nothing(manager: DynamicResourceManager) -> None:
    manager.reserve_resources("w1", "a", cpu(1), now_s=2.0)
    manager.reserve_resources("w1", "b", cpu(1), now_s=2.0)
    manager.release_resources("a", now_s=3.0)
    assert manager.snapshot(3.0).workers[0].idle_since_s is None
    manager.release_resources("b", now_s=4.0)
    assert manager.snapshot(4.0).workers[0].idle_since_s == 4.0


def test_only_the_allocatable_part_can_be_reserved() -> None:
    manager = DynamicResourceManager()
    manager.register_worker("w", worker_type="t", capacity=CAPACITY, allocatable=cpu(1), now_s=0.0)
    manager.reserve_resources("w", "a", cpu(1), now_s=0.0)
    with pytest.raises(CapacityError, match="1 cpu of 0"):
        manager.reserve_resources("w", "b", cpu(1), now_s=0.0)


def test_the_capacity_error_names_each_amount_that_lacks(manager: DynamicResourceManager) -> None:
    with pytest.raises(CapacityError) as caught:
        manager.reserve_resources("w1", "r", Resources(cpu_cores=5, memory_bytes=9 * GIB, gpus=1), now_s=2.0)
    assert "5 cpu of 4" in str(caught.value)
    assert "9 GiB memory of 8 GiB" in str(caught.value)
    assert "gpu" not in str(caught.value)


def test_the_same_reservation_again_changes_nothing(manager: DynamicResourceManager) -> None:
    manager.reserve_resources("w1", "r", cpu(3), now_s=2.0)
    manager.reserve_resources("w1", "r", cpu(3), now_s=3.0)
    assert manager.free("w1").cpu_cores == 1
    with pytest.raises(DuplicateError, match="holds 3 cpu"):
        manager.reserve_resources("w1", "r", cpu(1), now_s=3.0)


def test_releasing_twice_is_an_error_and_frees_nothing(manager: DynamicResourceManager) -> None:
    manager.reserve_resources("w1", "r", cpu(3), now_s=2.0)
    manager.release_resources("r", now_s=2.0)
    with pytest.raises(UnknownTaskError, match="'r'"):
        manager.release_resources("r", now_s=2.0)
    assert manager.free("w1") == CAPACITY


def test_a_worker_that_leaves_gives_its_reservations_back_in_order(manager: DynamicResourceManager) -> None:
    manager.register_worker("w2", worker_type="cpu", capacity=CAPACITY, now_s=1.0)
    for worker_id, reservation_id in (("w1", "b"), ("w2", "x"), ("w1", "a")):
        manager.reserve_resources(worker_id, reservation_id, cpu(1), now_s=2.0)
    assert manager.deregister_worker("w1") == ("b", "a")
    manager.reserve_resources("w2", "a", cpu(1), now_s=3.0)
    assert manager.free("w2").cpu_cores == 2
    with pytest.raises(UnknownTaskError):
        manager.release_resources("b", now_s=3.0)


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.DRAINING, WorkerState.GONE])
def test_nothing_is_reserved_on_a_worker_that_is_not_ready(manager: DynamicResourceManager, state: WorkerState) -> None:
    manager.reserve_resources("w1", "before", cpu(1), now_s=2.0)
    manager.set_worker_state("w1", state, now_s=2.0)
    with pytest.raises(CapacityError, match=state.value):
        manager.reserve_resources("w1", "after", cpu(1), now_s=2.0)
    assert manager.check_resource_availability(cpu(1)) == ()
    manager.release_resources("before", now_s=3.0)
    assert manager.free("w1") == CAPACITY


def test_a_worker_that_is_gone_does_not_come_back(manager: DynamicResourceManager) -> None:
    manager.set_worker_state("w1", WorkerState.DRAINING, now_s=2.0)
    manager.set_worker_state("w1", WorkerState.READY, now_s=2.0)
    manager.set_worker_state("w1", WorkerState.GONE, now_s=2.0)
    with pytest.raises(LostError):
        manager.set_worker_state("w1", WorkerState.READY, now_s=2.0)


def test_availability_lists_the_workers_that_fit_by_amounts_and_labels(manager: DynamicResourceManager) -> None:
    manager.register_worker("w2", worker_type="cpu", capacity=cpu(8), now_s=1.0)
    assert manager.check_resource_availability(cpu(2)) == ("w1", "w2")
    assert manager.check_resource_availability(cpu(6)) == ("w2",)
    assert manager.check_resource_availability(cpu(1), frozenset({"db"})) == ("w1",)
    assert manager.check_resource_availability(cpu(1), frozenset({"db", "tpu"})) == ()


def test_views_of_unchanged_workers_are_shared_between_snapshots(manager: DynamicResourceManager) -> None:
    manager.register_worker("w2", worker_type="cpu", capacity=CAPACITY, now_s=1.0)
    before = manager.snapshot(2.0).workers
    manager.reserve_resources("w2", "r", cpu(1), now_s=2.0)
    after = manager.snapshot(3.0).workers
    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert before[1].reserved == ZERO


@pytest.mark.parametrize(
    ("capacity", "allocatable"),
    [(ZERO, None), (cpu(-1), None), (cpu(2), cpu(-1)), (cpu(2), cpu(3))],
)
def test_amounts_that_make_no_worker_are_refused(capacity: Resources, allocatable: Resources | None) -> None:
    manager = DynamicResourceManager()
    with pytest.raises(ConfigError, match="worker w"):
        manager.register_worker("w", worker_type="t", capacity=capacity, allocatable=allocatable, now_s=0.0)
    assert manager.snapshot(0.0).workers == ()


def test_bad_calls_leave_the_state_as_it_was(manager: DynamicResourceManager) -> None:
    manager.reserve_resources("w1", "r", cpu(1), now_s=2.0)
    before = manager.snapshot(5.0)
    bad_calls = [
        (DuplicateError, lambda: manager.register_worker("w1", worker_type="t", capacity=CAPACITY, now_s=3.0)),
        (ConfigError, lambda: manager.reserve_resources("w1", "n", cpu(-1), now_s=3.0)),
        (ConfigError, lambda: manager.reserve_resources("w1", "n", ZERO, now_s=3.0)),
        (ConfigError, lambda: manager.update_worker_resources("w1", cpu(-1), now_s=3.0)),
        (ConfigError, lambda: manager.update_worker_resources("w1", cpu(-1), now_s=3.0, allocatable=cpu(2))),
        (ConfigError, lambda: manager.update_worker_resources("w1", cpu(1), now_s=3.0, allocatable=cpu(5))),
        (CapacityError, lambda: manager.update_worker_resources("w1", cpu(1), now_s=3.0, allocatable=cpu(0.5))),
        (CapacityError, lambda: manager.reserve_resources("w1", "n", Resources(gpus=2), now_s=3.0)),
        (ConfigError, lambda: manager.check_resource_availability(cpu(-1))),
        (UnknownWorkerError, lambda: manager.reserve_resources("w9", "n", cpu(1), now_s=3.0)),
        (UnknownWorkerError, lambda: manager.deregister_worker("w9")),
        (UnknownWorkerError, lambda: manager.free("w9")),
        (UnknownWorkerError, lambda: manager.get_worker_utilization("w9")),
        (UnknownWorkerError, lambda: manager.set_worker_state("w9", WorkerState.READY, now_s=3.0)),
    ]
    for error, call in bad_calls:
        with pytest.raises(error) as caught:
            call()
        assert isinstance(caught.value, DrmError)
        assert "\n" not in str(caught.value)
    assert manager.snapshot(5.0) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_amount_that_is_no_number_is_refused_before_it_reaches_the_ledger(value: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        cpu(value)


def test_a_worker_shrinks_to_what_is_reserved_and_no_further(manager: DynamicResourceManager) -> None:
    manager.reserve_resources("w1", "r", cpu(3), now_s=2.0)
    with pytest.raises(CapacityError, match="below what is reserved: 3 cpu of 2"):
        manager.update_worker_resources("w1", now_s=2.0, allocatable=cpu(2))
    manager.update_worker_resources("w1", now_s=2.0, allocatable=Resources(cpu_cores=3, gpus=1))
    assert manager.free("w1").cpu_cores == 0
    manager.release_resources("r", now_s=3.0)
    assert manager.free("w1") == Resources(cpu_cores=3, gpus=1)


def test_gpus_are_not_taken_away_under_a_reservation(manager: DynamicResourceManager) -> None:
    manager.reserve_resources("w1", "r", Resources(cpu_cores=1, gpus=0.5), now_s=2.0)
    with pytest.raises(CapacityError):
        manager.update_worker_resources("w1", now_s=2.0, allocatable=cpu(4))
    manager.release_resources("r", now_s=2.0)
    manager.update_worker_resources("w1", now_s=2.0, allocatable=cpu(4))
    assert manager.check_resource_availability(Resources(gpus=0.5)) == ()


def test_the_view_says_all_there_is_to_say(manager: DynamicResourceManager) -> None:
    amounts = Resources(cpu_cores=1.5, memory_bytes=GIB, gpus=0.25)
    manager.reserve_resources("w1", "r", amounts, now_s=2.0)
    manager.update_worker_resources("w1", cpu(2.5), now_s=3.0)
    assert manager.view("w1") == WorkerView(
        worker_id="w1",
        worker_type="cpu",
        state=WorkerState.READY,
        capacity=CAPACITY,
        allocatable=CAPACITY,
        reserved=amounts,
        used=cpu(2.5),
        labels=frozenset({"db"}),
        reservations=1,
        idle_since_s=None,
        ready_at_s=1.0,
    )
    assert manager.free("w1") == Resources(cpu_cores=2.5, memory_bytes=7 * GIB, gpus=0.75)
    assert manager.view("w9") is None


def test_gpus_that_are_released_can_be_had_again(manager: DynamicResourceManager) -> None:
    manager.register_worker("w2", worker_type="gpu", capacity=Resources(cpu_cores=1, gpus=2), now_s=1.0)
    assert manager.reserve_resources("w2", "share", Resources(gpus=0.5), now_s=2.0) == (0,)
    assert manager.reserve_resources("w2", "whole", Resources(gpus=1), now_s=2.0) == (1,)
    assert manager.check_resource_availability(Resources(gpus=0.5)) == ("w1", "w2")
    assert manager.check_resource_availability(Resources(gpus=0.501)) == ("w1",)
    manager.release_resources("share", now_s=3.0)
    manager.release_resources("whole", now_s=3.0)
    assert manager.reserve_resources("w2", "both", Resources(gpus=2), now_s=4.0) == (0, 1)


def test_a_reservation_that_comes_back_is_on_the_gpu_it_had(manager: DynamicResourceManager) -> None:
    """CUDA stays on the device that a process used first."""
    manager.register_worker("w2", worker_type="gpu", capacity=Resources(cpu_cores=1, gpus=2), now_s=1.0)
    manager.reserve_resources("w2", "first", Resources(gpus=1), now_s=2.0)
    assert manager.reserve_resources("w2", "second", Resources(gpus=1), now_s=2.0) == (1,)
    manager.release_resources("first", now_s=3.0)
    manager.release_resources("second", now_s=3.0)
    assert manager.reserve_resources("w2", "second", Resources(gpus=1), now_s=4.0) == (1,)


def test_a_worker_is_idle_from_when_it_is_ready(manager: DynamicResourceManager) -> None:
    def state(to: WorkerState, now_s: float) -> tuple[float | None, float | None]:
        manager.set_worker_state("w1", to, now_s=now_s)
        view = manager.view("w1")
        assert view is not None
        return view.ready_at_s, view.idle_since_s

    assert state(WorkerState.STARTING, 2.0) == (None, 1.0)
    assert state(WorkerState.READY, 5.0) == (5.0, 5.0)
    assert state(WorkerState.DRAINING, 6.0) == (5.0, 5.0)
    assert state(WorkerState.READY, 7.0) == (5.0, 5.0), "it was ready all the time"
    manager.reserve_resources("w1", "r", cpu(1), now_s=8.0)
    state(WorkerState.STARTING, 9.0)
    assert state(WorkerState.READY, 10.0) == (10.0, None)
    state(WorkerState.STARTING, 10.5)
    assert state(WorkerState.DRAINING, 10.5) == (None, None), "who never was ready is not idle either"
    assert state(WorkerState.GONE, 11.0) == state(WorkerState.GONE, 12.0), "and gone is gone, told twice"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (
            lambda it: it.register_worker("w1", worker_type="t", capacity=CAPACITY, now_s=3.0),
            "worker w1 is registered already; deregister it first",
        ),
        (
            lambda it: it.register_worker("w", worker_type="t", capacity=ZERO, now_s=3.0),
            "capacity of worker w is nothing; give it cpu and memory",
        ),
        (
            lambda it: it.register_worker("w", worker_type="t", capacity=cpu(2), allocatable=cpu(3), now_s=3.0),
            "allocatable of worker w passes its capacity: 3 cpu of 2",
        ),
        (
            lambda it: it.reserve_resources("w1", "r", cpu(1), now_s=3.0),
            "reservation 'r' holds 1 cpu, 2 GiB, 1 gpu on worker w1 already; release it first",
        ),
        (
            lambda it: it.reserve_resources("w1", "n", ZERO, now_s=3.0),
            "reservation 'n' asks for nothing; ask for cpu, memory or a gpu",
        ),
        (
            lambda it: it.reserve_resources("w1", "n", Resources(cpu_cores=4, memory_bytes=7 * GIB), now_s=3.0),
            "worker w1 has too little left: 4 cpu of 3, 7 GiB memory of 6 GiB; wait for a release or add a worker",
        ),
        (
            lambda it: it.update_worker_resources("w1", now_s=3.0, allocatable=Resources(memory_bytes=GIB)),
            (
                "worker w1 cannot shrink below what is reserved: 1 cpu of 0, 2 GiB memory of 1 GiB, 1 gpu of 0; "
                "release reservations first, or deregister it"
            ),
        ),
        (
            lambda it: it.update_worker_resources("w1", now_s=3.0, allocatable=cpu(5)),
            "allocatable of worker w1 passes its capacity: 5 cpu of 4",
        ),
        (lambda it: it.release_resources("n", now_s=3.0), "no reservation 'n' is held"),
        (lambda it: it.deregister_worker("w9"), "no worker 'w9' is registered"),
    ],
)
def test_what_is_refused_says_what_and_why(
    manager: DynamicResourceManager, bad: Callable[[DynamicResourceManager], object], said: str
) -> None:
    manager.reserve_resources("w1", "r", Resources(cpu_cores=1, memory_bytes=2 * GIB, gpus=1), now_s=2.0)
    with pytest.raises(DrmError) as caught:
        bad(manager)
    assert str(caught.value) == said
