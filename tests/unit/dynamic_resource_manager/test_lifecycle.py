"""The life of a worker: every state has a way out in time, no machine is forgotten, no busy worker is ended."""

from __future__ import annotations

import math
from dataclasses import replace

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
