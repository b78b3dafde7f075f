"""The utilization policy: above the band workers are added, below it idle ones go, within it nothing happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.dynamic_resource_manager import (
    DynamicResourceManager,
    ScalingCase,
    ScalingSettings,
    Utilization,
    evaluate_scaling,
    parse_scaling,
)
from drm.model.cluster import QueueView, WorkerType, WorkerView
from drm.model.errors import ConfigError
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.resources import Resources

FOUR = Resources(cpu_cores=4, memory_bytes=2**33)
CPU = WorkerType(name="cpu", capacity=FOUR)
SETTINGS = ScalingSettings.of_policy("utilization")
MANY = QueueView(waiting=1000, runnable=1000, waiting_s=1000.0, longest_s=1.0, per_worker=4.0)


def pool(workers: int, busy_cores: int) -> DynamicResourceManager:
    """Workers on which so many cores each are reserved from the first second on."""
    manager = DynamicResourceManager(SETTINGS)
    for number in range(workers):
        manager.register_worker(f"w{number}", worker_type="cpu", capacity=FOUR, now_s=0.0)
        if busy_cores:
            cores = Resources(cpu_cores=busy_cores, memory_bytes=1)
            manager.reserve_resources(f"w{number}", f"r{number}", cores, now_s=0.0)
    return manager


def evaluate(
    manager: DynamicResourceManager, queue: QueueView = MANY, *, now_s: float, maximum: int = 50
) -> ScalingDecision:
    there = len(manager.snapshot(now_s).workers)
    return manager.evaluate_scaling(CPU, queue, now_s=now_s, pending=0, minimum=0, maximum=maximum, total_workers=there)


def test_the_defaults_are_those_of_the_documentation() -> None:
    numbers = (SETTINGS.target, SETTINGS.up_above, SETTINGS.down_below, SETTINGS.window_s)
    assert numbers == (0.7, 0.8, 0.3, 300)
    assert (SETTINGS.up_cooldown_s, SETTINGS.down_cooldown_s) == (300, 600)


def test_above_the_band_the_pool_grows_to_the_target() -> None:
    decision = evaluate(pool(7, 4), now_s=100.0)
    assert decision.action is ScalingAction.UP
    assert decision.granted == 10, "7 x 1.0 / 0.7"
    assert (decision.trigger.metric, decision.trigger.value, decision.trigger.threshold) == (
        "cpu_utilization",
        1.0,
        0.8,
    )
    assert decision.reason == "cpu is 100% reserved over 100 s, above 80%: add 3 cpu to the 7 there"


def test_within_the_band_nothing_happens_however_much_waits() -> None:
    decision = evaluate(pool(4, 2), now_s=100.0)
    assert (decision.action, decision.trigger.code) == (ScalingAction.HOLD, "steady")


def test_below_the_band_idle_workers_go() -> None:
    manager = pool(4, 0)
    manager.reserve_resources("w0", "r", Resources(cpu_cores=4), now_s=0.0)
    decision = evaluate(manager, QueueView(), now_s=100.0)
    assert (decision.action, decision.granted) == (ScalingAction.DOWN, 2), "4 x 0.25 / 0.7, rounded up"
    assert set(decision.remove) < {"w1", "w2", "w3"}


def test_below_the_band_workers_stay_that_what_waits_will_use() -> None:
    assert evaluate(pool(4, 0), MANY, now_s=100.0).action is ScalingAction.HOLD


def test_the_first_worker_needs_no_measurement() -> None:
    assert evaluate(pool(0, 0), now_s=0.0).granted == 1
    assert evaluate(pool(0, 0), QueueView(), now_s=0.0).action is ScalingAction.HOLD


def test_the_fullest_resource_decides() -> None:
    manager = DynamicResourceManager(SETTINGS)
    manager.register_worker("w", worker_type="cpu", capacity=FOUR, now_s=0.0)
    manager.reserve_resources("w", "r", Resources(cpu_cores=1, memory_bytes=2**33), now_s=0.0)
    assert evaluate(manager, now_s=10.0).trigger.metric == "memory_utilization"


def test_what_was_reserved_before_the_window_counts_no_more() -> None:
    manager = pool(1, 4)
    manager.release_resources("r0", now_s=10.0)
    assert evaluate(manager, QueueView(), now_s=11.0).action is ScalingAction.UP
    manager.get_worker_utilization()
    manager.update_worker_resources("w0", Resources(), now_s=200.0)
    assert evaluate(manager, QueueView(), now_s=700.0).action is ScalingAction.DOWN


def test_the_cooldowns_are_300_and_600_seconds() -> None:
    manager = pool(2, 4)
    assert evaluate(manager, now_s=100.0).action is ScalingAction.UP
    assert evaluate(manager, now_s=399.0).trigger.code == "cooldown"
    assert evaluate(manager, now_s=400.0).action is ScalingAction.UP


@given(
    workers=st.integers(0, 20),
    share=st.floats(0, 1),
    waiting=st.integers(0, 500),
    maximum=st.integers(0, 30),
    now_s=st.floats(0, 1e6),
)
def test_the_same_case_gives_the_same_decision_within_the_limits(
    workers: int, share: float, waiting: int, maximum: int, now_s: float
) -> None:
    case = ScalingCase(
        worker_type=CPU,
        queue=QueueView(waiting=waiting, runnable=waiting, waiting_s=float(waiting), per_worker=4.0),
        workers=tuple(WorkerView.planned(f"w{number}", CPU) for number in range(workers)),
        pending=0,
        minimum=0,
        maximum=maximum,
        total_workers=workers,
        now_s=now_s,
        last_up_s=float("-inf"),
        last_down_s=float("-inf"),
        utilization=Utilization(cpu_reserved=share, window_s=300.0),
        boot_s=0.0,
        pending_s=None,
        votes=0,
        leaving=frozenset(),
    )
    decision = evaluate_scaling(SETTINGS, case)
    assert decision == evaluate_scaling(SETTINGS, case)
    assert decision.granted <= max(maximum, workers)
    assert decision.action is not ScalingAction.UP or share > SETTINGS.up_above or not workers
    assert decision.action is not ScalingAction.DOWN or share < SETTINGS.down_below


def test_settings_are_written_in_a_line_or_as_a_table() -> None:
    line = parse_scaling("utilization, target=0.6, idle=30s", where="scaling")
    assert line == ScalingSettings.of_policy("utilization", target=0.6, idle_s=30)
    assert parse_scaling({"policy": "utilization", "target": 0.6, "idle": 30}, where="scaling") == line
    assert parse_scaling("makespan", where="scaling") == ScalingSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("utilisation", "write makespan or utilization"),
        ("utilization,targt=0.6", "did you mean 'target'"),
        ("utilization,target=high", "is not a share"),
        ("utilization,target", "is not NAME=NUMBER"),
        ("utilization,window=soon", "is not a duration"),
        ("utilization,target=0.9", "down_below < target < up_above"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_a_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="scaling") as caught:
        parse_scaling(text, where="scaling")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
