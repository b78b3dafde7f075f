"""No test begins on a machine whose controller has been silent for too long."""

from __future__ import annotations

import os
import threading

import pytest

from drm.worker import lease
from drm.worker.lease import VARIABLE, Heard, Lease


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(lease, "now_s", lambda: now[0])
    return now


def test_it_is_over_when_the_controller_was_silent_and_no_more_when_it_is_heard(clock: list[float]) -> None:
    heard = Heard(8.0)
    found = Lease.find(heard.environment)
    assert found is not None
    clock[0] += 8.0
    assert (heard.is_over, found.is_over, heard.silent_s) == (False, False, 8.0)
    clock[0] += 0.1
    assert (heard.is_over, found.is_over) == (True, True)
    heard.note(heard.stamp())
    assert (heard.is_over, found.is_over) == (False, False)


def test_what_was_said_before_the_machine_stood_still_does_not_count_as_said_now(clock: list[float]) -> None:
    heard = Heard(8.0)
    stamp = heard.stamp()
    clock[0] += 9.0  # the controller has answered at once, and its words lay there
    heard.note(stamp)
    assert heard.is_over
    heard.note(heard.stamp())
    heard.note(stamp)
    assert not heard.is_over, "it was heard of since"


def test_beside_its_controller_a_worker_has_no_lease() -> None:
    assert Lease.find({}) is None


def test_of_an_agent_that_is_gone_it_is_over() -> None:
    found = Lease.find({VARIABLE: "/proc/0/fd/0:8.0"})
    assert found is not None
    assert found.is_over


def test_who_waits_goes_on_when_the_controller_is_heard(clock: list[float]) -> None:
    heard = Heard(8.0)
    found = Lease.find(heard.environment)
    assert found is not None
    clock[0] += 9.0
    waiting = threading.Thread(target=found.wait)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    heard.note(heard.stamp())
    waiting.join(10.0)
    assert not waiting.is_alive()


def test_forks_see_it(clock: list[float]) -> None:
    heard = Heard(8.0)
    pid = os.fork()
    if pid == 0:
        found = Lease.find(heard.environment)
        os._exit(0 if found is not None and not found.is_over else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
