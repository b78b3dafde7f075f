"""What is left is found and ended; what is used, and what is not DRM's, is not."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.owner import is_alive, this_process
from drm.cloud_provider_manager.reaping import Reaped, judge, reap
from drm.model.cluster import Instance, InstanceRequest, InstanceState
from drm.model.errors import LostError, ThrottledError

NOW = 1_800_000_000.0
Request = Callable[..., InstanceRequest]


def instance(
    *, managed: str = "1", expires: str = "", age_s: float | None = 7200.0, state: InstanceState = InstanceState.RUNNING
) -> Instance:
    tags = {"drm-managed": managed, "drm-expires": expires}
    return Instance(
        instance_id="i-1",
        worker_id="w1",
        worker_type="one",
        provider="cloud",
        state=state,
        tags=tuple((name, value) for name, value in tags.items() if value),
        created_at=None if age_s is None else NOW - age_s,
    )


PAST, FUTURE = str(int(NOW - 600)), str(int(NOW + 600))


@pytest.mark.parametrize(
    ("seen", "alive", "end", "reason"),
    [
        (instance(), False, True, "its controller is gone"),
        (instance(age_s=1.0), False, True, "its controller is gone"),
        (instance(expires=PAST), True, False, "its run goes on"),
        (instance(managed=""), False, False, "none of DRM's"),
        (instance(managed="", expires=PAST), None, False, "none of DRM's"),
        (instance(state=InstanceState.GONE), False, False, "it is gone"),
        (instance(expires=PAST), None, True, "its lease ended 600 s ago"),
        (instance(expires=FUTURE), None, False, "its lease runs"),
        (instance(expires=str(int(NOW - 30))), None, False, "its lease runs"),
        (instance(), None, False, "no end of a lease"),
        (instance(expires="soon"), None, False, "no end of a lease"),
        (instance(expires=PAST, age_s=299.0), None, False, "less than 300 s ago"),
        (instance(expires=PAST, age_s=None), None, False, "nobody knows when"),
    ],
)
def test_verdicts(seen: Instance, alive: bool | None, end: bool, reason: str) -> None:
    verdict = judge(seen, now=NOW, alive=alive)
    assert (verdict.end, reason in verdict.reason) == (end, True), verdict


@given(
    managed=st.sampled_from(["", "1", "0", "true"]),
    expires=st.sampled_from(["", PAST, FUTURE, "x", "-1"]),
    age_s=st.none() | st.floats(-1e6, 1e6),
    alive=st.sampled_from([True, False, None]),
    state=st.sampled_from(list(InstanceState)),
)
def test_nothing_untagged_and_nothing_in_use_is_ever_ended(
    managed: str, expires: str, age_s: float | None, alive: bool | None, state: InstanceState
) -> None:
    seen = instance(managed=managed, expires=expires, age_s=age_s, state=state)
    if judge(seen, now=NOW, alive=alive).end:
        assert managed == "1"
        assert alive is not True
        assert alive is False or expires == PAST


@pytest.fixture
def cloud(scripted: Any, request_for: Request) -> Any:
    """Two instances of a controller that is gone, one of one that lives."""
    scripted.name = "cloud"
    scripted.capacity = dataclasses.replace(scripted.capacity, cpu_cores=9.0, memory_bytes=2**40)
    for worker_id, owner in (("w1", "dead"), ("w2", "lives"), ("w3", "dead")):
        scripted.create(request_for(worker_id, token=f"r/{worker_id}", tags=(("drm-owner", owner),)))
    return scripted


@pytest.fixture
def run(clock: Any) -> Callable[..., Reaped]:
    def reap_all(*providers: Any, **options: Any) -> Reaped:
        given = {"wait": clock.advance, "alive": {"dead": False, "lives": True}.get, **options}
        return reap(providers, clock=clock, **given)

    return reap_all


def outcomes(done: Reaped) -> dict[str, str]:
    return {each.instance.worker_id: each.outcome for each in done.findings}


def test_what_nobody_needs_is_ended_and_the_rest_kept(cloud: Any, run: Callable[..., Reaped]) -> None:
    done = run(cloud)
    assert outcomes(done) == {"w1": "ended", "w2": "kept", "w3": "ended"}
    assert done.clean
    assert [each.worker_id for each in cloud.list_instances()] == ["w2"]


def test_a_dry_run_changes_nothing(cloud: Any, run: Callable[..., Reaped]) -> None:
    assert outcomes(run(cloud, dry_run=True)) == {"w1": "would end", "w2": "kept", "w3": "would end"}
    assert len(cloud.list_instances()) == 3
    assert not [call for call in cloud.calls if call.startswith("terminate")]


def test_what_is_marked_once_and_needed_a_moment_later_is_kept(cloud: Any, run: Callable[..., Reaped]) -> None:
    said = {"dead": [False, False, True, True], "lives": [True, True]}
    done = run(cloud, alive=lambda owner: said[owner].pop(0))
    assert outcomes(done) == {"w1": "kept", "w2": "kept", "w3": "kept"}


def test_what_appears_between_the_phases_is_kept(cloud: Any, run: Callable[..., Reaped], request_for: Request) -> None:
    def appear(_seconds: float) -> None:
        cloud.create(request_for("w4", tags=(("drm-owner", "dead"),)))

    assert outcomes(run(cloud, wait=appear))["w4"] == "kept"


def test_a_failure_is_told_and_the_others_are_ended(cloud: Any, run: Callable[..., Reaped]) -> None:
    terminate = cloud.terminate

    def fail_first(instance_id: str) -> None:
        if instance_id == "i-0":
            raise ThrottledError("slower")
        terminate(instance_id)

    cloud.terminate = fail_first
    done = run(cloud)
    assert outcomes(done) == {"w1": "failed", "w2": "kept", "w3": "ended"}
    assert not done.clean


def test_an_end_that_is_only_said_is_a_failure(cloud: Any, run: Callable[..., Reaped]) -> None:
    cloud.terminate = lambda _: None
    assert outcomes(run(cloud))["w1"] == "failed"


def test_what_somebody_else_has_ended_is_ended(cloud: Any, run: Callable[..., Reaped]) -> None:
    def gone(instance_id: str) -> None:
        raise LostError(instance_id)

    cloud.terminate = gone
    assert outcomes(run(cloud))["w1"] == "ended"


def test_a_provider_that_cannot_be_asked_hides_nothing(cloud: Any, run: Callable[..., Reaped]) -> None:
    away = type(cloud)(name="away", fail_next=ThrottledError("slower"))
    done = run(away, cloud)
    assert outcomes(done)["w1"] == "ended"
    assert (done.problems, done.clean) == (("slower",), False)


def test_the_journal_is_settled(
    cloud: Any, run: Callable[..., Reaped], request_for: Request, clock: Any, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "history.db")
    for worker_id in ("w1", "w2", "never", "late"):
        at = clock.utc().timestamp() - (10.0 if worker_id == "late" else 1000.0)
        request = request_for(worker_id, token=f"r/{worker_id}", provider="cloud")
        journal.asked(request, run_id="r", at=at)
    journal.asked(request_for("w9", token="r/w9", provider="elsewhere"), run_id="r", at=0.0)
    dry = run(cloud, journal=journal, dry_run=True)
    assert len(journal.open_entries()) == 5
    done = run(cloud, journal=journal)
    assert {each.worker_id for each in done.unknown} == {each.worker_id for each in dry.unknown} == {"late", "w9"}
    assert {each.worker_id for each in journal.open_entries()} == {"w2", "late", "w9"}
    journal.close()


def test_this_process_lives_and_one_that_has_ended_does_not() -> None:
    assert is_alive(this_process()) is True
    code = "from drm.cloud_provider_manager.owner import this_process; print(this_process())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert is_alive(other) is False


def test_another_process_with_the_same_number_is_not_it() -> None:
    place, _, _ = this_process().rpartition(".")
    assert is_alive(f"{place}.1") is False


@pytest.mark.parametrize("owner", ["", "x", "a.b.c", "0123456789ab.1.2.3", "1234"])
def test_what_is_of_elsewhere_cannot_be_known(owner: str) -> None:
    assert is_alive(owner) is None


def test_the_text_fits_the_tags_of_every_provider() -> None:
    owner = this_process()
    assert len(owner) <= 63
    assert set(owner) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
