"""The controller's end of one agent: what is said and heard, each exactly once while the agent lives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from drm.engines.ray_engine.membership import Leases
from drm.engines.ray_engine.relay import Inbox, Pace, pieces
from drm.model.errors import LostError
from drm.model.wire import encode_frame

_BEAT_S = 2.0  # a worker that has nothing to tell is asked for a sign of life so often
_AGAIN_S = 0.2
_CLOSE_S = 10.0


class RayLink:
    """Lives on the event loop of the engine's thread; ``send`` and ``close`` may be called from any other.

    ``deliver(bytes)`` and ``ended(why)`` are called on that loop. ``heard_at``: when the agent last answered.
    ``is_doubted``: a call has failed since.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        actor: Any,
        worker_id: str,
        *,
        deliver: Callable[[bytes], None],
        ended: Callable[[str], None],
    ) -> None:
        self.actor = actor
        self.worker_id = worker_id
        self.heard_at = time.monotonic()
        self.is_doubted = False
        self._loop = loop
        self._deliver = deliver
        self._ended = ended
        self._in = Inbox()
        self._said = 0
        self._waiting: list[bytes] = []
        self._something = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.is_over = False

    def start(self) -> None:
        """Begin; on the loop."""
        self._tasks = [asyncio.ensure_future(self._run())]

    # -- from the main thread

    def send(self, message: list[Any]) -> None:
        if self.is_over:
            raise LostError("its agent is gone")
        frame = encode_frame(message)
        self._loop.call_soon_threadsafe(self._say, frame)

    def finish(self) -> None:
        """Let the agent end the worker, and tell what it printed last."""
        self._loop.call_soon_threadsafe(lambda: self._tasks.append(asyncio.ensure_future(self._finish())))

    async def _finish(self) -> None:
        with suppress(Exception):
            await self.actor.close.remote()

    def close(self) -> None:
        """Say what is still to be said, then end the agent; returns at once."""
        self.is_over = True
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(lambda: self._tasks.append(asyncio.ensure_future(self._close())))

    # -- on the loop

    def _say(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._something.set()

    async def _run(self) -> None:
        try:
            await self._surely("open", self.worker_id)
            await asyncio.gather(self._listen(), self._speak())
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._end(_reason(error))

    async def _surely(self, method: str, *arguments: Any) -> Any:
        """Call until it was answered: the agent knows a call that it has had already."""
        while True:
            try:
                answer = await getattr(self.actor, method).remote(*arguments)
                self.heard_at, self.is_doubted = time.monotonic(), False
                return answer
            except Exception as error:
                if not _may_have_run(error):
                    raise
                self.is_doubted = True
                await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        """Ask for what there is, again and again; an answer without any is a sign of life."""
        stamp = 0.0
        while not self.is_over:
            number, data, why, stamp = await self._surely("read", self._in.last, _BEAT_S, stamp)
            if why:
                self._end(why)
            elif data and self._in.accept(number):
                self._deliver(data)

    async def _speak(self) -> None:
        """Pass on what waits."""
        pace = Pace()
        while True:
            await self._something.wait()
            if (wait_s := pace.wait_s(time.monotonic())) > 0:
                await asyncio.sleep(wait_s)
            if self.is_over:
                return
            pace.gone(time.monotonic())
            await self._flush()

    async def _flush(self) -> None:
        self._something.clear()
        gathered, self._waiting = b"".join(self._waiting), []
        for piece in pieces(gathered):
            self._said += 1
            await self._surely("write", self._said, piece)

    def _end(self, reason: str) -> None:
        if not self.is_over:
            self.is_over = True
            self._something.set()  # nothing more is said
            self._ended(reason)

    async def _close(self) -> None:
        """End the agent: by asking it, or by killing its actor, where it does not answer."""
        self._tasks[0].cancel()
        with suppress(Exception):
            if self._waiting:
                await asyncio.wait_for(self._flush(), _BEAT_S)
            await asyncio.wait_for(self.actor.close.remote(), _CLOSE_S)
        with suppress(Exception):
            import ray

            if ray.is_initialized():  # else this call would start a cluster, which ends the process when it ends
                ray.kill(self.actor)

    async def closed(self) -> None:
        """Wait until ``close`` is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def actor_on(node_id: str, leases: Leases) -> Any:
    """Return a new agent on a machine, and nowhere else."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from drm.engines.ray_engine.agent import NodeAgent

    options = {
        "num_cpus": 0,
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": 16,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
    }
    return ray.remote(NodeAgent).options(**options).remote(leases.lease_s)


def _may_have_run(error: Exception) -> bool:
    from ray.exceptions import ActorUnavailableError

    return isinstance(error, ActorUnavailableError)


def _reason(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"its agent is gone ({first[:200]})"
