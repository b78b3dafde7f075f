"""The thread that watches machines: what it does where Ray answers with an error, and agents do not last."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drm.engines.ray_engine import link as link_module
from drm.engines.ray_engine import roster as roster_module
from drm.engines.ray_engine.membership import Leases, Member
from drm.engines.ray_engine.reach import has_ended
from drm.engines.ray_engine.roster import Roster

W1 = Member(node_id="n1", name="w1", address="10.0.0.2")


class Cluster:
    """What Ray says, and what the roster says of it."""

    def __init__(self) -> None:
        self.members: Callable[[], list[Member]] = lambda: [W1]
        self.agent: Callable[[], Any] = lambda: None
        self.drained: Callable[[], frozenset[str]] = frozenset
        self.roster: Roster | None = None

    def start(self) -> None:
        self.roster = Roster(Leases(), wake=lambda: None, drained=lambda: self.drained(), head_lives=lambda: True)
        self.roster.start()

    def say(self, what: str) -> tuple[str, str, Any]:
        """Return the next thing of a kind that is said."""
        assert self.roster is not None
        deadline = time.monotonic() + 20.0
        while True:
            said = self.roster.said.get(timeout=max(0.0, deadline - time.monotonic()))
            if said[0] == what:
                return said


def _raise(error: Exception) -> Any:
    raise error


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster()
    monkeypatch.setattr(roster_module, "_members", lambda: made.members())
    monkeypatch.setattr(roster_module, "actor_on", lambda node_id, leases: made.agent())
    for name in ("_LIST_S", "_LOOK_S"):
        monkeypatch.setattr(roster_module, name, 0.01)
    yield made
    if made.roster is not None:
        made.roster.stop()
    ray = sys.modules.get("ray")
    assert ray is None or not ray.is_initialized(), "a cluster was started, and ends this process with its own end"


def test_a_head_that_answers_with_errors_only_is_given_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "_STUCK_S", 0.2)
    cluster.members = lambda: _raise(RuntimeError("GCS"))
    cluster.start()
    assert cluster.say("head")[2] == "the coordinator has not answered for 0.2 s"


def test_an_error_of_the_watch_itself_ends_the_run(cluster: Cluster) -> None:
    cluster.drained = lambda: _raise(OSError("no descriptors are left"))
    cluster.start()
    assert cluster.say("head")[2] == "its machines cannot be watched any more (no descriptors are left)"


def test_a_machine_on_which_no_agent_lasts_is_dropped_and_that_is_said(cluster: Cluster) -> None:
    cluster.agent = lambda: _raise(RuntimeError("no memory\nat all"))
    cluster.start()
    for _ in range(3):
        assert cluster.say("refused") == ("refused", "w1", "no agent could be started on 10.0.0.2 (no memory)")
    assert cluster.say("dropped") == ("dropped", "w1", "3 agents on 10.0.0.2 have ended one after another")


def test_a_machine_that_was_let_go_gets_no_agent(cluster: Cluster) -> None:
    seen: list[str] = []
    cluster.agent = lambda: seen.append("agent") or _raise(RuntimeError("none"))
    cluster.drained = lambda: frozenset({"w1"})
    cluster.start()
    time_of_lists = [0]

    def members() -> list[Member]:
        time_of_lists[0] += 1
        return [W1]

    cluster.members = members
    deadline = time.monotonic() + 10
    while time_of_lists[0] < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time_of_lists[0] >= 3
    assert seen == []


class Unavailable(Exception):
    """As Ray's: the agent does not answer now."""


class FailingAgent:
    """One that describes itself and opens; from then on it does not answer."""

    def __getattr__(self, method: str) -> Any:
        class Method:
            @staticmethod
            async def remote(*_: Any) -> Any:
                if method == "read":
                    raise Unavailable
                return {}

        return Method


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_machine_that_says_that_its_ray_has_ended_is_gone_at_once_and_gets_no_other_agent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_may_have_run", lambda error: isinstance(error, Unavailable))
    server = listening()
    port = server.getsockname()[1]
    lists, agents = [0], list[str]()

    def members() -> list[Member]:
        lists[0] += 1
        return [Member(node_id="n1", name="w1", address="127.0.0.1", port=port)]

    cluster.members = members
    cluster.agent = lambda: agents.append("agent") or FailingAgent()
    cluster.start()
    cluster.say("opened")
    server.close()
    began = time.monotonic()
    assert cluster.say("left") == ("left", "w1", f"its machine ended (nothing listens at 127.0.0.1:{port})")
    assert time.monotonic() - began < Leases().suspect_s, "its lease was waited for"
    then = lists[0]
    deadline = time.monotonic() + 10
    while lists[0] < then + 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert agents == ["agent"], "Ray lists it still"


def test_a_machine_has_ended_only_where_it_says_so_itself() -> None:
    server = listening()
    port = server.getsockname()[1]
    assert not asyncio.run(has_ended("127.0.0.1", port)), "it listens"
    server.close()
    assert asyncio.run(has_ended("127.0.0.1", port))
    assert not asyncio.run(has_ended("127.0.0.1", 0)), "it is not known where it would listen"


def test_a_machine_that_stands_still_or_is_cut_off_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody_answers(*_: object) -> Any:
        await asyncio.sleep(60)

    async def no_way_there(*_: object) -> Any:
        raise OSError(113, "No route to host")

    monkeypatch.setattr("drm.engines.ray_engine.reach._WAIT_S", 0.01)
    for each in (nobody_answers, no_way_there):
        monkeypatch.setattr(asyncio, "open_connection", each)
        assert not asyncio.run(has_ended("10.0.0.9", 7442))
