"""The life of a worker: every state has a way out in time, no machine is forgotten, no busy worker is ended."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.dynamic_resource_manager.lifecycle import Deadlines, Do, Happened, Life, LifeEvent, Phase, advance

LIMITS = Deadlines(
    requested_s=10,
    allocated_s=20,
    registered_s=30,
    draining_s=5,
    gone_s=4,
    ask_again_s=2,
    lease_s=1000,
    lease_margin_s=100,
)


def lived(*kinds: Happened) -> Life:
    life = Life(asked_s=0.0)
    for kind in kinds:
        life, _ = advance(life, LifeEvent(kind=kind, now_s=0.0), LIMITS)
    return life


def at(life: Life, now_s: float, kind: Happened = Happened.TICK, *, busy: bool = False) -> tuple[Life, tuple[Do, ...]]:
    return advance(life, LifeEvent(kind=kind, now_s=now_s, busy=busy), LIMITS)


READY = (Happened.CREATED, Happened.JOINED, Happened.SERVES)


def test_a_life_from_the_wish_to_the_proof_of_its_end() -> None:
    life = Life(asked_s=0.0)
    seen: list[object] = [life.phase]
    for kind in (*READY, Happened.DRAIN, Happened.EMPTY, Happened.LEFT, Happened.ENDED):
        life, do = advance(life, LifeEvent(kind=kind, now_s=1.0), LIMITS)
        seen += [life.phase, *do]
    assert seen == [
        *(Phase.REQUESTED, Phase.ALLOCATED, Phase.REGISTERED, Phase.READY),
        *(Phase.DRAINING, Do.STOP, Phase.DRAINING, Do.RELEASE, Phase.GONE, Do.END, Phase.GONE, Do.FORGET),
    ]
    assert life.expected
    assert not life.failed_start


@pytest.mark.parametrize(
    ("kinds", "limit_s", "reason"),
    [
        ((Happened.CREATED,), 20, "did not join within 20 s"),
        ((Happened.CREATED, Happened.JOINED, Happened.HIRED), 30, "no executor of it was ready within 30 s"),
        ((*READY, Happened.DRAIN), 5, ""),
    ],
)
def test_a_worker_that_does_not_get_on_is_ended_at_its_deadline(
    kinds: tuple[Happened, ...], limit_s: float, reason: str
) -> None:
    life = lived(*kinds)
    assert at(life, limit_s) == (life, ())
    late, do = at(life, limit_s + 0.1)
    assert (late.phase, do[-1]) == (Phase.GONE, Do.END)
    assert reason in late.reason


def test_where_the_answer_to_a_create_was_lost_the_same_is_asked_again_and_nothing_else() -> None:
    """Leaks after lost creates (skypilot#656, distributed#6801): it counts as a machine until the fate is known."""
    life, do = at(lived(), 1.0, Happened.FATE_UNKNOWN)
    assert (life.phase, life.is_pending, do) == (Phase.REQUESTED, True, ())
    life, do = at(life, 3.5)
    assert do == (Do.ASK,)
    life, _ = at(life, 4.0, Happened.FATE_UNKNOWN)
    life, do = at(life, 11.0)
    assert (life.phase, life.is_pending, life.overdue, do) == (Phase.REQUESTED, False, True, (Do.ASK,))
    known, _ = at(life, 12.0, Happened.CREATED)
    assert (known.phase, known.is_pending) == (Phase.ALLOCATED, True)
    assert at(life, 12.0, Happened.REFUSED)[1] == (Do.FORGET,)


def test_a_machine_whose_end_is_not_confirmed_is_ended_again() -> None:
    life, do = at(lived(Happened.CREATED), 1.0, Happened.VANISHED)
    assert do == (Do.END,)
    life, do = at(life, 2.0, Happened.END_FAILED)
    assert (life.phase, do) == (Phase.GONE, ())
    assert at(life, 5.0)[1] == ()
    assert at(life, 6.0)[1] == (Do.END,)


def test_a_create_that_is_answered_too_late_is_ended() -> None:
    gone = replace(lived(), phase=Phase.GONE)
    assert at(gone, 1.0, Happened.CREATED)[1] == (Do.END,)


def test_a_drain_is_taken_back_until_the_worker_was_told_to_end() -> None:
    draining = lived(*READY, Happened.DRAIN)
    assert at(draining, 1.0, Happened.KEEP)[0].phase is Phase.READY
    released = lived(*READY, Happened.DRAIN, Happened.EMPTY)
    assert at(released, 1.0, Happened.KEEP) == (released, ())


def test_a_worker_whose_machine_will_be_taken_away_is_not_kept() -> None:
    noticed, do = at(lived(*READY), 1.0, Happened.NOTICED)
    assert (noticed.phase, do) == (Phase.DRAINING, ())
    assert at(noticed, 2.0, Happened.KEEP) == (noticed, ())
    assert at(noticed, 2.0, Happened.EMPTY)[1] == (Do.RELEASE,)
    assert not at(noticed, 2.0, Happened.LEFT, busy=True)[0].expected, "it took a test with it"


def test_a_busy_worker_is_not_ended_however_late_it_is() -> None:
    """Busy workers killed (terraform-aws-github-runner#4391, karpenter#701)."""
    for kinds in ((*READY, Happened.DRAIN), (Happened.CREATED, Happened.JOINED, Happened.HIRED), READY):
        life, do = at(lived(*kinds), 10_000.0, busy=True)
        assert Do.END not in do
        assert Do.RELEASE not in do
        assert life.phase is not Phase.GONE


def test_a_worker_drains_before_the_lease_of_its_machine_ends() -> None:
    ready = lived(*READY)
    assert at(ready, 899.0)[1] == ()
    life, do = at(ready, 901.0, busy=True)
    assert (life.phase, do) == (Phase.DRAINING, (Do.STOP,))
    assert "lease" in life.reason
    unlimited = advance(ready, LifeEvent(kind=Happened.TICK, now_s=1e9), replace(LIMITS, lease_s=math.inf))
    assert unlimited[1] == ()


def heard(life: Life, kind: Happened, now_s: float, reason: str = "", *, busy: bool = False) -> Life:
    return advance(life, LifeEvent(kind=kind, now_s=now_s, reason=reason, busy=busy), LIMITS)[0]


def test_each_step_of_a_life_notes_when_and_why() -> None:
    asked = Life(asked_s=1.0)
    assert (asked.phase, asked.is_pending) == (Phase.REQUESTED, True)
    lost = heard(asked, Happened.FATE_UNKNOWN, 2.0, "reset by peer")
    assert lost == Life(asked_s=1.0, again_s=4.0, reason="reset by peer")
    there = heard(lost, Happened.CREATED, 5.0)
    assert there == Life(asked_s=1.0, phase=Phase.ALLOCATED, since_s=5.0, reason="reset by peer")
    joined = heard(replace(there, reason=""), Happened.JOINED, 6.0)
    assert (joined.phase, joined.since_s, joined.is_pending) == (Phase.REGISTERED, 6.0, False)
    hired = heard(heard(joined, Happened.HIRED, 7.0), Happened.HIRED, 8.0)
    assert hired == replace(joined, hired_s=7.0), "the first one counts"
    ready = heard(hired, Happened.SERVES, 9.0)
    drains = heard(ready, Happened.DRAIN, 10.0, "idle")
    assert drains == replace(ready, phase=Phase.DRAINING, since_s=10.0, reason="idle")
    assert heard(drains, Happened.KEEP, 11.0) == replace(ready, since_s=11.0)
    told = heard(drains, Happened.EMPTY, 12.0)
    assert told == replace(drains, released=True, told=True)
    assert at(told, 12.5, Happened.EMPTY) == (told, ()), "once is enough"
    gone = heard(told, Happened.LEFT, 13.0)
    assert gone == replace(told, phase=Phase.GONE, since_s=13.0, again_s=17.0, expected=True)
    again = heard(gone, Happened.END_FAILED, 14.0, "throttled")
    assert again == replace(gone, again_s=18.0), "and why it is gone stays what it was"
    assert heard(again, Happened.ENDED, 15.0) == replace(gone, again_s=math.inf)


def test_it_is_known_whether_it_ever_served_and_whether_we_let_it_go() -> None:
    refused = heard(Life(asked_s=0.0), Happened.REFUSED, 1.0, "quota")
    assert refused == Life(asked_s=0.0, phase=Phase.GONE, since_s=1.0, reason="quota", failed_start=True)
    ends = {
        (): (True, False),
        (Happened.CREATED,): (True, False),
        (Happened.CREATED, Happened.JOINED): (True, False),
        READY: (False, False),
        (*READY, Happened.DRAIN): (False, True),
    }
    for kinds, expected in ends.items():
        left = heard(lived(*kinds), Happened.LEFT, 1.0, "cut off")
        assert (left.failed_start, left.expected) == expected, kinds
        assert (left.reason, left.again_s) == ("cut off", 5.0)
    assert heard(lived(Happened.CREATED), Happened.VANISHED, 1.0).failed_start
    assert heard(lived(*READY), Happened.VANISHED, 1.0) == lived(*READY), "the engine misses it"


def test_a_notice_of_the_provider_is_no_new_beginning_of_a_drain() -> None:
    drains = heard(lived(*READY), Happened.DRAIN, 3.0, "idle")
    noticed = heard(drains, Happened.NOTICED, 4.0, "spot")
    assert noticed == replace(drains, released=True, reason="spot")
    assert heard(lived(*READY), Happened.NOTICED, 4.0, "spot").since_s == 4.0
    assert at(noticed, 8.0, Happened.TICK)[1] == ()
    assert at(noticed, 8.1, Happened.TICK)[1] == (Do.END,)


def test_deadlines_are_kept_to_the_second() -> None:
    overdue = at(lived(), 10.0)[0], at(lived(), 10.1)[0]
    assert [life.overdue for life in overdue] == [False, True]
    lost = heard(Life(asked_s=0.0), Happened.FATE_UNKNOWN, 1.0)
    assert at(lost, 2.9)[1] == ()
    asked, do = at(lost, 3.0)
    assert (do, asked.again_s) == ((Do.ASK,), math.inf), "asked again once, until the answer is lost again"
    registered = heard(lived(Happened.CREATED, Happened.JOINED), Happened.HIRED, 5.0)
    assert at(registered, 35.0)[1] == ()
    assert at(registered, 35.1)[1] == (Do.RELEASE, Do.END)
    assert at(lived(Happened.CREATED, Happened.JOINED), 899.0)[1] == (), "nobody has asked for an executor"
    assert at(lived(Happened.CREATED, Happened.JOINED), 901.0)[1] == (Do.STOP,), "its lease ends as well"
    leased = replace(lived(*READY), asked_s=10.0)
    assert at(leased, 910.0)[1] == ()
    assert at(leased, 910.1)[0].reason == "the lease of its machine, 1000 s, ends soon"
    gone = heard(lived(*READY), Happened.LEFT, 1.0)
    assert at(gone, 4.9)[1] == ()
    ended, do = at(gone, 5.0)
    assert (do, ended.again_s) == ((Do.END,), 9.0)
    assert at(heard(lived(*READY), Happened.DRAIN, 0.0), 5.1)[0].reason == "it drained"
    assert at(heard(lived(*READY), Happened.DRAIN, 0.0, "idle"), 5.1)[0].reason == "idle"


def test_the_deadlines_are_those_of_the_documentation() -> None:
    limits = Deadlines(allocated_s=1, registered_s=1, draining_s=1, lease_s=math.inf, lease_margin_s=1)
    text = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert f"| {limits.requested_s:g} s without an answer" in text
    assert f"| every {limits.gone_s:g} s it is ended again" in text


@given(st.lists(st.tuples(st.sampled_from(Happened), st.floats(0, 40), st.booleans()), max_size=30))
def test_whatever_happens_no_machine_is_forgotten_and_no_busy_worker_is_ended(
    happenings: list[tuple[Happened, float, bool]],
) -> None:
    life, now_s = Life(asked_s=0.0), 0.0
    for kind, step_s, busy in happenings:
        now_s += step_s
        before = life
        heard = kind in (Happened.LEFT, Happened.VANISHED)  # then nothing runs on it any more
        busy = busy and not heard and life.phase in (Phase.REGISTERED, Phase.READY, Phase.DRAINING)
        life, do = advance(life, LifeEvent(kind=kind, now_s=now_s, busy=busy), LIMITS)
        if Do.END in do and before.phase is not Phase.GONE:
            assert heard or not busy
        if Do.FORGET in do:
            assert kind in (Happened.ENDED, Happened.REFUSED)
            assert kind is Happened.ENDED or before.phase in (Phase.REQUESTED, Phase.GONE)
            return
        if before.phase is Phase.GONE:
            assert life.phase is Phase.GONE, "nobody comes back"
    for _ in range(50):  # with time alone, nobody stays on the way for ever
        now_s += 50.0
        life, _ = advance(life, LifeEvent(kind=Happened.TICK, now_s=now_s), LIMITS)
    assert life.phase in (Phase.REQUESTED, Phase.GONE)
    assert life.phase is not Phase.REQUESTED or life.overdue
