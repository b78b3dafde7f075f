"""The machines of a coordinator, as they say themselves at its door. Decides who may join; does no I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from drm.cluster_trust import Answer
from drm.engines.ray_engine.state import check_name
from drm.engines.ray_engine.tables import Machine
from drm.joining import MachineFacts, clock_line, join_problems
from drm.model.errors import ConfigError
from drm.reporting.text import one_line

BEAT_S = 2.0  # how often a machine says that it is there
FORGET_S = 8.0


@dataclass(slots=True)
class _Entry:
    instance: str
    machine: Machine
    heard_s: float


class Register:
    """``here``: what the coordinator is; ``must_leave(name)``: whether a machine is to go; ``left(name)`` is called
    when one has gone; ``now``: seconds, forward only. Called from several threads."""

    def __init__(
        self,
        here: Callable[[], MachineFacts],
        *,
        must_leave: Callable[[str], bool],
        left: Callable[[str], None],
        now: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self._here = here
        self._must_leave = must_leave
        self._left = left
        self._now = now
        self._say = say
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def answer(self, said: Mapping[str, Any]) -> Answer:
        """Answer a machine that asks to join, says that it is there, or leaves."""
        try:
            facts = MachineFacts.from_json(said)
            check_name(facts.name, "--name")
            more = facts.more
            instance, machine = str(more["instance"]), _machine(facts, self._here().at)
            float(more.get("waited_s", 0))
        except ConfigError as error:
            return Answer(refused=(str(error),))
        except (KeyError, TypeError, ValueError, OverflowError):
            return Answer(refused=("a machine did not say what it has; install the same drm on it",))
        with self._lock:
            return self._decide(facts, instance, machine)

    def _decide(self, facts: MachineFacts, instance: str, machine: Machine) -> Answer:
        self._forget()
        entry = self._entries.get(facts.name)
        if facts.more.get("wants") == "leave":
            if entry is not None and entry.instance == instance:
                self._drop(facts.name, "it left")
            return Answer()
        is_taken = entry is not None and entry.instance != instance
        # One at the same address may be the same machine, which ended without a word and is back.
        came_back = is_taken and entry is not None and entry.machine.address == machine.address
        may_wait = came_back and float(facts.more.get("waited_s", 0)) <= FORGET_S + BEAT_S
        here = self._here()
        problems = join_problems(here, facts, [facts.name] if is_taken and not may_wait else [])
        if problems:
            return Answer(refused=tuple(problems))
        if is_taken:
            return Answer(granted={"wait": True})
        if entry is None:
            self._say(f"{facts.name} joins ({machine.cpu_cores:g} cores, {machine.memory_bytes / 2**30:.1f} GiB)")
            line = clock_line(here.at, facts)
            if line:
                self._say(line)
        self._entries[facts.name] = _Entry(instance, machine, self._now())
        return Answer(granted={"leave": self._must_leave(facts.name)})

    def _forget(self) -> None:
        for name, entry in list(self._entries.items()):
            if self._now() - entry.heard_s > FORGET_S:
                self._drop(name, f"nothing was heard of it for {FORGET_S:g} s")

    def _drop(self, name: str, why: str) -> None:
        del self._entries[name]
        self._say(f"{name} is gone: {why}")
        self._left(name)

    def machines(self) -> list[Machine]:
        """Return the machines that are there."""
        with self._lock:
            self._forget()
            return [entry.machine for entry in self._entries.values()]


def _machine(facts: MachineFacts, at: float) -> Machine:
    more = facts.more
    return Machine(
        name=facts.name,
        address=one_line(str(more["address"]), 100),  # it is shown
        cpu_cores=float(more["cpu_cores"]),
        memory_bytes=int(more["memory_bytes"]),
        gpus=float(more["gpus"]),
        labels=tuple(one_line(str(label), 100) for label in more["labels"]),
        heard_at=at,
    )
