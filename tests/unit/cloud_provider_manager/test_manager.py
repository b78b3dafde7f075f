"""One list of everything that was asked for, whatever providers do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drm.cloud_provider_manager import CloudProviderManager, LocalProvider
from drm.cloud_provider_manager.creation import Creator
from drm.model.cluster import InstanceRequest, InstanceState
from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    DuplicateError,
    LostError,
    QuotaError,
    ThrottledError,
    UnauthorisedError,
    UnknownWorkerError,
)

Request = Callable[..., InstanceRequest]


@pytest.fixture
def manager(clock: Any, scripted: Any) -> CloudProviderManager:
    scripted.name = "local"
    manager = CloudProviderManager(clock=clock, creator=Creator(clock=clock, wait=clock.advance))
    manager.add_provider(scripted)
    return manager


def test_workers_are_created_described_and_ended(manager: CloudProviderManager, request_for: Request) -> None:
    instance = manager.create_worker(request_for("w1"))
    assert manager.get_worker_status("w1") == instance
    assert manager.instances() == (instance,)
    manager.terminate_worker("w1")
    assert manager.get_worker_status("w1").state is InstanceState.GONE
    assert manager.instances() == ()


def test_the_provider_is_the_one_that_the_type_names(
    manager: CloudProviderManager, request_for: Request, scripted: Any
) -> None:
    other = type(scripted)(name="elsewhere")
    other.offerings = lambda: (request_for(provider="elsewhere").worker_type,)
    manager.add_provider(other)
    manager.create_worker(request_for("w1", provider="elsewhere"))
    assert (other.calls, scripted.calls) == (["create w1"], [])
    with pytest.raises(ConfigError, match="known providers: elsewhere, local"):
        manager.create_worker(request_for("w2", provider="nowhere"))


def test_the_same_request_again_calls_nobody(
    manager: CloudProviderManager, request_for: Request, scripted: Any
) -> None:
    assert manager.create_worker(request_for("w1")) == manager.create_worker(request_for("w1"))
    assert scripted.calls == ["create w1"]
    with pytest.raises(DuplicateError, match="w1"):
        manager.create_worker(request_for("w1", token="another"))


def test_a_name_is_for_one_provider(manager: CloudProviderManager, scripted: Any) -> None:
    manager.add_provider(scripted)
    with pytest.raises(DuplicateError, match="local"):
        manager.add_provider(type(scripted)(name="local"))


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (CapacityError("no room"), CapacityError),
        (QuotaError("no quota"), QuotaError),
        (ThrottledError("slower"), ThrottledError),
        (PermissionError("not you"), UnauthorisedError),
    ],
)
def test_errors_come_through_typed_and_leave_no_worker(
    manager: CloudProviderManager, request_for: Request, scripted: Any, raised: Exception, expected: type[DrmError]
) -> None:
    scripted.fail_next = raised
    with pytest.raises(expected) as caught:
        manager.create_worker(request_for("w1"))
    assert type(caught.value) is expected
    assert str(raised) in str(caught.value)
    assert manager.instances() == ()
    manager.create_worker(request_for("w1"))


@pytest.mark.parametrize(
    ("raised", "expected"), [(ConnectionResetError("cut"), LostError), (ValueError("odd"), DrmError)]
)
def test_what_is_no_error_of_ours_comes_through_as_the_nearest_one(
    manager: CloudProviderManager, request_for: Request, scripted: Any, raised: Exception, expected: type[DrmError]
) -> None:
    manager.create_worker(request_for("w1"))
    scripted.fail_next = raised
    with pytest.raises(expected, match=str(raised)) as caught:
        manager.terminate_worker("w1")
    assert type(caught.value) is expected


def test_a_worker_that_could_not_be_ended_stays_on_the_list(
    manager: CloudProviderManager, request_for: Request, scripted: Any
) -> None:
    manager.create_worker(request_for("w1"))
    scripted.fail_next = ThrottledError("slower")
    with pytest.raises(ThrottledError):
        manager.terminate_worker("w1")
    assert len(manager.instances()) == 1
    manager.terminate_worker("w1")
    manager.terminate_worker("w1")
    assert scripted.calls.count("terminate i-0") == 2


def test_losses_are_told_once_and_only_when_unasked(
    manager: CloudProviderManager, request_for: Request, scripted: Any
) -> None:
    manager.create_worker(request_for("w1"))
    manager.create_worker(request_for("w2"))
    assert manager.poll_lost() == ()
    scripted.die("i-0")
    manager.terminate_worker("w2")
    (lost,) = manager.poll_lost()
    assert (lost.worker_id, lost.state) == ("w1", InstanceState.GONE)
    assert manager.poll_lost() == ()
    assert manager.instances() == ()


@pytest.mark.parametrize("error", [ThrottledError("slower"), ConnectionResetError("cut"), DrmError("502")])
def test_a_provider_that_cannot_be_asked_has_lost_nothing(
    manager: CloudProviderManager, request_for: Request, scripted: Any, error: Exception
) -> None:
    manager.create_worker(request_for("w1"))
    scripted.fail_next = error
    assert manager.poll_lost() == ()
    assert len(manager.instances()) == 1


def test_credentials_that_have_ended_are_told_when_asking_for_losses(
    manager: CloudProviderManager, request_for: Request, scripted: Any
) -> None:
    manager.create_worker(request_for("w1"))
    scripted.fail_next = UnauthorisedError("expired")
    with pytest.raises(UnauthorisedError):
        manager.poll_lost()


def test_status_of_what_the_provider_forgot_is_gone(
    manager: CloudProviderManager, request_for: Request, scripted: Any
) -> None:
    manager.create_worker(request_for("w1"))
    scripted.fail_next = LostError("who?")
    assert manager.get_worker_status("w1").state is InstanceState.GONE


def test_held_time_runs_until_the_end(manager: CloudProviderManager, request_for: Request, clock: Any) -> None:
    manager.create_worker(request_for("w1"))
    clock.advance(3.0)
    assert manager.held_s("w1") == 3.0
    manager.terminate_worker("w1")
    clock.advance(3.0)
    assert manager.held_s("w1") == 3.0


def test_what_is_available_is_told_per_provider(manager: CloudProviderManager, request_for: Request) -> None:
    manager.create_worker(request_for("w1"))
    assert manager.get_available_resources()["local"].cpu_cores == 1


class Away:
    """A provider that does not answer to ends of one machine until a time. ``ended``: which were ended, and when."""

    def __init__(self, provider: Any, clock: Any, *, until_s: float) -> None:
        self.ended: list[tuple[str, float]] = []
        terminate = provider.terminate

        def answer(instance_id: str) -> None:
            if instance_id == "i-0" and clock.now() < until_s:
                raise LostError("no answer")
            terminate(instance_id)
            self.ended.append((instance_id, clock.now()))

        provider.terminate = answer


@pytest.mark.parametrize("away_s", [0.1, 5.9])
def test_a_provider_that_is_away_for_some_seconds_leaves_no_machine(
    manager: CloudProviderManager, request_for: Request, scripted: Any, clock: Any, away_s: float
) -> None:
    first, second = (manager.create_worker(request_for(worker)).instance_id for worker in ("w1", "w2"))
    assert first == "i-0"
    begun = clock.now()
    away = Away(scripted, clock, until_s=begun + away_s)
    manager.terminate_all()
    assert [each for each, _ in away.ended] == [second, first]
    assert away.ended[0][1] == begun
    assert away_s <= away.ended[1][1] - begun <= 6.0
    assert manager.instances() == ()
    manager.terminate_all()


def test_all_are_ended_although_one_cannot_be(
    manager: CloudProviderManager, request_for: Request, scripted: Any, clock: Any
) -> None:
    for worker in ("w1", "w2"):
        manager.create_worker(request_for(worker))
    closed: list[bool] = []
    manager.at_end(lambda: closed.append(True))
    Away(scripted, clock, until_s=clock.now() + 600)
    with pytest.raises(LostError, match="a machine may be left: no answer; drm reap ends it"):
        manager.terminate_all()
    assert [each.instance_id for each in manager.instances()] == ["i-0"]
    assert closed == [True]
    clock.advance(600)
    manager.terminate_all()
    assert manager.instances() == ()
    assert closed == [True]


def test_real_processes_are_all_ended(clock: Any, request_for: Request, local: LocalProvider) -> None:
    manager = CloudProviderManager(clock=clock)
    manager.add_provider(local)
    for worker_id in ("w1", "w2"):
        manager.create_worker(request_for(worker_id))
    manager.terminate_all()
    assert local.list_instances() == ()


@pytest.mark.parametrize("method", ["terminate_worker", "get_worker_status", "held_s"])
def test_a_worker_never_asked_for_is_unknown(manager: CloudProviderManager, method: str) -> None:
    with pytest.raises(UnknownWorkerError, match="w9"):
        getattr(manager, method)("w9")
