"""The thread that talks to Ray: watches who is there, opens an agent on each machine, and tells the engine."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from drm.engines.ray_engine.link import RayLink, actor_on
from drm.engines.ray_engine.membership import Leases, Member, NodeState, Sighting, judge, members_of
from drm.engines.ray_engine.reach import has_ended
from drm.model.errors import LostError

_LOOK_S, _HEAD_S, _LIST_S = 0.5, 1.0, 2.0
_SURE_S = 2.5  # an agent that was heard since, and is gone, has ended; one that is cut off Ray misses later
_DESCRIBE_S = 60.0
_STUCK_S = 15.0  # no answer of the head for so long
_TRIES = 3  # agents on one machine, one after another; one that lived for so long is none of them:
_WELL_S = 600.0
_STOP_S = 30.0

Say = tuple[str, str, Any]  # what, worker, more


@dataclass(slots=True)
class _Seat:
    """An agent on a machine. ``link`` is there once the machine has described itself, at ``opened_s``."""

    member: Member
    link: RayLink | None = None
    opening: asyncio.Future[None] | None = None  # held, for the loop itself does not
    opened_s: float = 0.0
    state: NodeState = NodeState.JOINED
    ended_s: float | None = None
    reason: str = ""
    asking: asyncio.Task[None] | None = None  # the machine itself, whether it has ended


class Roster:
    """Says, into ``said``: ("opened", worker, (link, description)), ("bytes", worker, (link, data)),
    ("suspect", worker, why), ("heard", worker, ""), ("left", worker, why), ("refused", worker, why),
    ("dropped", worker, why), ("drain", worker, why), ("head", "", why).

    ``drained``: returns the names that are to leave. ``head_lives``: tells whether the coordinator does.
    """

    def __init__(
        self,
        leases: Leases,
        *,
        wake: Callable[[], None],
        drained: Callable[[], frozenset[str]],
        head_lives: Callable[[], bool],
    ) -> None:
        self.said: SimpleQueue[Say] = SimpleQueue()
        self._leases = leases
        self._wake = wake
        self._drained = drained
        self._head_lives = head_lives
        self._seats: dict[str, _Seat] = {}
        self._tries: dict[str, int] = {}
        self._refused: set[str] = set()
        self._let_go: set[str] = set()
        self._closing: list[RayLink] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="drm-ray", daemon=True)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._watch(), self._loop).add_done_callback(self._watched)

    def _watched(self, watch: Future[None]) -> None:
        """Nobody looks after the machines any more: the run must not go on as if somebody did."""
        if not watch.cancelled() and (error := watch.exception()) is not None:
            self._tell("head", "", f"its machines cannot be watched any more ({_first_line(error)})")

    def stop(self) -> None:
        """End every agent and the thread."""
        done = asyncio.run_coroutine_threadsafe(self._end_all(), self._loop)
        with suppress(TimeoutError):
            done.result(_STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)

    def _tell(self, what: str, worker_id: str, more: Any = "") -> None:
        self.said.put((what, worker_id, more))
        self._wake()

    async def _end_all(self) -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "drm-watch":
                task.cancel()
        links = [*self._closing, *(seat.link for seat in self._seats.values() if seat.link is not None)]
        for link in links:
            link.close()
        await asyncio.sleep(0)
        await asyncio.gather(*(link.closed() for link in links))

    # -- watching

    async def _watch(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("drm-watch")
        answered = time.monotonic()
        listing: asyncio.Task[list[Member]] | None = None
        listed = looked = 0.0
        while True:
            now = time.monotonic()
            if now - looked >= _HEAD_S:
                looked = now
                if not self._head_lives():
                    self._tell("head", "", "the coordinator ended")
                    return
            if listing is None and now - listed >= _LIST_S:
                listing = asyncio.create_task(asyncio.to_thread(_members))
            if listing is not None and listing.done():
                listed = now
                if listing.exception() is None:
                    answered = now
                    self._compare(listing.result())
                listing = None
            if now - answered > _STUCK_S:
                self._tell("head", "", f"the coordinator has not answered for {_STUCK_S:g} s")
                return
            self._judge(now)
            await asyncio.sleep(_LOOK_S)

    def _compare(self, members: list[Member]) -> None:
        """See who is new, who is gone, who is to leave."""
        leaving = self._drained()
        for member in members:
            seat = self._seats.get(member.name)
            mine = seat is not None and seat.member.node_id == member.node_id
            if member.down:
                if mine and seat is not None and not member.is_missed and seat.ended_s is None:
                    seat.ended_s, seat.reason = time.monotonic(), f"its machine is gone ({member.down})"
            elif seat is None:
                if member.name not in leaving and member.node_id not in self._refused | self._let_go:
                    self._admit(member)
            elif mine and member.name in leaving and seat.state is not NodeState.LEFT:
                self._tell("drain", member.name, "it was asked to leave")
            elif not mine and seat.ended_s is None and member.node_id not in self._refused:
                self._suspect_double(seat, member, members)

    def _suspect_double(self, seat: _Seat, member: Member, members: list[Member]) -> None:
        """Another machine has the name of one that is there: it came back, or it is a second one of that name."""
        if any(other.node_id == seat.member.node_id and not other.down for other in members):
            self._refused.add(member.node_id)
            self._tell("refused", member.name, f"{member.address} has the name of a worker that is there")

    def _admit(self, member: Member) -> None:
        tries = self._tries[member.node_id] = self._tries.get(member.node_id, 0) + 1
        if tries > _TRIES:
            self._refused.add(member.node_id)
            self._tell("dropped", member.name, f"{_TRIES} agents on {member.address} have ended one after another")
            return
        seat = self._seats[member.name] = _Seat(member)
        seat.opening = asyncio.ensure_future(self._open(seat))

    async def _open(self, seat: _Seat) -> None:
        name = seat.member.name
        try:
            async with asyncio.timeout(_DESCRIBE_S):
                actor = await asyncio.to_thread(actor_on, seat.member.node_id, self._leases)  # it asks the head
                described = await _described(actor)
        except Exception as error:
            del self._seats[name]  # it is tried again, while it is there
            self._tell("refused", name, f"no agent could be started on {seat.member.address} ({_first_line(error)})")
            return
        seat.opened_s = time.monotonic()
        seat.link = RayLink(
            self._loop,
            actor,
            name,
            deliver=lambda data: self._tell("bytes", name, (seat.link, data)),
            ended=lambda reason: self._ended(seat, reason),
        )
        self._tell("opened", name, (seat.link, described))
        seat.link.start()

    def _ended(self, seat: _Seat, reason: str) -> None:
        now = time.monotonic()
        if seat.link is not None and now - seat.link.heard_at > _SURE_S:
            seat.reason = reason  # Ray gave a silent machine up; its agent may still run tests until its lease ends
        elif seat.ended_s is None:
            seat.ended_s, seat.reason = now, reason

    async def _ask(self, seat: _Seat) -> None:
        where = (seat.member.address, seat.member.port)
        if await has_ended(*where) and seat.ended_s is None:
            seat.ended_s, seat.reason = time.monotonic(), "its machine ended (nothing listens at {}:{})".format(*where)
            self._let_go.add(seat.member.node_id)  # Ray lists it for some seconds more
        seat.asking = None

    def _judge(self, now: float) -> None:
        for name, seat in list(self._seats.items()):
            if seat.link is None:
                continue
            sighting = Sighting(now_s=now, heard_s=seat.link.heard_at, ended_s=seat.ended_s, reason=seat.reason)
            state, why = judge(sighting, self._leases)
            if seat.ended_s is None and (state is NodeState.SUSPECT or seat.link.is_doubted) and seat.asking is None:
                seat.asking = asyncio.create_task(self._ask(seat))
            if state is seat.state:
                continue
            seat.state = state
            if state is NodeState.LEFT:
                if now - seat.opened_s > _WELL_S:
                    self._tries.pop(seat.member.node_id, None)
                del self._seats[name]
                self._closing.append(seat.link)
                seat.link.close()
                self._tell("left", name, why)
            elif state is NodeState.SUSPECT and seat.ended_s is None:
                self._tell("suspect", name, why)
            elif state is NodeState.JOINED:
                self._tell("heard", name)

    def dismiss(self, worker_id: str) -> None:
        """The engine has closed the link to a worker, for a reason of its own; may be called from any thread."""
        self._loop.call_soon_threadsafe(self._vacate, worker_id)

    def _vacate(self, worker_id: str) -> None:
        seat = self._seats.get(worker_id)
        if seat is not None and seat.link is not None and seat.link.is_over:
            del self._seats[worker_id]
            self._closing.append(seat.link)

    def forbid(self, worker_id: str) -> None:
        """Open no further agent on the machine that has this worker: it was let go."""
        seat = self._seats.get(worker_id)
        if seat is not None:
            self._let_go.add(seat.member.node_id)


async def _described(actor: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await actor.describe.remote()
    return answer


def _members() -> list[Member]:
    import ray

    try:
        return members_of(ray.nodes())
    except Exception as error:  # of many kinds, and Ray is asked again
        raise LostError(str(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
