"""The controller's end of an agent, whose calls fail before and after they were carried out."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.engines.ray_engine import link as link_module
from drm.engines.ray_engine.link import RayLink
from drm.engines.ray_engine.relay import Inbox, Outbox
from drm.model.errors import LostError
from drm.model.wire import FrameReader, encode_frame


class Unavailable(Exception):
    """As Ray's: the call may have been carried out, and may not."""


class Gone(Exception):
    """As Ray's, of an actor that has died."""


class Agent:
    """What NodeAgent promises; ``fate`` says of each call whether it is "lost" before, "unheard" after, or neither."""

    def __init__(self, fate: Callable[[], str]) -> None:
        self._fate = fate
        self.opened = 0
        self.heard: list[list[Any]] = []
        self.outbox = Outbox()
        self.why = ""
        self._inbox, self._reader = Inbox(), FrameReader()
        self._stamps: list[float] = []

    def __getattr__(self, method: str) -> Any:
        agent = self

        class Method:
            @staticmethod
            async def remote(*arguments: Any) -> Any:
                await asyncio.sleep(0)
                fate = agent._fate()
                if fate == "gone":
                    raise Gone("its machine ended")
                if fate == "lost":
                    raise Unavailable
                answer = getattr(agent, f"_{method}")(*arguments)
                if fate == "unheard":
                    raise Unavailable
                return answer

        return Method

    def _open(self, worker_id: str) -> int:
        self.opened += 1
        return 1

    def _read(self, heard: int, wait_s: float, stamp: float) -> tuple[int, bytes, str, float]:
        assert stamp in (0.0, *self._stamps), "it gives back what it was given"
        self._stamps.append(stamp + 1.0)
        self.outbox.acknowledged(heard)
        number, data = self.outbox.after(heard)
        return (number, data, "", stamp + 1.0) if data else (heard, b"", self.why, stamp + 1.0)

    def _write(self, number: int, data: bytes) -> int:
        if self._inbox.accept(number):
            self.heard += self._reader.feed(data)
        return self._inbox.last


@pytest.fixture(autouse=True)
def calls_fail_as_rays_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_may_have_run", lambda error: isinstance(error, Unavailable))
    monkeypatch.setattr(link_module, "_AGAIN_S", 0.0)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


def on(loop: asyncio.AbstractEventLoop, work: Awaitable[Any]) -> Any:
    async def whole() -> Any:
        return await asyncio.wait_for(work, 20)

    future: Future[Any] = asyncio.run_coroutine_threadsafe(whole(), loop)
    return future.result(30)


async def until(done: Callable[[], Any]) -> None:
    while not done():
        await asyncio.sleep(0.001)


@given(st.integers())
def test_what_is_said_and_heard_arrives_once_and_in_order(loop: asyncio.AbstractEventLoop, seed: int) -> None:
    chance = random.Random(seed)
    agent = Agent(lambda: chance.choice(("lost", "unheard", "well", "well")))
    told, ends = FrameReader(), []
    got: list[list[Any]] = []
    made = RayLink(loop, agent, "w0", deliver=lambda data: got.extend(told.feed(data)), ended=ends.append)
    loop.call_soon_threadsafe(made.start)
    sent = [["run", number, "x" * chance.randint(0, 50)] for number in range(20)]
    said = [["end", number] for number in range(20)]
    for message in sent:
        made.send(message)
    for message in said:
        loop.call_soon_threadsafe(agent.outbox.put, encode_frame(message))
    on(loop, until(lambda: len(agent.heard) == len(sent) and len(got) == len(said)))
    assert (agent.heard, got) == (sent, said)
    assert agent.opened >= 1
    agent.why = "it was told to"
    on(loop, until(lambda: ends))
    assert ends == ["it was told to"]
    with pytest.raises(LostError, match="its agent is gone"):
        made.send(["run"])


def test_an_actor_that_died_is_told_of_once(loop: asyncio.AbstractEventLoop) -> None:
    fates = iter(["well", "well", "gone"])
    ends: list[str] = []
    made = RayLink(loop, Agent(lambda: next(fates, "gone")), "w0", deliver=lambda _: None, ended=ends.append)
    loop.call_soon_threadsafe(made.start)
    on(loop, until(lambda: ends))
    assert ends == ["its agent is gone (its machine ended)"]
