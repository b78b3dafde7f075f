"""Whether a test is tried again after an attempt went wrong, and how. Pure: mishaps in, an instruction out.

A crash is tried again (flaky suites crash in native code), a failure only where the user asks for it. What was
killed for memory runs once more with nothing beside it, which tells whether it or its company was at fault; then with
twice the memory reserved (or a little more than it was seen to use), then with all that the largest worker has. A test
that kept within its reservation and was killed all the same is a victim of others: it starts anew and that costs it
nothing. So does the loss of a worker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drm.model.death import DeathKind
from drm.model.errors import ConfigError
from drm.model.units import format_bytes, shown

_ROOM = 1.05  # times the most that it was seen to use


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a test is tried again after a crash (or a hang), a failure, a timeout.

    ``innocent``: how often it may start anew after the loss of a worker, or being killed for what others used,
    before it is taken for the cause.
    """

    crash: int = 1
    failure: int = 0
    timeout: int = 0
    innocent: int = 2


def parse_retries(text: str, what: str) -> RetryPolicy:
    """Return the policy that ``"2"`` (after a crash) or ``"crash=1,failure=2,timeout=0"`` asks for."""
    if _is_count(text):
        return RetryPolicy(crash=int(text))
    counts: dict[str, int] = {}
    for part in text.replace(",", " ").split() or [text]:
        name, _, number = part.partition("=")
        if name not in ("crash", "failure", "timeout") or not _is_count(number):
            raise ConfigError(
                f"{what}: {shown(part)} does not say how often to try again",
                remedy='write 1, or "crash=1,failure=2,timeout=0"',
            )
        if name in counts:
            raise ConfigError(f"{what}: {name} is given twice", remedy="give it once")
        counts[name] = int(number)
    return RetryPolicy(**counts)


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """One attempt that went wrong. ``kind`` is None where the test failed by itself.

    ``used_bytes`` is what it held at most, ``reserved_bytes`` what it had been promised; ``alone``: nothing else ran
    on its worker; ``had_all``: it had all the memory that its worker can give. ``is_announced``: it lost its worker,
    whose machine the provider had said it would take away: not the test's doing, however often that happens.
    """

    attempt: int
    kind: DeathKind | None
    message: str
    reserved_bytes: int = 0
    used_bytes: int = 0
    alone: bool = False
    had_all: bool = False
    is_announced: bool = False

    @property
    def is_victim(self) -> bool:
        """Tell whether others used the memory that it was killed for."""
        had_company = not (self.alone or self.had_all)
        return self.kind is DeathKind.MEMORY and had_company and self.used_bytes <= self.reserved_bytes

    @property
    def is_charged(self) -> bool:
        """Tell whether it counts against the test."""
        return self.kind is not DeathKind.LOST and not self.is_victim


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Run the test again: ``alone`` on its worker, or with ``memory_bytes`` reserved where that is not None."""

    alone: bool = False
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The test has failed; ``message`` is the whole story."""

    message: str


def decide(past: Sequence[Mishap], policy: RetryPolicy, *, most_bytes: int) -> Again | GiveUp:
    """Return what is to follow the newest of ``past``. ``most_bytes``: the most memory a worker that may run it has."""
    last = past[-1]
    past = [mishap for mishap in past if not mishap.is_announced]
    if not last.is_charged and sum(not mishap.is_charged for mishap in past) <= policy.innocent:
        return Again()
    if last.kind is DeathKind.MEMORY:
        return _after_memory(past, most_bytes)
    allowed = {None: policy.failure, DeathKind.TIMEOUT: policy.timeout, DeathKind.LOST: 0}
    if sum(mishap.kind is last.kind for mishap in past) <= allowed.get(last.kind, policy.crash):
        return Again()
    return GiveUp(message=story(past))


def _after_memory(past: Sequence[Mishap], most_bytes: int) -> Again | GiveUp:
    """Alone, then with more, then with all there is: so it comes to an end whoever is at fault."""
    kills = [mishap for mishap in past if mishap.kind is DeathKind.MEMORY]
    if not any(mishap.alone for mishap in kills):
        return Again(alone=True)
    last = kills[-1]
    seen = max(mishap.used_bytes for mishap in kills)
    larger = min(max(math.ceil(_ROOM * seen), 2 * last.reserved_bytes), most_bytes)
    if any(mishap.reserved_bytes > kills[0].reserved_bytes for mishap in kills):  # more did not do: all there is
        larger = most_bytes
    if larger > max(mishap.reserved_bytes for mishap in kills) and not last.had_all:
        return Again(memory_bytes=larger)
    why = f"it needs more than the {format_bytes(most_bytes)} that a worker has"
    if last.used_bytes <= last.reserved_bytes and not last.had_all:
        why = "it was killed for memory within its reservation each time: something beside the tests takes the memory"
    return GiveUp(message=f"{why}: {story(past)}")


def story(past: Sequence[Mishap], *, numbered: bool = False) -> str:
    """Return what went wrong, attempt by attempt, in one line."""
    if len(past) == 1 and not numbered:
        return past[0].message
    return "; ".join(
        f"attempt {mishap.attempt}{' (alone)' if mishap.alone else ''}: {mishap.message}" for mishap in past
    )
