"""The agent of a machine, without Ray: it is an object with coroutines until Ray makes an actor of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from engine_contract import KIND, make_suite, wait_gone

from drm.engines.embedded import EmbeddedEngine
from drm.engines.ray_engine.agent import NODE_VARIABLE, NodeAgent
from drm.model.wire import FrameReader, encode_frame


class Agent(NodeAgent):
    """It is asked as the controller does it: each call gives back the stamp of the answer before."""

    _stamp = 0.0

    async def ask(self, heard: int, wait_s: float) -> tuple[int, bytes, str]:
        number, data, why, self._stamp = await self.read(heard, wait_s, self._stamp)
        return number, data, why


async def until_said(agent: Agent, name: str, reader: FrameReader, heard: int = 0) -> int:
    """Read until the worker has sent a message of this name; return how much was heard."""
    while True:
        heard, data, why = await agent.ask(heard, 1.0)
        assert not why, why
        if any(message[0] == name for message in reader.feed(data)):
            return heard


def run(test: Callable[[Agent], Awaitable[None]], lease_s: float = 60.0) -> None:
    async def whole() -> None:
        agent = Agent(lease_s)
        try:
            await asyncio.wait_for(test(agent), 60)
        finally:
            await agent.close()

    asyncio.run(whole())


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv(NODE_VARIABLE, json.dumps({"cpu_cores": 2}))


def test_a_call_that_is_made_again_is_carried_out_once(tmp_path: Path) -> None:
    engine = EmbeddedEngine(suite=make_suite(tmp_path))
    greeting = encode_frame(engine._greeting(KIND))

    async def test(agent: Agent) -> None:
        assert await agent.describe() == {"cpu_cores": 2}
        pid = await agent.open("w0")
        assert await agent.open("w0") == pid
        reader = FrameReader()
        heard = await until_said(agent, "hello", reader)
        for _ in range(3):  # it was carried out, and the answer was lost
            assert await agent.write(1, greeting) == 1
        heard = await until_said(agent, "joined", reader, heard)
        spawn = encode_frame(["spawn", "gw0", {"workerid": "gw0"}])
        for _ in range(2):
            await agent.write(2, spawn)
        heard = await until_said(agent, "ready", reader, heard)
        ran = encode_frame(["run", "gw0", [["test_tiny.py::test_passes", 1]], None, 5.0, [], 1.0])
        for _ in range(2):
            await agent.write(3, ran)
        said: list[str] = []
        while "idle" not in said:
            heard, data, _ = await agent.ask(heard, 1.0)
            said += [message[0] for message in reader.feed(data)]
        assert said.count("end") == 1

    run(test)
    engine.close()


def test_an_answer_that_was_lost_is_given_again() -> None:
    async def test(agent: Agent) -> None:
        await agent.open("w0")
        await until_said(agent, "hello", FrameReader())
        await until_said(agent, "hello", FrameReader())  # nothing was acknowledged

    run(test)


def test_a_new_question_takes_the_place_of_one_whose_answer_nobody_awaits() -> None:
    async def test(agent: Agent) -> None:
        await agent.open("w0")
        heard = await until_said(agent, "hello", FrameReader())
        old = asyncio.ensure_future(agent.ask(heard, 60.0))
        await asyncio.sleep(0)
        assert await agent.ask(heard, 0.0) == (heard, b"", "")
        assert await old == (heard, b"", "")

    run(test)


def test_without_a_controller_the_worker_ends(tmp_path: Path) -> None:
    pids = []

    async def test(agent: Agent) -> None:
        pids.append(await agent.open("w0"))
        heard, why = 0, ""
        while not why:
            heard, _, why = await agent.ask(heard, 10.0)
        assert why.startswith("nothing was heard of the controller for 0.2 s (exit code ")  # 1: before it joined

    run(test, lease_s=0.2)
    wait_gone(pids[0])
    assert Path(f"/proc/{os.getpid()}").exists()


SLOW_BEFORE = """
import time
def test_first(): time.sleep(1.5)
def test_second(): open("begun", "w")
"""
SLOW_FIXTURE = """
import pytest, time
@pytest.fixture
def slow(): time.sleep(1.5)
def test_first(): pass
def test_second(slow): open("begun", "w")
"""


@pytest.mark.parametrize("suite", [SLOW_BEFORE, SLOW_FIXTURE], ids=["in the test before", "in its fixture"])
def test_a_machine_whose_lease_is_over_begins_no_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    """The agent stands still too: only what the machine's processes do by themselves is left."""
    engine = EmbeddedEngine(suite=make_suite(tmp_path))
    (tmp_path / "test_slow.py").write_text(suite)

    async def stand_still(agent: NodeAgent) -> None:
        await asyncio.Event().wait()

    async def test(agent: Agent) -> None:
        await agent.open("w0")
        reader = FrameReader()
        await until_said(agent, "hello", reader)
        await agent.write(1, encode_frame(engine._greeting(KIND)))
        heard = await until_said(agent, "joined", reader, 1)
        await agent.write(2, encode_frame(["spawn", "gw0", {"workerid": "gw0"}]))
        heard = await until_said(agent, "ready", reader, heard)
        batch = [["test_slow.py::test_first", 1], ["test_slow.py::test_second", 1]]
        await agent.write(3, encode_frame(["run", "gw0", batch, None, 60.0, [], 1.0]))
        heard = await until_said(agent, "begin", reader, heard)
        await asyncio.sleep(3.0)  # what was slow ended half of this ago, the lease before that
        assert not list(tmp_path.rglob("begun"))
        said: list[str] = []
        while "idle" not in said:  # the controller is heard of again
            heard, data, _ = await agent.ask(heard, 1.0)
            said += [message[0] for message in reader.feed(data)]
        assert said.count("end") >= 1
        assert list(tmp_path.rglob("begun"))

    monkeypatch.setattr(NodeAgent, "_watch", stand_still)
    run(test, lease_s=1.0)
    engine.close()
