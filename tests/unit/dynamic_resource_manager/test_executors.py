"""When a worker gets more executors, or fewer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drm.dynamic_resource_manager.executors import CrewCase, CrewDecision, CrewSettings, IdleExecutor, decide_crew
from drm.model.plan import ScalingAction, Trigger

MIB = 2**20
SETTINGS = CrewSettings()


def idle(name: str, idle_s: float = 0.0, grown_mib: int = 0, *, has_group: bool = False) -> IdleExecutor:
    return IdleExecutor(executor_id=name, idle_s=idle_s, grown_bytes=grown_mib * MIB, has_group=has_group)


def decide(
    *idlers: IdleExecutor,
    least: int = 1,
    most: int = 4,
    busy: int = 0,
    starting: int = 0,
    waiting: int = 10,
    startable: int = 0,
    short: bool = False,
) -> CrewDecision:
    case = CrewCase(
        least=least,
        most=most,
        busy=busy,
        starting=starting,
        idle=idlers,
        waiting=waiting,
        startable=startable,
        short=short,
    )
    return decide_crew(case, SETTINGS)


def test_executors_are_added_for_what_could_start() -> None:
    found = decide(busy=1, startable=2)
    assert (found.action, found.hire) == (ScalingAction.UP, 2)
    assert found.reason == "10 tests wait and 2 could start: 2 more than 1"
    assert decide(busy=1, startable=9).hire == 3, "no more than the most"
    assert decide(least=3, startable=1).hire == 3, "the least are there from the start"
    assert decide(least=3, waiting=2, startable=1).hire == 2
    assert decide(busy=1, starting=2, startable=2).hire == 0, "they are on their way"
    assert decide(idle("a"), busy=1, startable=1).hire == 0, "somebody is free"


def test_idle_ones_go_after_a_while_down_to_the_least() -> None:
    found = decide(idle("a", 4), idle("b", 5), idle("c", 1), waiting=0)
    assert (found.action, found.dismiss) == (ScalingAction.DOWN, ("b", "a"))
    assert found.trigger.code == "idle"
    assert decide(idle("a", 4), idle("b", 5), least=2, waiting=0).dismiss == ()
    assert decide(idle("a", 4), busy=2, startable=1).dismiss == (), "it is about to be given something"


def test_with_memory_short_only_the_least_stay() -> None:
    found = decide(idle("a", 0, 1), idle("b", 0, 5), busy=1, short=True)
    assert (found.dismiss, found.trigger.code) == (("b", "a"), "memory")
    assert found.reason == "memory is short for what waits: 2 idle of 3 executors end and give 6 MiB back"
    assert decide(idle("a", 0, 1), busy=1, least=2, short=True).dismiss == ()
    assert decide(idle("a", 0, 99), busy=1, least=2, short=True).dismiss == ("a",), "it has much to give"
    assert decide(idle("a", 0, 99), short=True).dismiss == (), "somebody stays"


def test_an_executor_that_a_group_waits_for_stays() -> None:
    waited_for = idle("a", 9, 99, has_group=True)
    assert decide(waited_for, idle("b", 9, 1), busy=1, short=True).dismiss == ("b",)
    assert decide(waited_for, idle("b", 9), busy=1).dismiss == ("b",)
    assert decide(waited_for, busy=1, short=True).dismiss == ()


def test_an_idle_executor_goes_after_three_seconds() -> None:
    assert decide(idle("a", 3.0), busy=1).dismiss == ()
    found = decide(idle("a", 3.25), idle("b", 4.5), busy=1)
    assert found == CrewDecision(
        action=ScalingAction.DOWN,
        trigger=Trigger(code="idle", metric="idle_s", value=4.5, threshold=3.0),
        reason="executor b is idle for 4.5 s (limit 3 s) and nothing that waits can start: 2 of 3 end",
        dismiss=("b", "a"),
    )


def test_an_executor_that_gives_16_mib_back_is_worth_to_be_ended() -> None:
    assert decide(idle("a", 0, 15), busy=1, least=2, short=True).dismiss == ()
    assert decide(idle("a", 0, 16), busy=1, least=2, short=True).dismiss == ("a",)
    found = decide(idle("a", 0, 16), idle("b", 0, 16), idle("c", 0, 20), least=3, short=True)
    assert found.dismiss == ("c", "a"), "those who give most, by name where they give the same, and one stays"
    assert found.trigger == Trigger(code="memory", metric="given_back_bytes", value=36.0 * MIB, threshold=0.0)
    assert decide(idle("a", 0, 1), idle("b", 0, 2), least=0, short=True).dismiss == ("b",), "one stays here too"


def test_a_decision_about_executors_counts_those_that_are_there() -> None:
    found = decide(idle("a", 1.0), busy=2, starting=1, startable=3, most=9)
    assert found == CrewDecision(
        action=ScalingAction.UP,
        trigger=Trigger(code="waiting", metric="startable", value=3.0, threshold=2.0),
        reason="10 tests wait and 3 could start: 1 more than 4",
        hire=1,
    )
    found = decide(idle("a", 1.0), busy=2, starting=1, startable=2)
    assert found == CrewDecision(
        action=ScalingAction.HOLD,
        trigger=Trigger(code="steady", metric="startable", value=2.0, threshold=2.0),
        reason="4 executors are enough",
    )
    assert decide(least=3, waiting=9, startable=0).hire == 0, "nothing could start"
    assert decide(busy=1, least=4, waiting=2, startable=1).hire == 2, "no more than there is work for"
    assert decide(starting=1, least=2, waiting=9, startable=1).hire == 1


def test_times_and_amounts_can_be_set() -> None:
    case = CrewCase(least=1, most=4, busy=1, starting=0, idle=(idle("a", 4, 1),), waiting=0, startable=0, short=False)
    assert decide_crew(case, CrewSettings(idle_s=5)).dismiss == ()
    assert decide_crew(case, CrewSettings(idle_s=4)).dismiss == ()
    assert decide_crew(case, CrewSettings(idle_s=1)).dismiss == ("a",)


@given(
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 5),
    st.integers(0, 5),
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 100)), max_size=5),
    st.integers(0, 20),
    st.integers(0, 20),
    st.booleans(),
)
def test_bounds(
    least: int,
    beyond: int,
    busy: int,
    starting: int,
    idlers: list[tuple[float, int]],
    waiting: int,
    startable: int,
    short: bool,
) -> None:
    names = [idle(f"gw{n}", *row) for n, row in enumerate(idlers)]
    most = least + beyond
    present = busy + starting + len(names)
    found = decide(
        *names,
        least=least,
        most=most,
        busy=busy,
        starting=starting,
        waiting=waiting,
        startable=startable,
        short=short,
    )
    assert not (found.hire and found.dismiss)
    assert 0 <= found.hire <= max(0, most - present)
    assert not found.hire or startable
    assert found.hire <= max(startable, least)
    assert set(found.dismiss) <= {each.executor_id for each in names}
    assert not found.dismiss or present - len(found.dismiss) >= 1 or least == 0
    if not short:
        assert not found.dismiss or present - len(found.dismiss) >= least
    changed = found.hire or found.dismiss
    assert (found.action is ScalingAction.HOLD) == (not changed)
