"""How many executors a worker should have. Pure: how things stand in, a decision out."""

from __future__ import annotations

from dataclasses import dataclass

from drm.model.plan import ScalingAction, Trigger
from drm.model.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleExecutor:
    """An executor with nothing to do; ``grown_bytes`` it would give back. ``has_group``: the rest of a group waits
    for this one, so it stays."""

    executor_id: str
    idle_s: float
    grown_bytes: int
    has_group: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewCase:
    """``startable``: waiting tests that could start at once within what is free. ``short``: waiting tests would start
    if there were more memory."""

    least: int
    most: int
    busy: int
    starting: int
    idle: tuple[IdleExecutor, ...]
    waiting: int
    startable: int
    short: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewDecision:
    """``hire`` so many, ``dismiss`` these; at most one of the two is asked for."""

    action: ScalingAction
    trigger: Trigger
    reason: str
    hire: int = 0
    dismiss: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewSettings:
    """``idle_s``: an executor beyond the least may go after so long. ``worth_bytes``: with memory short, an idle
    executor that gives back so much goes whoever it is; its successor starts in milliseconds when there is room."""

    idle_s: float = 3.0
    worth_bytes: int = 16 * 2**20


def decide_crew(case: CrewCase, settings: CrewSettings) -> CrewDecision:
    """Return the decision: hire for tests that could start and have nobody; else let go who is idle for nothing."""
    present = case.busy + case.starting + len(case.idle)
    if case.short:
        going = _for_memory(case, settings, present)
        if going:
            back = sum(executor.grown_bytes for executor in going)
            return _let_go(
                going,
                Trigger(code="memory", metric="given_back_bytes", value=float(back), threshold=0.0),
                f"memory is short for what waits: {len(going)} idle of {present} executors end "
                f"and give {format_bytes(back)} back",
            )
    spare = case.starting + len(case.idle)
    ready = min(case.least, case.busy + case.waiting) if case.startable else 0  # the least are there from the start
    wanted = min(case.most, max(ready, case.busy + case.startable))
    if wanted > present:
        reason = f"{case.waiting} tests wait and {case.startable} could start: {wanted - present} more than {present}"
        waiting = Trigger(code="waiting", metric="startable", value=float(case.startable), threshold=float(spare))
        return CrewDecision(action=ScalingAction.UP, trigger=waiting, reason=reason, hire=wanted - present)
    idle = sorted(case.idle, key=lambda executor: (-executor.idle_s, executor.executor_id))
    bored = [executor for executor in idle if executor.idle_s > settings.idle_s and not executor.has_group]
    going = bored[: max(0, present - case.least)]
    if going and not case.startable:
        longest = going[0]
        return _let_go(
            going,
            Trigger(code="idle", metric="idle_s", value=longest.idle_s, threshold=settings.idle_s),
            f"executor {longest.executor_id} is idle for {longest.idle_s:.1f} s (limit {settings.idle_s:g} s) "
            f"and nothing that waits can start: {len(going)} of {present} end",
        )
    steady = Trigger(code="steady", metric="startable", value=float(case.startable), threshold=float(spare))
    return CrewDecision(action=ScalingAction.HOLD, trigger=steady, reason=f"{present} executors are enough")


def _for_memory(case: CrewCase, settings: CrewSettings, present: int) -> list[IdleExecutor]:
    """Return who goes for memory: all beyond the least, and those that hold much, as long as somebody stays."""
    free = [executor for executor in case.idle if not executor.has_group]
    ordered = sorted(free, key=lambda executor: (-executor.grown_bytes, executor.executor_id))
    beyond = max(0, present - max(1, case.least))
    return [
        executor
        for place, executor in enumerate(ordered)
        if place < beyond or (executor.grown_bytes >= settings.worth_bytes and place < present - 1)
    ]


def _let_go(going: list[IdleExecutor], trigger: Trigger, reason: str) -> CrewDecision:
    names = tuple(executor.executor_id for executor in going)
    return CrewDecision(action=ScalingAction.DOWN, trigger=trigger, reason=reason, dismiss=names)
