"""Whether real memory allows what the books allow. Pure: how things stand in, a verdict out.

Reservations keep predictions within a worker's memory; predictions can be wrong, and a worker is not always alone
on its machine. So what is really used counts too, in four steps: room for a further test is what the tightest limit
leaves less what running tests may still take of their reservations; with no room left although the books have some,
starting is held; idle executors give their memory back; and only when the kernel is about to kill, the executor
furthest above its reservation is killed first: it is the one that broke its promise, which the largest need not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drm.model.memory import MemoryLevel, MemorySample
from drm.model.plan import Trigger
from drm.model.units import format_bytes

_NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """Parts of a limit, and the most bytes that each may come to.

    ``spare``: kept free when tests are started, for what grows by the way. ``resume``: room there must be before
    starting goes on. ``last``: with less left an executor is killed, lest the kernel choose. ``pressure_hold`` and
    ``pressure_resume``: the part of time lost to waiting for memory. ``kill_again_s``: a killed process needs a
    while to give its memory back.
    """

    spare: float = 0.04
    spare_bytes: int = 256 * 2**20
    resume: float = 0.04
    resume_bytes: int = 256 * 2**20
    last: float = 0.02
    last_bytes: int = 64 * 2**20
    pressure_hold: float = 0.2
    pressure_resume: float = 0.1
    kill_again_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One executor: what is reserved for it while it is ``running``, and what it holds beyond its base."""

    executor_id: str
    running: bool
    reserved_bytes: int
    grown_bytes: int

    @property
    def above_bytes(self) -> int:
        return self.grown_bytes - self.reserved_bytes

    @property
    def due_bytes(self) -> int:
        """What it may still take."""
        return max(0, self.reserved_bytes - self.grown_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCase:
    """All that a verdict rests on. ``free_bytes``: what the books say is not reserved; ``held``: starting is held."""

    sample: MemorySample
    holders: tuple[Holder, ...]
    free_bytes: int
    held: bool
    now_s: float
    killed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryVerdict:
    """``held``: nothing is started unless nothing runs; ``trigger`` and ``reason`` say why, or why no longer.

    ``kill``: the executor to kill, if it has come to that; ``kill_reason`` says why this one.
    """

    held: bool
    trigger: Trigger
    reason: str
    kill: str | None = None
    kill_reason: str = ""


def room_bytes(sample: MemorySample, holders: Sequence[Holder], settings: MemorySettings) -> int:
    """Return how much more memory may be promised, by what is really used. Negative: too much was promised."""
    left = min((level.left_bytes - _spare(level, settings) for level in sample.levels), default=_NO_LIMIT)
    return left - sum(holder.due_bytes for holder in holders)


def judge(case: MemoryCase, settings: MemorySettings) -> MemoryVerdict:
    """Return whether starting is held, and who is to be killed, if anybody."""
    room = room_bytes(case.sample, case.holders, settings)
    level = tightest(case.sample)
    resume = min(level.limit_bytes * settings.resume, settings.resume_bytes) if case.held else 0.0
    pressure = settings.pressure_resume if case.held else settings.pressure_hold
    short = room <= resume and case.free_bytes > max(room, 0)
    pressed = case.sample.pressure > pressure
    if pressed:
        trigger = Trigger(code="pressure", metric="memory_pressure", value=case.sample.pressure, threshold=pressure)
        reason = f"processes waited for memory {case.sample.pressure:.0%} of the last ten seconds"
    else:
        trigger = Trigger(code="memory", metric="room_bytes", value=float(room), threshold=float(resume))
        reason = _room_reason(level, case.holders, room)
    kill = _whom(case, level, settings)
    return MemoryVerdict(
        held=short or pressed,
        trigger=trigger,
        reason=reason,
        kill=kill.executor_id if kill is not None else None,
        kill_reason=_kill_reason(kill, level) if kill is not None else "",
    )


def tightest(sample: MemorySample) -> MemoryLevel:
    """Return the limit that leaves least."""
    boundless = MemoryLevel(name="nothing", limit_bytes=_NO_LIMIT, used_bytes=0)
    return min(sample.levels, key=lambda level: level.left_bytes, default=boundless)


def _spare(level: MemoryLevel, settings: MemorySettings) -> int:
    return int(min(level.limit_bytes * settings.spare, settings.spare_bytes))


def _whom(case: MemoryCase, level: MemoryLevel, settings: MemorySettings) -> Holder | None:
    """Return whom to kill: with nothing left at all the furthest above its reservation, a little before that
    only one that is above it and not alone; nobody while the last one killed still gives its memory back."""
    last = min(level.limit_bytes * settings.last, settings.last_bytes)
    running = [holder for holder in case.holders if holder.running]
    if level.left_bytes >= last or not running or case.now_s - case.killed_s < settings.kill_again_s:
        return None
    furthest = max(running, key=lambda holder: (holder.above_bytes, holder.executor_id))
    if level.left_bytes < 0 or (furthest.above_bytes > 0 and len(running) > 1):
        return furthest
    return None


def _room_reason(level: MemoryLevel, holders: Sequence[Holder], room: int) -> str:
    due = sum(holder.due_bytes for holder in holders)
    return (
        f"{format_bytes(level.used_bytes)} of {level.name}'s {format_bytes(level.limit_bytes)} are used and running "
        f"tests may take {format_bytes(due)} more: room for {format_bytes(max(0, room))}"
    )


def _kill_reason(holder: Holder, level: MemoryLevel) -> str:
    return (
        f"it used {format_bytes(holder.grown_bytes)} with {format_bytes(holder.reserved_bytes)} reserved when "
        f"{format_bytes(level.used_bytes)} of {level.name}'s limit of {format_bytes(level.limit_bytes)} were used"
    )
