"""Decisions about workers with all that they say: what is in the record and the report, reckoned by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_scaling import CPU, ONE, evaluate, pool, queue

from drm.dynamic_resource_manager import ScalingCase, ScalingSettings, Utilization, evaluate_scaling, parse_scaling
from drm.model.cluster import QueueView, WorkerState, WorkerType, WorkerView
from drm.model.errors import ConfigError
from drm.model.plan import ScalingAction, ScalingDecision, Trigger
from drm.model.resources import Resources
from drm.model.units import parse_duration

MUCH = "50 runnable tests hold 50.0 s of work, {0:.1f} s per running slot against a target of 5 s"
FOR_MUCH = ("by_runnable_tests: 50 workers", "by_longest_test: 68 workers", "busy: 1 workers")
FOR_NOTHING = ("by_time: 0 workers", "by_runnable_tests: 0 workers")


def said(decision: ScalingDecision) -> tuple[object, ...]:
    counts = (decision.workers, decision.wanted, decision.granted)
    names = {"remove": decision.remove, "keep": decision.keep, "limits": decision.limits_hit}
    return decision.action, counts, decision.trigger, decision.reason, {k: v for k, v in names.items() if v}


def idle(value: float) -> Trigger:
    return Trigger(code="idle", metric="idle_s", value=value, threshold=3.0)


def pressure(value: float) -> Trigger:
    return Trigger(code="queue_pressure", metric="queue_s_per_slot", value=value, threshold=5.0)


def of_the_pool(code: str, value: float, threshold: float) -> Trigger:
    return Trigger(code=code, metric="total_workers", value=value, threshold=threshold)


def cooling(direction: str, value: float, threshold: float) -> Trigger:
    return Trigger(code="cooldown", metric=f"since_last_{direction}_s", value=value, threshold=threshold)


def test_more_workers() -> None:
    decision = evaluate(pool(1), queue(20))
    assert decision == ScalingDecision(
        action=ScalingAction.UP,
        worker_type="cpu",
        workers=1,
        wanted=4,
        granted=4,
        trigger=pressure(20.0),
        reason="20 runnable tests hold 20.0 s of work, 20.0 s per running slot against a target of 5 s: "
        "add 3 cpu to the 1 there",
        inputs=(
            *(("waiting", 20.0), ("runnable", 20.0), ("running", 0.0), ("waiting_s", 20.0), ("slots_per_worker", 1.0)),
            *(("pending", 0.0), ("total_workers", 1.0), ("minimum", 0.0), ("maximum", 10.0), ("boot_s", 0.0)),
            *(("running_s", 0.0), ("usd_per_hour", 0.0), ("finish_s", 5.0)),
        ),
        alternatives=("by_runnable_tests: 20 workers", "by_longest_test: 27 workers", "busy: 0 workers"),
    )


def test_enough_workers() -> None:
    decision = evaluate(pool(2, busy=1), queue(3, 0.5, running=1), minimum=1, others=2, pending=1, boot_s=2.5)
    steady = Trigger(code="steady", metric="queue_s_per_slot", value=0.5, threshold=5.0)
    reason = (
        "3 cpu workers are enough for 3 runnable tests with 1.5 s of work, "
        "and none is idle for longer than 3 s without need"
    )
    assert said(decision) == (ScalingAction.HOLD, (3, 1, 3), steady, reason, {})
    inputs = dict(decision.inputs)
    assert (inputs["running"], inputs["pending"], inputs["total_workers"], inputs["boot_s"]) == (1.0, 1.0, 5.0, 2.5)
    assert inputs["finish_s"] == 1.5 + 2.5, "what waits, and the boot of the one on its way"
    assert decision.alternatives == ("by_runnable_tests: 4 workers", "by_longest_test: 4 workers")


def test_fewer_workers_one_cooldown_after_the_other_down_to_the_minimum() -> None:
    manager = pool(4, busy=1)

    def next_at(now_s: float, minimum: int = 2) -> tuple[object, ...]:
        decision = evaluate(manager, queue(0), minimum=minimum, now_s=now_s)
        assert decision.alternatives == FOR_NOTHING
        for name in decision.remove:
            manager.deregister_worker(name)
        return said(decision)

    away = "worker w1 is idle for 9.0 s (limit 3 s) and is not needed: remove w1, w2"
    limited = {"remove": ("w1", "w2"), "limits": ("minimum",)}
    assert next_at(9.0) == (ScalingAction.DOWN, (4, 1, 2), idle(9.0), away, limited)
    least = "worker w3 is idle for 9.5 s (limit 3 s), but the minimum of 2 workers is reached"
    limit = of_the_pool("minimum", 2.0, 2.0)
    assert next_at(9.5) == (ScalingAction.HOLD, (2, 1, 2), limit, least, {"limits": ("minimum",)})
    wait = "worker w3 is idle for 10.5 s (limit 3 s): cpu workers were removed 1.5 s ago, wait 2.5 s more"
    cools = cooling("down", 1.5, 4.0)
    assert next_at(10.5, 0) == (ScalingAction.HOLD, (2, 1, 2), cools, wait, {"limits": ("cooldown",)})
    last = "worker w3 is idle for 13.0 s (limit 3 s) and is not needed: remove w3"
    assert next_at(13.0, 0) == (ScalingAction.DOWN, (2, 1, 1), idle(13.0), last, {"remove": ("w3",)})


def test_the_votes_are_counted_aloud() -> None:
    manager = pool(1, settings=ScalingSettings(idle_s=0, votes=3, down_cooldown_s=0))
    for count in (1, 2):
        decision = evaluate(manager, queue(0), now_s=float(count))
        assert decision.reason == (
            f"worker w0 is idle for {count}.0 s (limit 0 s), as {count} of 3 decisions in a row have found"
        )
        assert (decision.wanted, decision.granted, decision.limits_hit) == (0, 1, ("votes",))
        assert decision.trigger == Trigger(code="votes", metric="votes", value=float(count), threshold=3.0)
    assert evaluate(manager, queue(0), now_s=3.0).remove == ("w0",)


def test_a_decision_that_a_limit_stopped_counts_as_a_vote_and_one_that_found_work_does_not() -> None:
    manager = pool(2, settings=ScalingSettings(idle_s=0, votes=2, down_cooldown_s=4))
    assert evaluate(manager, queue(0), now_s=1.0, minimum=2).trigger.code == "minimum"
    assert evaluate(manager, queue(0), now_s=2.0, minimum=1).action is ScalingAction.DOWN
    manager.deregister_worker("w0")
    assert evaluate(manager, queue(0), now_s=5.5).trigger.code == "cooldown"
    assert evaluate(manager, queue(0), now_s=6.0).action is ScalingAction.DOWN
    manager = pool(1, settings=ScalingSettings(idle_s=0, votes=2, down_cooldown_s=0))
    assert evaluate(manager, queue(1), now_s=1.0).trigger.code == "steady"
    assert evaluate(manager, queue(0), now_s=2.0).trigger.code == "votes"
    manager = pool(1, settings=ScalingSettings(idle_s=3, votes=2, down_cooldown_s=0))
    assert evaluate(manager, queue(0), now_s=3.0).trigger.code == "steady", "not idle for long enough is no vote"
    assert evaluate(manager, queue(0), now_s=4.0).trigger.code == "votes"
    assert evaluate(manager, queue(0), now_s=5.0).action is ScalingAction.DOWN


def test_the_limits_of_the_pool() -> None:
    denied = evaluate(pool(1, busy=1), queue(50), maximum=2, others=1)
    reason = MUCH.format(50.0) + ": 10 cpu workers are wanted, but the maximum of 2 in all is reached"
    limit = of_the_pool("maximum", 2.0, 2.0)
    assert said(denied) == (ScalingAction.DENIED, (1, 10, 1), limit, reason, {"limits": ("maximum",)})
    cut = evaluate(pool(1), queue(50), maximum=4, others=1)
    reason = MUCH.format(50.0) + ": add 2 cpu to the 1 there"
    assert said(cut) == (ScalingAction.UP, (1, 10, 3), pressure(50.0), reason, {"limits": ("maximum",)})
    least = evaluate(pool(1), queue(0), minimum=3, others=1)
    reason = "2 workers are fewer than the minimum of 3: add 1 cpu to the 1 there"
    assert said(least) == (ScalingAction.UP, (1, 2, 2), of_the_pool("minimum", 2.0, 3.0), reason, {})
    assert evaluate(pool(2), queue(10), minimum=2).action is ScalingAction.HOLD
    more = evaluate(pool(1), queue(15), minimum=2)
    assert (more.granted, more.trigger) == (3, pressure(15.0)), "work says more than the minimum"
    both = evaluate(pool(1), queue(10), minimum=2)
    assert (both.granted, both.trigger) == (2, pressure(10.0)), "and is named where both say the same"


def test_who_drains_is_kept_first_and_needs_no_cooldown() -> None:
    manager = pool(3, busy=1)
    manager.set_worker_state("w2", WorkerState.DRAINING, now_s=1.0)
    both = evaluate(manager, queue(50), now_s=1.5, maximum=20)
    reason = MUCH.format(25.0) + ": keep w2, which drained and add 7 cpu to the 2 there"
    assert said(both) == (ScalingAction.UP, (2, 10, 10), pressure(25.0), reason, {"keep": ("w2",)})
    only = evaluate(manager, queue(50), now_s=2.5)
    reason = MUCH.format(25.0) + ": keep w2, which drained"
    kept = {"keep": ("w2",), "limits": ("cooldown",)}
    assert said(only) == (ScalingAction.UP, (2, 10, 3), pressure(25.0), reason, kept)
    nobody = evaluate(manager, queue(50), now_s=2.75, leaving=frozenset({"w2"}))
    reason = MUCH.format(25.0) + ": wait 0.8 s more, cpu workers were added 1.2 s ago"
    held = {"limits": ("cooldown",)}
    assert said(nobody) == (ScalingAction.HOLD, (2, 10, 2), cooling("up", 1.25, 2.0), reason, held)
    assert evaluate(manager, queue(50), now_s=3.5, leaving=frozenset({"w2"})).granted == 9, "of ten one still drains"


def test_to_keep_a_worker_starts_no_cooldown() -> None:
    manager = pool(2, busy=1)
    manager.set_worker_state("w1", WorkerState.DRAINING, now_s=1.0)
    assert evaluate(manager, queue(10), now_s=1.0).reason.endswith(": keep w1, which drained")
    manager.set_worker_state("w1", WorkerState.READY, now_s=1.0)
    assert evaluate(manager, queue(50), now_s=1.5).action is ScalingAction.UP


def test_idle_is_who_held_nothing_for_longer_than_the_limit() -> None:
    manager = pool(4)
    manager.set_worker_state("w0", WorkerState.STARTING, now_s=0.0)
    manager.reserve_resources("w1", "r", ONE, now_s=0.0)
    manager.reserve_resources("w3", "s", ONE, now_s=0.0)
    manager.release_resources("s", now_s=1.0)
    assert evaluate(manager, queue(0), now_s=3.0).remove == ()
    assert evaluate(manager, queue(0), now_s=4.0).remove == ("w2",)
    manager.set_worker_state("w2", WorkerState.DRAINING, now_s=4.0)
    assert evaluate(manager, queue(0), now_s=9.0).remove == ("w3",)


def test_the_longest_test_ends_no_sooner_for_more_workers() -> None:
    """Three quarters of 60 s are sure; where nobody is ready it waits for a boot first."""

    def wanted(work_s: float, ready: int, boot_s: float = 0.0, *, running_s: float = 0.0) -> int:
        view = QueueView(
            waiting=99, runnable=99, waiting_s=work_s, longest_s=60.0, per_worker=1.0, longest_running_s=running_s
        )
        return evaluate(pool(ready), view, boot_s=boot_s, maximum=50).wanted

    assert (wanted(90.0, 1), wanted(90.5, 1)) == (2, 3), "90 s are two times 45 s"
    assert (wanted(90.0, 0), wanted(90.5, 0)) == (2, 3)
    assert wanted(120.0, 0, boot_s=15.0) == 3, "120 s and three boots in 45 s and one boot"
    assert wanted(120.0, 1, boot_s=15.0) == 4, "120 s and three boots in 45 s"
    starting = pool(1)
    starting.set_worker_state("w0", WorkerState.STARTING, now_s=0.0)
    view = QueueView(waiting=99, runnable=99, waiting_s=120.0, longest_s=60.0, per_worker=1.0)
    assert evaluate(starting, view, boot_s=15.0, maximum=50).wanted == 3, "who starts is not ready"
    assert wanted(120.0, 1, running_s=160.0) == 1, "another runs until 120 s anyway"


def test_who_is_busy_is_free_for_what_waits_when_it_is_known_for_how_long() -> None:
    view = {"waiting": 99, "runnable": 99, "waiting_s": 90.0, "longest_s": 60.0, "per_worker": 1.0}
    assert evaluate(pool(1, busy=1), QueueView(**view)).wanted == 3, "two, and the one that is busy"
    assert evaluate(pool(1, busy=1), QueueView(**view, running_s=1.0)).wanted == 3, "91 s are more than twice 45 s"
    assert evaluate(pool(2, busy=1), QueueView(**{**view, "waiting_s": 80.0}, running_s=10.0)).wanted == 2


def test_what_runs_counts_with_what_waits() -> None:
    view = QueueView(waiting=1, runnable=1, running=6, waiting_s=10.0, running_s=10.0, per_worker=2.0)
    assert evaluate(pool(), view).wanted == 2, "20 s on two slots in 5 s"
    assert dict(evaluate(pool(), view).inputs)["running_s"] == 10.0
    view = QueueView(waiting=1, runnable=1, running=6, waiting_s=100.0, running_s=100.0, per_worker=2.0)
    assert evaluate(pool(), view).wanted == 4, "seven tests have four workers of two slots"
    idle = evaluate(pool(), QueueView(running=1))
    assert (idle.wanted, idle.alternatives) == (0, ("by_runnable_tests: 1 workers",))


def test_a_short_test_of_known_length_counts_as_long_as_it_is() -> None:
    view = QueueView(waiting=100, runnable=100, waiting_s=0.5, per_worker=1.0)
    assert dict(evaluate(pool(), view).inputs)["waiting_s"] == 0.5
    assert evaluate(pool(3), queue(5, 0.5)).trigger.value == 2.5 / 3


def test_what_the_first_worker_and_the_last_one_cost_is_said() -> None:
    settings = ScalingSettings(target_queue_s=1, value_of_time=100.0)
    dear = WorkerType(name="cpu", capacity=ONE, usd_per_hour=300.0, provider="cloud")

    def reason(tests: int, workers: int = 0) -> str:
        return evaluate(pool(workers, settings=settings), queue(tests), worker_type=dear, boot_s=57.0).reason

    cost = "; the last one is the first and costs 5.0000 USD more, at 100 USD an hour of time: add 1 cpu to the 0 there"
    assert reason(1).endswith(cost)
    assert "the last one saves 441.5 s and costs 5.0000 USD more" in reason(940, 1)
    assert reason(60, 1).startswith(
        "1 cpu workers are enough for 60 runnable tests with 60.0 s of work: one more would save 1.5 s, "
        "which is not worth its 5.0000 USD, and none"
    )
    assert "worth" not in evaluate(pool(1, settings=settings), queue(940), boot_s=57.0).reason, "it costs nothing"
    assert "worth" not in reason(0, 1)


def by_utilization(share: float, workers: int = 4, queued: int = 0, *, running: int = 0, busy: int = 0) -> object:
    there = tuple(WorkerView.planned(f"w{number}", CPU) for number in range(workers))
    case = ScalingCase(
        worker_type=CPU,
        queue=QueueView(waiting=queued, runnable=queued, running=running, waiting_s=float(queued), per_worker=2.0),
        workers=there,
        pending=0,
        minimum=0,
        maximum=20,
        total_workers=workers,
        now_s=100.0,
        last_up_s=float("-inf"),
        last_down_s=float("-inf"),
        utilization=Utilization(cpu_reserved=share / 2, memory_reserved=share, window_s=300.0),
        boot_s=0.0,
        pending_s=None,
        votes=0,
        leaving=frozenset(),
    )
    decision = evaluate_scaling(ScalingSettings.of_policy("utilization"), case)
    return decision.wanted, decision.trigger.threshold, decision.reason, decision.alternatives


def test_the_band_of_utilization() -> None:
    over = "memory is {0}% reserved over 300 s"
    steady = "{1} cpu workers stay: " + over + ", between 30% and 80% or not idle for longer than 3 s"
    for_four = ("busy: 0 workers",)
    up = over.format(81) + ", above 80%: add 1 cpu to the 4 there"
    assert by_utilization(0.81) == (5, 0.8, up, for_four)
    assert by_utilization(0.8) == (4, 0.8, steady.format(80, 4), ("to_target: 5 workers", "busy: 0 workers"))
    assert by_utilization(0.3) == (4, 0.8, steady.format(30, 4), ("to_target: 2 workers", "busy: 0 workers"))
    assert by_utilization(0.29) == (2, 0.3, steady.format(29, 4), for_four)
    assert by_utilization(0.29, queued=4)[0] == 2, "four tests have two workers of two slots"
    assert by_utilization(0.29, queued=4, running=1)[0] == 3
    assert by_utilization(0.29, queued=99)[0] == 4, "and no more than there are"
    assert by_utilization(0.1, queued=1)[0] == 1
    assert by_utilization(0.0, 0)[:2] == (0, 0.8)
    first = "1 runnable tests wait and there is no cpu worker: add 1 cpu to the 0 there"
    assert by_utilization(0.0, 0, queued=1) == (1, 0.8, first, ("to_target: 0 workers", "busy: 0 workers"))


def test_a_count_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'^workers: 3\.\.2 is no range; write it like "1\.\.4"$'):
        evaluate(pool(), queue(1), minimum=3, maximum=2)
    with pytest.raises(ConfigError, match=r"^workers: -1 pending of 0 is no count$"):
        evaluate(pool(), queue(1), pending=-1, others=1)
    with pytest.raises(ConfigError, match=r"^workers: 0 pending of -1 is no count$"):
        evaluate(pool(), queue(1), others=-1)
    assert evaluate(pool(), queue(1), minimum=0, maximum=0).action is ScalingAction.DENIED


def test_without_a_core_a_worker_still_runs_one_test() -> None:
    half = WorkerType(name="cpu", capacity=Resources(cpu_cores=0.5, memory_bytes=2**30))
    assert dict(evaluate(pool(), QueueView(waiting=9, runnable=9), worker_type=half).inputs)["slots_per_worker"] == 1.0
    most = WorkerType(name="cpu", capacity=Resources(cpu_cores=3.9, memory_bytes=2**30))
    assert dict(evaluate(pool(), QueueView(waiting=9, runnable=9), worker_type=most).inputs)["slots_per_worker"] == 3.0


# -- settings


def test_the_defaults_are_those_of_the_table_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "requirements.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|([^|]*)\|([^|]*)\|", text.partition("| number |")[2], re.MULTILINE)
    compared = 0
    for names, *columns in rows:
        for policy, numbers in zip(("makespan", "utilization"), columns, strict=True):
            settings = parse_scaling(policy, where="docs")
            for name, number in zip(
                re.findall(r"`(\w+)`", names), filter(None, numbers.strip().split(", ")), strict=False
            ):
                in_seconds = hasattr(settings, f"{name}_s")
                documented = parse_duration(number, what=name) if in_seconds else float(number)
                assert getattr(settings, f"{name}_s" if in_seconds else name) == documented, (policy, name)
                compared += 1
    assert compared == 18


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fast", "x: 'fast' is no scaling policy; write makespan or utilization"),
        ("makespan,idle", "x: 'idle' is not NAME=NUMBER, once; write \"utilization,target=0.6\""),
        ("makespan,idle=1,idle=2", "x: 'idle=2' is not NAME=NUMBER, once; write \"utilization,target=0.6\""),
        ("makespan,idel=1", "x: unknown key 'idel'; did you mean 'idle'?"),
        ("makespan,target_queue=0", "x: target_queue_s: 0.0 is not a positive duration; give seconds, for example 5"),
        ("makespan,value_of_time=0", "x: value_of_time: '0' is no price; give USD an hour, for example 50"),
        ("makespan,votes=1001", "x: votes: nan is no number of decisions; give a whole number from 1"),
        ("makespan,votes=few", "x: votes: 'few' is not a number of decisions; give a number such as 3"),
        ("utilization,target=0.8", "x: scaling: not down_below < target < up_above: 0.3, 0.8, 0.8; "),
        ("utilization,target=0.3", "x: scaling: not down_below < target < up_above: 0.3, 0.3, 0.8; "),
        ("utilization,up_above=1.1", "x: scaling: not down_below < target < up_above: 0.3, 0.7, 1.1; "),
        ("utilization,down_below=-0.1", "x: scaling: not down_below < target < up_above: -0.1, 0.7, 0.8; "),
        ("utilization,target=high", "x: target: 'high' is not a share; give a number such as 0.7"),
    ],
)
def test_what_is_wrong_with_settings_is_said_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_scaling(text, where="x")
    assert str(caught.value).startswith(said)


def test_the_ends_of_what_may_be_set() -> None:
    found = parse_scaling(
        {"value_of_time": 0.5, "votes": 1000, "idle": 0, "up_cooldown": 0, "down_cooldown": 0, "boot": 0}, where="x"
    )
    assert found == ScalingSettings(
        value_of_time=0.5, votes=1000, idle_s=0, up_cooldown_s=0, down_cooldown_s=0, boot_s=0
    )
    assert parse_scaling("utilization,down_below=0,up_above=1", where="x").up_above == 1.0
    assert parse_scaling("utilization,votes=1", where="x").votes == 1
    assert parse_scaling(" makespan , idle = 2 ", where="x").idle_s == 2
    with pytest.raises(ConfigError, match="x: votes: True is not a number of decisions"):
        parse_scaling({"votes": True}, where="x")
    with pytest.raises(ConfigError, match="the keys are target_queue, idle,"):
        parse_scaling({"zzz": 1}, where="x")
    for wrong in ({"value_of_time": 0.0}, {"votes": 0}, {"idle_s": -1.0}, {"window_s": 0.0}, {"policy": "x"}):
        with pytest.raises(ConfigError):
            ScalingSettings(**wrong)
