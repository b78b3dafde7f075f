"""When starting tests is held for want of memory, and who is killed when it has come to that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.dynamic_resource_manager.memory import Holder, MemoryCase, MemorySettings, MemoryVerdict, judge, room_bytes
from drm.model.memory import MemoryLevel, MemorySample
from drm.model.plan import Trigger

MIB = 2**20
SETTINGS = MemorySettings()
LIMIT = 1000 * MIB


def sample(used_mib: int, *, pressure: float = 0.0, name: str = "the cgroup /job") -> MemorySample:
    machine = MemoryLevel(name="the machine", limit_bytes=64 * LIMIT, used_bytes=LIMIT)
    group = MemoryLevel(name=name, limit_bytes=LIMIT, used_bytes=used_mib * MIB)
    return MemorySample(levels=(machine, group), pressure=pressure)


def holder(name: str, reserved_mib: int = 0, grown_mib: int = 0, *, running: bool = True) -> Holder:
    return Holder(executor_id=name, running=running, reserved_bytes=reserved_mib * MIB, grown_bytes=grown_mib * MIB)


def verdict(
    used_mib: int,
    *holders: Holder,
    free_mib: int = 500,
    held: bool = False,
    pressure: float = 0.0,
    now_s: float = 100.0,
    killed_s: float = float("-inf"),
) -> MemoryVerdict:
    case = MemoryCase(
        sample=sample(used_mib, pressure=pressure),
        holders=holders,
        free_bytes=free_mib * MIB,
        held=held,
        now_s=now_s,
        killed_s=killed_s,
    )
    return judge(case, SETTINGS)


def case_with_a_byte(used_mib: int) -> MemoryCase:
    """Of all that the books have, one byte is left."""
    return MemoryCase(sample=sample(used_mib), holders=(), free_bytes=1, held=False, now_s=0.0, killed_s=0.0)


def test_room_is_what_is_left_less_what_was_promised_and_not_taken() -> None:
    holders = (holder("gw0", 100, 30), holder("gw1", 100, 250))
    assert room_bytes(sample(500), holders, SETTINGS) == (1000 - 500 - 40 - 70) * MIB
    assert room_bytes(MemorySample(levels=()), holders, SETTINGS) > 2**60


def test_nothing_is_held_while_all_keep_to_what_is_reserved() -> None:
    found = verdict(600, holder("gw0", 200, 100), holder("gw1", 200, 200), free_mib=100)
    assert (found.held, found.kill) == (False, None)


def test_a_worker_that_is_fully_reserved_is_not_held() -> None:
    """Nothing more can start there anyway."""
    assert not verdict(500, holder("gw0", 900, 400), free_mib=0).held


def test_starting_is_held_when_use_runs_ahead_of_the_books() -> None:
    found = verdict(900, holder("gw0", 100, 400), holder("gw1", 100, 20))
    assert found.held
    assert found.kill is None
    assert found.trigger.code == "memory"
    assert found.reason == (
        "900 MiB of the cgroup /job's 1000 MiB are used and running tests may take 80 MiB more: room for 0 B"
    )


def test_starting_goes_on_only_when_there_is_room_again() -> None:
    assert not verdict(925, held=False).held
    assert verdict(925, held=True).held
    assert not verdict(900, held=True).held


def test_pressure_holds_and_lets_go_later() -> None:
    found = verdict(300, pressure=0.3)
    assert (found.held, found.trigger.code) == (True, "pressure")
    assert found.reason == "processes waited for memory 30% of the last ten seconds"
    assert not verdict(300, pressure=0.15).held
    assert verdict(300, pressure=0.15, held=True).held
    assert not verdict(300, pressure=0.05, held=True).held


def test_the_one_that_broke_its_promise_is_killed_not_the_largest() -> None:
    found = verdict(990, holder("large", 600, 600), holder("hog", 50, 250), holder("idle", 0, 300, running=False))
    assert found.kill == "hog"
    assert found.kill_reason == (
        "it used 250 MiB with 50 MiB reserved when 990 MiB of the cgroup /job's limit of 1000 MiB were used"
    )


@pytest.mark.parametrize(
    ("used_mib", "holders", "killed_s"),
    [
        (970, (holder("a", 50, 500), holder("b", 50, 50)), float("-inf")),  # there is some left
        (990, (holder("a", 50, 900),), float("-inf")),  # alone, and not past the limit
        (990, (holder("a", 500, 450), holder("b", 500, 500)), float("-inf")),  # all keep their promise
        (1010, (holder("a", 50, 500), holder("b", 50, 50)), 99.5),  # one is dying already
        (1010, (holder("idle", 0, 500, running=False),), float("-inf")),  # nobody runs anything
    ],
)
def test_nobody_is_killed_needlessly(used_mib: int, holders: tuple[Holder, ...], killed_s: float) -> None:
    assert verdict(used_mib, *holders, killed_s=killed_s).kill is None


def test_past_the_limit_one_is_killed_also_alone() -> None:
    assert verdict(1010, holder("a", 50, 900)).kill == "a"


def test_on_a_large_machine_the_spare_is_so_many_bytes() -> None:
    """Parts of the limit on a small one; of 64 GB that would be too much."""
    large = MemorySample(levels=(MemoryLevel(name="the machine", limit_bytes=64 * LIMIT, used_bytes=LIMIT),))
    assert room_bytes(large, (), SETTINGS) == 63 * LIMIT - 256 * MIB

    def left(mib: int, *, held: bool = False) -> MemoryVerdict:
        level = MemoryLevel(name="the machine", limit_bytes=64 * LIMIT, used_bytes=64 * LIMIT - mib * MIB)
        both = (holder("a", 50, 500), holder("b", 50, 50))
        case = MemoryCase(
            sample=MemorySample(levels=(level,)),
            holders=both,
            free_bytes=LIMIT,
            held=held,
            now_s=5.0,
            killed_s=4.0,
        )
        return judge(case, SETTINGS)

    assert (left(256).held, left(257).held) == (True, False)
    assert (left(512, held=True).held, left(513, held=True).held) == (True, False)
    assert (left(63).kill, left(64).kill) == ("a", None), "and a second after the last one"


def test_at_the_limit_itself_nobody_is_killed_alone() -> None:
    assert verdict(1000, holder("a", 50, 900)).kill is None
    assert verdict(1001, holder("a", 50, 900)).kill == "a"
    assert verdict(981, holder("a", 50, 51), holder("b", 50, 50)).kill == "a"
    assert verdict(980, holder("a", 50, 51), holder("b", 50, 50)).kill is None, "20 MiB are left"
    assert verdict(990, holder("a", 50, 50), holder("b", 50, 50)).kill is None, "none is above"


def test_a_verdict_says_what_was_measured_against_what() -> None:
    waits = verdict(300, pressure=0.3)
    assert waits.trigger == Trigger(code="pressure", metric="memory_pressure", value=0.3, threshold=0.2)
    still = verdict(300, pressure=0.15, held=True)
    assert still.trigger == Trigger(code="pressure", metric="memory_pressure", value=0.15, threshold=0.1)
    tight = verdict(950, holder("a", 100, 80))
    assert tight.trigger == Trigger(code="memory", metric="room_bytes", value=-10.0 * MIB, threshold=0.0)
    roomy = verdict(900, held=True)
    assert roomy.trigger == Trigger(code="memory", metric="room_bytes", value=60.0 * MIB, threshold=40.0 * MIB)
    assert not roomy.held
    assert roomy.kill_reason == ""
    assert verdict(800, pressure=0.2).held is False, "only above it"
    boundless = judge(
        MemoryCase(sample=MemorySample(levels=()), holders=(), free_bytes=1, held=False, now_s=0.0, killed_s=0.0),
        SETTINGS,
    )
    assert not boundless.held
    assert "of nothing's" in boundless.reason


def test_who_holds_as_much_as_is_free_in_the_books_is_not_held() -> None:
    """Starting is held when the books say that something could start, and memory that it could not."""
    assert verdict(960, free_mib=1).held
    assert not verdict(960, free_mib=0).held
    assert verdict(930, held=True, free_mib=31).held
    assert judge(case_with_a_byte(960), SETTINGS).held, "a byte is something"
    assert not verdict(930, held=True, free_mib=30).held, "the books leave no more than there is"


holders_strategy = st.lists(
    st.builds(
        Holder,
        executor_id=st.sampled_from("abcdef"),
        running=st.booleans(),
        reserved_bytes=st.integers(0, 2 * LIMIT),
        grown_bytes=st.integers(0, 2 * LIMIT),
    ),
    max_size=6,
    unique_by=lambda each: each.executor_id,
).map(tuple)
levels_strategy = st.lists(
    st.builds(
        MemoryLevel,
        name=st.sampled_from(["the machine", "the cgroup /x"]),
        limit_bytes=st.integers(1, 4 * LIMIT),
        used_bytes=st.integers(0, 5 * LIMIT),
    ),
    max_size=4,
).map(tuple)
cases = st.builds(
    MemoryCase,
    sample=st.builds(MemorySample, levels=levels_strategy, pressure=st.floats(0, 1)),
    holders=holders_strategy,
    free_bytes=st.integers(0, 4 * LIMIT),
    held=st.booleans(),
    now_s=st.floats(0, 1e6),
    killed_s=st.just(float("-inf")) | st.floats(0, 1e6),
)


@given(cases)
def test_who_is_killed_runs_and_is_furthest_above_its_reservation(case: MemoryCase) -> None:
    kill = judge(case, SETTINGS).kill
    if kill is None:
        return
    running = [each for each in case.holders if each.running]
    (victim,) = [each for each in running if each.executor_id == kill]
    assert victim.above_bytes == max(each.above_bytes for each in running)
    least = min(level.left_bytes for level in case.sample.levels)
    assert least < SETTINGS.last_bytes
    assert least < 0 or victim.above_bytes > 0
    assert case.now_s - case.killed_s >= SETTINGS.kill_again_s


@given(cases)
def test_what_is_promised_never_passes_any_limit(case: MemoryCase) -> None:
    """A test that fits the room leaves every limit its spare, even if all take what they may."""
    room = room_bytes(case.sample, case.holders, SETTINGS)
    due = sum(each.due_bytes for each in case.holders)
    for level in case.sample.levels:
        assert level.used_bytes + due + room <= level.limit_bytes


@given(cases, st.integers(0, LIMIT))
def test_more_use_never_ends_a_hold(case: MemoryCase, more: int) -> None:
    levels = tuple(
        MemoryLevel(name=level.name, limit_bytes=level.limit_bytes, used_bytes=level.used_bytes + more)
        for level in case.sample.levels
    )
    worse = MemoryCase(
        sample=MemorySample(levels=levels, pressure=case.sample.pressure),
        holders=case.holders,
        free_bytes=case.free_bytes,
        held=case.held,
        now_s=case.now_s,
        killed_s=case.killed_s,
    )
    if judge(case, SETTINGS).held and case.free_bytes:
        assert judge(worse, SETTINGS).held
