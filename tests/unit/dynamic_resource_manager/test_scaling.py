"""When workers are added, removed, held or denied, and the reasons given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.dynamic_resource_manager import DynamicResourceManager, ScalingSettings, parse_scaling
from drm.model.cluster import QueueView, WorkerState, WorkerType
from drm.model.errors import ConfigError
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.resources import Resources

ONE = Resources(cpu_cores=1, memory_bytes=2**30)
CPU = WorkerType(name="cpu", capacity=ONE)
SETTINGS = ScalingSettings(target_queue_s=5, idle_s=3, up_cooldown_s=2, down_cooldown_s=4, votes=1)


def pool(workers: int = 0, *, busy: int = 0, settings: ScalingSettings = SETTINGS) -> DynamicResourceManager:
    manager = DynamicResourceManager(settings)
    for number in range(workers):
        manager.register_worker(f"w{number}", worker_type="cpu", capacity=ONE, now_s=0.0)
    for number in range(busy):
        manager.reserve_resources(f"w{number}", f"r{number}", ONE, now_s=0.0)
    return manager


def queue(tests: int, seconds_each: float = 1.0, *, runnable: int | None = None, running: int = 0) -> QueueView:
    return QueueView(
        waiting=tests,
        runnable=tests if runnable is None else runnable,
        running=running,
        waiting_s=tests * seconds_each,
        longest_s=seconds_each if tests else 0.0,
        per_worker=1.0 if tests else 0.0,
    )


def evaluate(
    manager: DynamicResourceManager,
    view: QueueView,
    *,
    now_s: float = 1.0,
    pending: int = 0,
    minimum: int = 0,
    maximum: int = 10,
    others: int = 0,
    worker_type: WorkerType = CPU,
    boot_s: float = 0.0,
    leaving: frozenset[str] = frozenset(),
) -> ScalingDecision:
    live = (WorkerState.READY, WorkerState.STARTING, WorkerState.DRAINING)
    there = sum(worker.state in live for worker in manager.snapshot(now_s).workers)
    return manager.evaluate_scaling(
        worker_type,
        view,
        now_s=now_s,
        pending=pending,
        minimum=minimum,
        maximum=maximum,
        total_workers=there + pending + others,
        boot_s=boot_s,
        leaving=leaving,
    )


def test_waiting_work_is_spread_over_enough_workers_to_meet_the_target() -> None:
    decision = evaluate(pool(1), queue(20))
    assert decision.action is ScalingAction.UP
    assert (decision.workers, decision.wanted, decision.granted) == (1, 4, 4)
    assert (decision.trigger.code, decision.trigger.value, decision.trigger.threshold) == ("queue_pressure", 20.0, 5.0)
    assert decision.reason == (
        "20 runnable tests hold 20.0 s of work, 20.0 s per running slot against a target of 5 s: "
        "add 3 cpu to the 1 there"
    )
    assert dict(decision.inputs)["waiting_s"] == 20.0
    assert "by_runnable_tests: 20 workers" in decision.alternatives


def test_the_settings_can_be_asked_for() -> None:
    assert pool().settings is SETTINGS


def test_pending_workers_count_as_there() -> None:
    assert evaluate(pool(1), queue(20), pending=3).action is ScalingAction.HOLD


def test_a_worker_that_runs_several_tests_at_once_clears_more() -> None:
    view = QueueView(waiting=40, runnable=40, waiting_s=40.0, longest_s=1.0, per_worker=4.0)
    assert evaluate(pool(), view).wanted == 2


def test_without_a_word_on_slots_a_worker_runs_one_test_per_core() -> None:
    four = WorkerType(name="cpu", capacity=Resources(cpu_cores=4, memory_bytes=2**30))
    view = QueueView(waiting=40, runnable=40, waiting_s=40.0)
    assert evaluate(pool(), view, worker_type=four).wanted == 2


def test_never_more_workers_than_runnable_tests_can_occupy() -> None:
    assert evaluate(pool(), queue(2, 100.0)).wanted == 2
    assert evaluate(pool(), queue(50, 100.0, runnable=1)).wanted == 1


def test_tests_of_unknown_duration_count_a_default() -> None:
    view = QueueView(waiting=1000, runnable=1000, per_worker=1.0)
    assert evaluate(pool(), view).wanted == 1000 * SETTINGS.default_task_s / SETTINGS.target_queue_s


def test_the_maximum_cuts_and_then_denies() -> None:
    cut = evaluate(pool(1), queue(50), maximum=3, others=1)
    assert (cut.action, cut.granted, cut.limits_hit) == (ScalingAction.UP, 2, ("maximum",))
    denied = evaluate(pool(1), queue(50), maximum=2, others=1)
    assert (denied.action, denied.granted) == (ScalingAction.DENIED, 1)
    assert denied.trigger.code == "maximum"
    assert "maximum of 2" in denied.reason


def test_the_minimum_is_filled_without_work() -> None:
    decision = evaluate(pool(1), queue(0), minimum=2)
    assert (decision.action, decision.granted, decision.trigger.code) == (ScalingAction.UP, 2, "minimum")


def test_steady_when_workers_and_work_agree() -> None:
    decision = evaluate(pool(1, busy=1), queue(3, running=1))
    assert (decision.action, decision.trigger.code) == (ScalingAction.HOLD, "steady")
    assert decision.reason


def test_an_idle_worker_goes_after_the_limit_the_longest_idle_first() -> None:
    manager = pool(2, busy=1)
    manager.release_resources("r0", now_s=1.0)
    assert evaluate(manager, queue(0), now_s=3.0, minimum=1).action is ScalingAction.HOLD
    decision = evaluate(manager, queue(0), now_s=3.5, minimum=1)
    assert (decision.action, decision.remove, decision.granted) == (ScalingAction.DOWN, ("w1",), 1)
    assert (decision.trigger.code, decision.trigger.threshold) == ("idle", 3.0)
    assert decision.limits_hit == ()  # w0 is not idle for long enough yet
    assert "w1 is idle for 3.5 s" in decision.reason


def test_an_idle_worker_stays_at_the_minimum() -> None:
    decision = evaluate(pool(1), queue(0), now_s=9.0, minimum=1)
    assert (decision.action, decision.trigger.code, decision.remove) == (ScalingAction.HOLD, "minimum", ())


def test_an_idle_worker_that_runnable_work_needs_stays() -> None:
    assert evaluate(pool(1), queue(1), now_s=9.0).action is ScalingAction.HOLD
    assert evaluate(pool(3), queue(1), now_s=9.0).remove == ("w0", "w1")


def test_a_busy_worker_is_never_removed() -> None:
    decision = evaluate(pool(3, busy=2), queue(0), now_s=99.0)
    assert decision.remove == ("w2",)


def test_the_cooldowns_hold_up_and_down_apart() -> None:
    manager = pool(2)
    assert evaluate(manager, queue(0), now_s=10.0, minimum=1).action is ScalingAction.DOWN
    down = evaluate(manager, queue(0), now_s=12.0)
    assert (down.action, down.trigger.code, down.limits_hit) == (ScalingAction.HOLD, "cooldown", ("cooldown",))
    assert "wait 2.0 s more" in down.reason
    assert evaluate(manager, queue(50), now_s=12.0).action is ScalingAction.UP
    up = evaluate(manager, queue(50), now_s=13.0)
    assert (up.action, up.trigger.metric) == (ScalingAction.HOLD, "since_last_up_s")
    assert evaluate(manager, queue(50), now_s=14.0).action is ScalingAction.UP


def test_cooldowns_are_per_worker_type() -> None:
    manager = pool()
    gpu = WorkerType(name="gpu", capacity=Resources(cpu_cores=1, gpus=1))
    assert evaluate(manager, queue(5), now_s=1.0).action is ScalingAction.UP
    assert evaluate(manager, queue(5), now_s=1.0, worker_type=gpu).action is ScalingAction.UP


def test_draining_workers_do_not_count_as_there_but_fill_the_pool() -> None:
    manager = pool(2)
    manager.set_worker_state("w0", WorkerState.DRAINING, now_s=0.0)
    decision = evaluate(manager, queue(50), maximum=3, leaving=frozenset({"w0"}))
    assert (decision.workers, decision.granted, decision.keep) == (1, 2, ())


def test_a_worker_that_drains_stays_when_there_is_work_again() -> None:
    """Churn (karpenter#3198, #2388): a new worker is not booted beside one that is on its way out."""
    manager = pool(2)
    manager.set_worker_state("w0", WorkerState.DRAINING, now_s=0.0)
    decision = evaluate(manager, queue(10))
    assert (decision.action, decision.granted, decision.keep) == (ScalingAction.UP, 2, ("w0",))
    assert "keep w0, which drained" in decision.reason
    manager.set_worker_state("w0", WorkerState.READY, now_s=1.0)
    manager.set_worker_state("w1", WorkerState.DRAINING, now_s=1.0)
    again = evaluate(manager, queue(50), now_s=1.5)
    assert again.keep == ("w1",), "and what costs no boot waits for no cooldown"
    assert dict(again.inputs)["waiting"] == 50


def test_a_worker_goes_only_when_several_decisions_in_a_row_find_it_superfluous() -> None:
    """Churn (karpenter#3198, #2388): one lull removes nobody."""
    settings = ScalingSettings(idle_s=0, votes=3, down_cooldown_s=0)
    manager = pool(1, settings=settings)
    first = evaluate(manager, queue(0), now_s=1.0)
    assert (first.action, first.trigger.code, first.trigger.value, first.trigger.threshold) == (
        ScalingAction.HOLD,
        "votes",
        1.0,
        3.0,
    )
    assert evaluate(manager, queue(0), now_s=2.0).action is ScalingAction.HOLD
    assert evaluate(manager, queue(1), now_s=3.0).trigger.code == "steady", "there is work: the count begins anew"
    assert [evaluate(manager, queue(0), now_s=4.0 + n).action for n in range(3)] == [
        ScalingAction.HOLD,
        ScalingAction.HOLD,
        ScalingAction.DOWN,
    ]


def test_boots_count_in_the_target() -> None:
    """20 s of work in 5 s: 4 workers that are there at once, and 10 where each is there only after 3 s."""
    assert evaluate(pool(), queue(20)).wanted == 4
    assert evaluate(pool(), queue(20), boot_s=3.0, maximum=50).wanted == 10
    assert evaluate(pool(4), queue(20), boot_s=3.0).action is ScalingAction.HOLD, "those that are there need no boot"


def test_nobody_is_added_for_work_that_ends_before_a_boot() -> None:
    decision = evaluate(pool(2), queue(40), boot_s=30.0, maximum=50)
    assert (decision.action, decision.wanted) == (ScalingAction.HOLD, 2)


@pytest.mark.parametrize(("value", "workers"), [(1.0, 3), (5.0, 6), (50.0, 20)])
def test_a_worker_is_added_only_if_the_time_it_saves_is_worth_its_cost(value: float, workers: int) -> None:
    """Each worker is checked against its own sum: the last one that is added pays, one more would not."""
    price, boot_s, work_s = 3.0, 57.0, 1440.0
    settings = ScalingSettings(target_queue_s=1, value_of_time=value)
    dear = WorkerType(name="cpu", capacity=ONE, usd_per_hour=price, provider="cloud")
    decision = evaluate(pool(settings=settings), queue(1440), worker_type=dear, boot_s=boot_s, maximum=1000)

    def saved_s(count: int) -> float:
        return work_s / (count - 1) - work_s / count

    cost = price * (boot_s + settings.idle_s)
    assert decision.wanted == workers
    assert value * saved_s(workers) >= cost > value * saved_s(workers + 1)
    assert f"the last one saves {saved_s(workers):.1f} s and costs 0.0500 USD more" in decision.reason
    assert f"by_runnable_tests: {1440} workers" in decision.alternatives


def test_a_decision_against_a_worker_says_what_it_would_save_and_cost() -> None:
    settings = ScalingSettings(target_queue_s=1, value_of_time=1.0)
    dear = WorkerType(name="cpu", capacity=ONE, usd_per_hour=3.0, provider="cloud")
    decision = evaluate(pool(5, settings=settings), queue(1140), worker_type=dear, boot_s=57.0, maximum=1000)
    assert decision.action is ScalingAction.HOLD
    assert "one more would save 28.5 s, which is not worth its 0.0500 USD" in decision.reason


def test_no_more_workers_than_end_with_the_longest_test() -> None:
    """60 s of work beside a test of 60 s, of which three quarters are sure: three workers end in 45 s, and twenty-four
    would end no sooner."""
    view = QueueView(waiting=61, runnable=61, waiting_s=120.0, longest_s=60.0, per_worker=1.0)
    assert evaluate(pool(), view, maximum=50).wanted == 3
    assert evaluate(pool(3, busy=3), view, maximum=50).wanted == 6, "those that are busy are not free for it"


@pytest.mark.parametrize(("minimum", "maximum"), [(-1, 2), (3, 2)])
def test_a_range_that_is_none_is_refused(minimum: int, maximum: int) -> None:
    with pytest.raises(ConfigError, match="no range"):
        evaluate(pool(), queue(1), minimum=minimum, maximum=maximum)


@pytest.mark.parametrize("name", ["target_queue_s", "idle_s", "window_s", "up_cooldown_s"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_settings_that_are_no_durations_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        ScalingSettings(**{name: value})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("makespan,value_of_time=0", "value_of_time: '0' is no price; give USD an hour, for example 50"),
        ("makespan,value_of_time=inf", "is no price"),
        ("makespan,value_of_time=much", "value_of_time: 'much' is not a price; give a number such as 50"),
        ("makespan,votes=0", "is no number of decisions"),
        ("makespan,votes=1.5", "is no number of decisions"),
        ("makespan,votes=inf", "is no number of decisions"),
        ("makespan,boot=soon", "--drm-scaling: boot"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"^--drm-scaling: ") as raised:
        parse_scaling(text, where="--drm-scaling")
    assert problem in str(raised.value)


def test_the_value_of_time_the_boot_and_the_votes_are_read() -> None:
    found = parse_scaling("makespan,value_of_time=2.5,boot=1m,votes=4", where="x")
    assert (found.value_of_time, found.boot_s, found.votes) == (2.5, 60.0, 4)
    assert parse_scaling("utilization", where="x").votes == 1, "the classic thresholds are left as they are"


@given(
    workers=st.integers(0, 6),
    busy=st.integers(0, 6),
    tests=st.integers(0, 500),
    runnable_share=st.floats(0, 1),
    seconds=st.floats(0, 100),
    pending=st.integers(0, 4),
    minimum=st.integers(0, 4),
    extra=st.integers(0, 8),
    others=st.integers(0, 4),
    now_s=st.floats(0, 100),
)
def test_no_decision_passes_the_limits_or_touches_a_busy_worker(
    workers: int,
    busy: int,
    tests: int,
    runnable_share: float,
    seconds: float,
    pending: int,
    minimum: int,
    extra: int,
    others: int,
    now_s: float,
) -> None:
    busy = min(busy, workers)
    manager = pool(workers, busy=busy)
    view = queue(tests, seconds, runnable=int(tests * runnable_share), running=busy)
    maximum = minimum + extra
    decision = evaluate(manager, view, now_s=now_s, pending=pending, minimum=minimum, maximum=maximum, others=others)
    total = workers + pending + others
    change = decision.granted - decision.workers
    assert not decision.keep
    assert decision.workers == workers + pending
    assert total + change <= max(maximum, total)
    assert total + change >= min(minimum, total)
    assert (change > 0) == (decision.action is ScalingAction.UP)
    assert (change < 0) == (decision.action is ScalingAction.DOWN) == bool(decision.remove)
    assert -change == len(decision.remove) or change >= 0
    assert not set(decision.remove) & {f"w{number}" for number in range(busy)}
    assert decision.reason
    assert decision.trigger.code in ("queue_pressure", "idle", "minimum", "maximum", "cooldown", "steady")
    if view.runnable and total == 0 and maximum:
        assert decision.action is ScalingAction.UP, "work without workers must not wait for ever"
