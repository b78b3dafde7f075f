"""How many workers are worth it: each closed formula against the end that it promises, found by trying."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.dynamic_resource_manager.worth import UNBOUNDED, Outlook

TINY = 1e-6
outlooks = st.builds(
    Outlook,
    work_s=st.just(0.0) | st.floats(0.01, 1000),
    slots=st.floats(1, 8),
    present=st.integers(0, 10),
    pending_s=st.just(0.0) | st.floats(0.01, 50),
    boot_s=st.just(0.0) | st.floats(0.5, 60),
    longest_s=st.just(0.0) | st.floats(0.5, 100),
)


def look(
    work_s: float,
    *,
    slots: float = 1.0,
    present: int = 0,
    pending_s: float = 0.0,
    boot_s: float = 0.0,
    longest_s: float = 0.0,
) -> Outlook:
    return Outlook(work_s=work_s, slots=slots, present=present, pending_s=pending_s, boot_s=boot_s, longest_s=longest_s)


def ends_s(seen: Outlook, workers: int) -> float:
    """F(n) of docs/scaling.md without L."""
    if not workers:
        return 0.0 if seen.work_s + seen.pending_s == 0 else math.inf
    boots_s = max(0, workers - seen.present) * seen.boot_s
    return (seen.work_s / seen.slots + seen.pending_s + boots_s) / workers


def test_the_end_by_hand() -> None:
    """120 s of work on workers of two slots, two there, one of them for another 10 s on its way."""
    seen = look(120, slots=2, present=2, pending_s=10, boot_s=20, longest_s=30)
    assert seen.ahead_s == 70
    assert seen.movable_s == 30, "what the two have not done when a new one has booted"
    assert [seen.finish_s(n) for n in range(6)] == [math.inf, 70, 35, 30, 30, 30]
    assert look(120, present=1, boot_s=20).finish_s(3) == (120 + 2 * 20) / 3
    assert look(0).finish_s(0) == 0.0, "nobody is needed for nothing"
    assert (seen.saved_s(1), seen.saved_s(2), seen.saved_s(3), seen.saved_s(4)) == (math.inf, 35, 5, 0)


@given(outlooks, st.floats(0.5, 100))
def test_the_target_is_met_by_the_workers_named_and_by_no_fewer(seen: Outlook, target_s: float) -> None:
    found = seen.by_target(target_s)
    if found == UNBOUNDED:
        assert target_s <= seen.boot_s
        assert ends_s(seen, seen.present) > target_s - TINY
        return
    assert ends_s(seen, found) <= target_s + TINY or (found == seen.present and target_s <= seen.boot_s)
    assert not found or ends_s(seen, found - 1) > target_s - TINY or found == seen.present


@given(outlooks)
def test_more_workers_than_end_with_the_longest_test_end_no_sooner(seen: Outlook) -> None:
    found = seen.by_longest()
    if found == UNBOUNDED:
        assert seen.longest_s <= seen.boot_s or seen.longest_s == 0
        return
    if ends_s(seen, found) <= seen.longest_s + TINY:
        assert seen.finish_s(max(found, 1)) == pytest.approx(seen.longest_s, abs=TINY)
    else:
        assert found == seen.present
        assert seen.longest_s <= seen.boot_s
    assert not found or found == seen.present or ends_s(seen, found - 1) > seen.longest_s - TINY


@given(outlooks, st.floats(0.1, 1000), st.floats(0.01, 50), st.floats(0.5, 100))
def test_the_last_worker_is_worth_its_cost_and_one_more_is_not(
    seen: Outlook, value: float, price: float, unused_s: float
) -> None:
    found = seen.by_value(value, price, unused_s)
    if seen.movable_s == 0:
        assert found == seen.present
        return

    def saved_s(workers: int) -> float:
        return seen.movable_s / (workers * (workers - 1))

    cost = price * unused_s
    assert found >= max(1, seen.present)
    if found > max(1, seen.present):
        assert value * saved_s(found) >= cost * (1 - TINY)
    assert value * saved_s(found + 1) < cost * (1 + TINY)


def test_what_costs_nothing_or_is_worth_everything_has_no_end() -> None:
    assert look(10).by_value(50, 0.0, 3.0) == UNBOUNDED
    assert look(10).by_value(50, 0.5, 0.0) == UNBOUNDED
    assert look(10).by_value(math.inf, 0.5, 3.0) == UNBOUNDED
    assert look(10).by_value(0.01, 1000.0, 3.0) == 1, "the first one is always worth it"
    assert look(10, present=4).by_value(0.01, 1000.0, 3.0) == 4, "those there count as paid for"


def test_boots_that_take_longer_than_the_target() -> None:
    assert look(100, present=2, boot_s=5).by_target(5) == UNBOUNDED, "no number of workers makes it"
    assert look(10, present=2, boot_s=5).by_target(4) == 2, "those there are done before another has booted"
    assert look(100, boot_s=5).by_target(6) == 100
    assert look(5.5, present=1, boot_s=5).by_target(4) == UNBOUNDED, "half a second is left when another has booted"
    assert look(0, present=3).by_target(5) == 0
    assert look(15, present=3).by_target(5) == 3
    assert look(10.1, present=3).by_target(5) == 3
    assert look(10, present=3).by_target(5) == 2
    assert look(10).by_longest() == UNBOUNDED, "nothing is known of the longest"
    assert look(90, longest_s=45, present=2).by_longest() == 2
    assert look(91, longest_s=45, present=2).by_longest() == 3
    assert look(50, longest_s=45, present=3).by_longest() == 2
