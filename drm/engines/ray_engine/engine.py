"""The Ray engine: an agent on every machine that has joined a coordinator."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drm.engines.carrying import Carrier, checked
from drm.engines.common import MessagingEngine, own_code
from drm.engines.ray_engine.driver import connect, disconnect
from drm.engines.ray_engine.link import RayLink
from drm.engines.ray_engine.membership import Leases
from drm.engines.ray_engine.roster import Roster
from drm.engines.ray_engine.state import CoordinatorState
from drm.model.cluster import WorkerType
from drm.model.errors import DrmError, LostError
from drm.model.observations import WorkerHeard, WorkerNoticed, WorkerSuspected
from drm.model.resources import Resources
from drm.model.wire import FrameReader
from drm.worker.suite import Suite

_LOOK_S = 0.05
_TELL_S = 2.0


class RayEngine(MessagingEngine):
    """Implements ``drm.ports.Engine`` with an agent on each machine of a coordinator, whose ``state`` is on this host.

    Machines join with ``drm worker``, by whomever it is started. ``say``: shows a line to the person. ``lonely_s``: a
    run with no worker for so long is given up. ``carrier``: brings the project to workers that do not see it.
    """

    def __init__(
        self,
        *,
        suite: Suite,
        state: CoordinatorState,
        start_method: str = "fork",
        given: Callable[[str], dict[str, Any]] = lambda executor_id: {"workerid": executor_id},
        say: Callable[[str], None],
        leases: Leases | None = None,
        lonely_s: float = math.inf,
        carrier: Carrier | None = None,
    ) -> None:
        super().__init__(suite=suite, start_method=start_method, given=given)
        self._state = state
        self._carrier = carrier
        self._say = say
        self._readers: dict[str, FrameReader] = {}
        self._types: dict[str, WorkerType] = {}
        self._last_words: dict[str, str] = {}  # why a worker ends, in its own words
        self._draining: set[str] = set()
        self._dropped: set[str] = set()
        self._head = ""
        self._lonely_s = lonely_s
        self._seen_s = time.monotonic()
        self._roster = Roster(leases or Leases(), wake=self.wake, drained=state.draining, head_lives=state.is_alive)
        self._connected = False

    # -- joining

    def start(self) -> None:
        """Connect to the coordinator. ConfigError where another run is, LostError where it does not answer."""
        self._state.claim()
        connect(self._state)
        self._connected = True
        self._roster.start()

    def await_workers(self, patience_s: float) -> None:
        """Return when a machine is there; LostError if none comes within so many seconds."""
        deadline = time.monotonic() + patience_s
        is_told = False
        while not self._types:
            if time.monotonic() > deadline:
                raise LostError(
                    f"no worker has joined the coordinator at {self._state.address} in {patience_s:g} s",
                    remedy=f"run on each machine: {self._state.join_line}",
                )
            if not is_told and time.monotonic() > deadline - patience_s + _TELL_S:
                is_told = True
                self._say(f"waiting for a worker to join: {self._state.join_line}")
            time.sleep(_LOOK_S)
            self._tick()

    @property
    def machines(self) -> tuple[WorkerType, ...]:
        """Return those that are there, also while their agent has not answered yet."""
        told = [each for each in self._state.machines() if not each.leaving and each.name not in self._dropped]
        coming = [type_of(each.name, asdict(each)) for each in told if each.name not in self._types]
        return (*self._types.values(), *coming)

    def listen(self) -> Path:
        return self._state.folder

    def held(self) -> frozenset[str]:
        """Return the workers that run tests, or are about to."""
        return frozenset(self._links)

    def join_command(self, worker_id: str, worker_type: WorkerType) -> tuple[tuple[str, ...], Mapping[str, str]]:
        self._expected[worker_id] = worker_type
        amounts = worker_type.capacity
        limits = (
            "--cpus",
            f"{amounts.cpu_cores:g}",
            "--memory",
            str(amounts.memory_bytes),
            "--gpus",
            f"{amounts.gpus:g}",
        )
        labels = [word for label in sorted(worker_type.labels) for word in ("--label", label)]
        command = (sys.executable, "-m", "drm", "worker", "--coordinator", self._state.address, "--name", worker_id)
        return (*command, *limits, *labels), {**own_code(), **self._state.found_by()}

    # -- listening

    def _tick(self) -> None:
        while not self._roster.said.empty():
            what, worker_id, more = self._roster.said.get()
            _TOLD[what](self, worker_id, more)
        self._supply()
        now = time.monotonic()
        if self._links:
            self._seen_s = now
        elif now - self._seen_s > self._lonely_s:
            self._seen_s = math.inf  # said once
            raise LostError(
                f"no worker has been there for {self._lonely_s:g} s",
                remedy=f"run on each machine: {self._state.join_line}",
            )

    def _opened(self, worker_id: str, more: tuple[RayLink, dict[str, Any]]) -> None:
        link, described = more
        self._dropped.discard(worker_id)
        self._links[worker_id] = link
        self._readers[worker_id] = FrameReader()
        self._types[worker_id] = self._expected.get(worker_id) or type_of(worker_id, described)

    def _heard_bytes(self, worker_id: str, more: tuple[RayLink, bytes]) -> None:
        link, data = more
        if self._links.get(worker_id) is not link:
            return  # it is from before it was given up
        try:
            messages = self._readers[worker_id].feed(data)
        except LostError as error:
            self._take(worker_id, ["left", f"it sent nonsense: {error}"])
            return
        for message in messages:
            if message[0] == "hello" and self._carrier is not None:
                self._command(worker_id, self._carrier.offer(worker_id))
            elif message[0] == "hello":
                self._command(worker_id, self._greeting(self._types[worker_id]))
            elif message[0] == "project":
                self._carry(worker_id, message[1:])
            elif message[0] == "left":
                self._last_words[worker_id] = " ".join(map(str, message[1:]))
                link.finish()
            else:
                self._take(worker_id, message)

    def _carry(self, worker_id: str, said: list[Any]) -> None:
        """Bring the project to a worker that lacks it; then it is told of the suite."""
        try:
            if checked(self._carrier, worker_id, said):
                self._command(worker_id, self._greeting(self._types[worker_id]))
        except DrmError as error:
            self._take(worker_id, ["left", str(error)])

    def _supply(self) -> None:
        """Give one worker the part of the project that it asked for; what else there is to do comes before the next."""
        if self._carrier is not None and self._carrier.is_asked:
            if (given := self._carrier.given()) is not None:
                (self._take if given[1][0] == "left" else self._command)(*given)
            self.wake()

    def _left(self, worker_id: str, reason: str) -> None:
        if worker_id in self._links:
            why, *printed = reason.split("\n")
            for line in printed:
                self._say(f"[{worker_id}] {line}")
            self._take(worker_id, ["left", self._last_words.get(worker_id, why)])

    def _refused(self, worker_id: str, reason: str) -> None:
        self._say(f"worker {worker_id} was not let in: {reason}")

    def _drop(self, worker_id: str, reason: str) -> None:
        self._dropped.add(worker_id)
        self._say(f"worker {worker_id} is not used any more in this run: {reason}")

    def _drain(self, worker_id: str, reason: str) -> None:
        if worker_id not in self._draining:
            self._draining.add(worker_id)
            self._roster.forbid(worker_id)
            self._observations.append(WorkerNoticed(worker_id=worker_id, reason=reason))

    def _suspect(self, worker_id: str, reason: str) -> None:
        self._observations.append(WorkerSuspected(worker_id=worker_id, reason=reason))

    def _heard(self, worker_id: str, _more: str) -> None:
        self._observations.append(WorkerHeard(worker_id=worker_id))

    def _head_gone(self, _worker_id: str, reason: str) -> None:
        self._head = reason
        for worker_id in list(self._links):
            self._take(worker_id, ["left", reason])
        raise LostError(f"{reason} ({self._state.address})", remedy="start it again with drm coordinator")

    def _forget(self, worker_id: str) -> None:
        super()._forget(worker_id)
        self._roster.dismiss(worker_id)
        if self._carrier is not None:
            self._carrier.forget(worker_id)
        self._last_words.pop(worker_id, None)
        self._readers.pop(worker_id, None)
        self._types.pop(worker_id, None)
        self._draining.discard(worker_id)

    def release(self, worker_id: str) -> None:
        self._roster.forbid(worker_id)
        super().release(worker_id)

    # -- ending

    def close(self) -> None:
        """End every agent and what ran on it; the machines stay with the coordinator."""
        if self._connected:
            for worker_id in list(self._links):
                self._command(worker_id, ["release"])
                self._forget(worker_id)
            if not self._head:
                self._roster.stop()
            disconnect()
            self._connected = False
        if self._carrier is not None:
            self._carrier.close()
        self._state.give_up()
        super().close()


_TOLD: dict[str, Callable[[RayEngine, str, Any], None]] = {
    "opened": RayEngine._opened,
    "bytes": RayEngine._heard_bytes,
    "left": RayEngine._left,
    "refused": RayEngine._refused,
    "dropped": RayEngine._drop,
    "drain": RayEngine._drain,
    "suspect": RayEngine._suspect,
    "heard": RayEngine._heard,
    "head": RayEngine._head_gone,
}


def type_of(worker_id: str, described: Mapping[str, Any]) -> WorkerType:
    """Return a machine that joined by itself as a worker type of its own."""
    capacity = Resources(
        cpu_cores=float(described.get("cpu_cores", 1.0)),
        memory_bytes=int(described.get("memory_bytes", 0)),
        gpus=float(described.get("gpus", 0.0)),
    )
    return WorkerType(name=worker_id, capacity=capacity, labels=frozenset(described.get("labels", ())))
