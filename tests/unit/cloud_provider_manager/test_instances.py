"""What providers share: order, what a limit leaves, times, and waiting until something is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drm.cloud_provider_manager.providers.instances import Mine, left_of, oldest_first, seconds_of, wait_until_gone
from drm.model.cluster import Instance, InstanceState, WorkerType
from drm.model.errors import DrmError
from drm.model.resources import Resources

ONE = WorkerType(name="one", capacity=Resources(cpu_cores=1))


def instance(instance_id: str, created_at: float | None = None) -> Instance:
    return Instance(
        instance_id=instance_id,
        worker_id="w",
        worker_type="one",
        provider="p",
        state=InstanceState.RUNNING,
        created_at=created_at,
    )


def test_the_oldest_comes_first_and_one_of_unknown_age_before_it() -> None:
    made = [instance("b", 2.0), instance("c", 1.0), instance("a", 2.0), instance("d")]
    assert [each.instance_id for each in oldest_first(made)] == ["d", "c", "a", "b"]


def test_what_has_ended_is_there_unless_this_process_made_it() -> None:
    mine = Mine(a=instance("a"), b=instance("b"))
    ended = [replace(each, state=InstanceState.GONE) for each in (instance("a"), instance("x"))]
    shown = mine.there([*ended, instance("b")])
    assert [(each.instance_id, each.state) for each in shown] == [
        ("b", InstanceState.RUNNING),
        ("x", InstanceState.TERMINATING),
    ]


def test_one_that_is_closed_stays_known() -> None:
    mine = Mine(a=instance("a"))
    mine.close("a", "its end")
    mine.close("of another process", "its end")
    assert mine == {"a": replace(instance("a"), state=InstanceState.GONE, detail="its end")}


def test_a_limit_leaves_what_instances_of_known_types_do_not_take() -> None:
    live = [instance("a"), instance("b"), replace(instance("c"), worker_type="of another run")]
    assert left_of(Resources(cpu_cores=4), [ONE], live) == Resources(cpu_cores=2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T00:00:00.123456789Z", 1767225600.123456),  # docker
        ("2025-12-31T16:00:00.5-08:00", 1767225600.5),  # Compute Engine
        ("", None),
        (None, None),
    ],
)
def test_times_of_providers(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(("looks", "waits"), [(0, 0), (3, 3)])
def test_it_is_looked_until_it_is_gone(clock, looks: int, waits: int) -> None:
    left, waited = [True] * looks + [False], []

    def wait(seconds: float) -> None:
        waited.append(clock.advance(seconds))

    wait_until_gone(lambda: not left.pop(0), "i-1", 10, look_s=2, now=clock.now, wait=wait, remedy="look")
    assert len(waited) == waits


def test_what_does_not_go_is_said_with_a_remedy(clock) -> None:
    with pytest.raises(DrmError, match=r"i-1 has not ended 10 s after it was told to; look there"):
        wait_until_gone(lambda: False, "i-1", 10, look_s=3, now=clock.now, wait=clock.advance, remedy="look there")
    assert clock.now() == 12
