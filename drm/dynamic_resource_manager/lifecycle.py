"""The life of a worker, from the wish for it to the proof that its machine is gone: a pure state machine.

    requested -> allocated -> registered -> ready -> draining -> gone

``advance(life, event)`` returns what the worker's life is now and what is to be done. Every state has a deadline, so
that no worker stays in one for ever because an answer was lost. The two rules that it keeps whatever happens: a machine
that may exist is ended before it is forgotten, and a worker that runs a test is never ended by us.
"""
# ruff: noqa: ARG001, ARG005 - all steps of the machine are given the same

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

__all__ = ["Deadlines", "Do", "Happened", "Life", "LifeEvent", "Phase", "advance"]


class Phase(str, enum.Enum):
    """Where a worker is in its life."""

    REQUESTED = "requested"  # a machine is asked for; nobody knows yet whether there is one
    ALLOCATED = "allocated"  # there is a machine, and it boots
    REGISTERED = "registered"  # its agent has joined
    READY = "ready"  # it has run, or can run, a test
    DRAINING = "draining"  # it gets no more tests
    GONE = "gone"  # its machine is being ended, until the end is confirmed


class Happened(str, enum.Enum):
    """What is heard of a worker."""

    CREATED = "created"  # the provider returned an instance
    REFUSED = "refused"  # the provider said no: there is no instance
    FATE_UNKNOWN = "fate unknown"  # the answer was lost: there may be one
    JOINED = "joined"
    HIRED = "hired"  # an executor was asked for on it
    SERVES = "serves"  # an executor of it is ready
    DRAIN = "drain"  # the decision to let it go
    KEEP = "keep"  # the decision to keep it after all
    NOTICED = "noticed"  # the provider will take its machine away: no more work, and nobody can keep it
    EMPTY = "empty"  # nothing runs on it any more, while it drains
    LEFT = "left"  # its agent is gone, or its connection
    VANISHED = "vanished"  # the provider says that its machine is gone
    ENDED = "ended"  # the end of its machine is confirmed
    END_FAILED = "end failed"  # the provider did not confirm it
    TICK = "tick"  # time has passed


class Do(str, enum.Enum):
    """What is to be done."""

    ASK = "ask"  # create the instance, under the worker's own token
    RELEASE = "release"  # ask the agent to end
    END = "end"  # end the instance
    STOP = "stop"  # give it no more tests, and let its executors finish
    FORGET = "forget"  # nothing of it is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a worker may be in each state, in seconds. ``lease_s``: of its machine (infinite: it has none);
    ``lease_margin_s`` before its end a worker drains, so that its machine is not switched off under a test."""

    allocated_s: float
    registered_s: float
    draining_s: float
    lease_s: float
    lease_margin_s: float
    requested_s: float = 120.0
    gone_s: float = 30.0
    ask_again_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A worker's life so far. ``since_s``: when its state began; ``asked_s``: when it was first asked for.

    ``hired_s``: when its first executor was asked for. ``again_s``: when the same is to be asked again, or ended
    again. ``released``: its agent was told to end, or its machine will be taken away, so that it cannot be kept.
    ``told``: its agent was told to end. ``overdue``: whether there is a machine is unknown for longer than it may
    be: it counts as one, but nobody counts on it. ``reason``: why it is gone. ``failed_start``: it never served.
    ``expected``: we let it go.
    """

    asked_s: float
    phase: Phase = Phase.REQUESTED
    since_s: float = 0.0
    hired_s: float | None = None
    again_s: float = math.inf
    released: bool = False
    told: bool = False
    overdue: bool = False
    reason: str = ""
    failed_start: bool = False
    expected: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether it is on its way: it counts as capacity that will be there."""
        return self.phase in (Phase.REQUESTED, Phase.ALLOCATED) and not self.overdue


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeEvent:
    """``busy``: whether it runs a test now, or ran one when it left."""

    kind: Happened
    now_s: float
    reason: str = ""
    busy: bool = False


_Answer = tuple[Life, tuple[Do, ...]]


def advance(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    """Return the life after the event, and what is to be done, in order. What does not apply changes nothing."""
    if event.kind is Happened.TICK:
        return _TICKS[life.phase](life, event, limits)
    step = _STEPS.get((life.phase, event.kind))
    return step(life, event, limits) if step is not None else (life, ())


def _moved(life: Life, event: LifeEvent, phase: Phase) -> Life:
    return replace(life, phase=phase, since_s=event.now_s, again_s=math.inf, overdue=False)


def _gone(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    """It is lost, or let go: its machine is ended, whatever is left of it."""
    reason = event.reason or life.reason
    served = life.phase in (Phase.READY, Phase.DRAINING)
    expected = life.phase is Phase.DRAINING and not event.busy
    after = replace(_moved(life, event, Phase.GONE), reason=reason, failed_start=not served, expected=expected)
    return replace(after, again_s=event.now_s + limits.gone_s), (Do.END,)


def _created(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    return _moved(life, event, Phase.ALLOCATED), ()


def _refused(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    """There is no machine: nothing is to be ended."""
    return replace(_moved(life, event, Phase.GONE), reason=event.reason, failed_start=True), (Do.FORGET,)


def _unknown(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    return replace(life, again_s=event.now_s + limits.ask_again_s, reason=event.reason), ()


def _joined(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    return _moved(life, event, Phase.REGISTERED), ()


def _hired(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    return (replace(life, hired_s=event.now_s) if life.hired_s is None else life), ()


def _serves(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    return _moved(life, event, Phase.READY), ()


def _drain(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    return replace(_moved(life, event, Phase.DRAINING), reason=event.reason), (Do.STOP,)


def _noticed(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    draining = life if life.phase is Phase.DRAINING else _moved(life, event, Phase.DRAINING)
    return replace(draining, released=True, reason=event.reason), ()


def _keep(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    if life.released:
        return life, ()
    return replace(_moved(life, event, Phase.READY), reason=""), ()


def _empty(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    if life.told:
        return life, ()
    return replace(life, released=True, told=True), (Do.RELEASE,)


def _ended(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    return replace(life, again_s=math.inf), (Do.FORGET,)


def _end_failed(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    return replace(life, again_s=event.now_s + limits.gone_s, reason=life.reason or event.reason), ()


_Step = Callable[[Life, LifeEvent, Deadlines], _Answer]
_STARTING = (Phase.REQUESTED, Phase.ALLOCATED)
_THERE = (Phase.REGISTERED, Phase.READY)
_STEPS: Mapping[tuple[Phase, Happened], _Step] = {
    (Phase.REQUESTED, Happened.CREATED): _created,
    (Phase.REQUESTED, Happened.REFUSED): _refused,
    (Phase.REQUESTED, Happened.FATE_UNKNOWN): _unknown,
    **{(phase, Happened.JOINED): _joined for phase in _STARTING},  # it may be faster than the create's answer
    **{(phase, Happened.HIRED): _hired for phase in _THERE},
    (Phase.REGISTERED, Happened.SERVES): _serves,
    **{(phase, Happened.DRAIN): _drain for phase in _THERE},
    **{(phase, Happened.NOTICED): _noticed for phase in (*_THERE, Phase.DRAINING)},
    (Phase.DRAINING, Happened.KEEP): _keep,
    (Phase.DRAINING, Happened.EMPTY): _empty,
    **{(phase, Happened.LEFT): _gone for phase in (*_STARTING, *_THERE, Phase.DRAINING)},
    # A worker that has joined is missed by the engine, which knows what ran on it.
    **{(phase, Happened.VANISHED): _gone for phase in _STARTING},
    # A create that is answered only now.
    (Phase.GONE, Happened.CREATED): lambda life, event, limits: (life, (Do.END,)),
    (Phase.GONE, Happened.FATE_UNKNOWN): lambda life, event, limits: (life, (Do.ASK,)),
    (Phase.GONE, Happened.REFUSED): _ended,
    (Phase.GONE, Happened.ENDED): _ended,
    (Phase.GONE, Happened.END_FAILED): _end_failed,
}


# -- deadlines


def _late(life: Life, event: LifeEvent, limit_s: float) -> bool:
    return event.now_s - life.since_s > limit_s


def _tick_requested(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    """Only an answer tells whether there is a machine: the same is asked again, and nothing else instead of it."""
    life = replace(life, overdue=life.overdue or _late(life, event, limits.requested_s))
    if event.now_s < life.again_s:
        return life, ()
    return replace(life, again_s=math.inf), (Do.ASK,)


def _tick_allocated(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    if not _late(life, event, limits.allocated_s):
        return life, ()
    return _gone(life, replace(event, reason=f"it did not join within {limits.allocated_s:g} s"), limits)


def _tick_registered(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    waits_s = event.now_s - life.hired_s if life.hired_s is not None else 0.0
    if waits_s > limits.registered_s and not event.busy:
        reason = f"no executor of it was ready within {limits.registered_s:g} s"
        after, do = _gone(life, replace(event, reason=reason), limits)
        return after, (Do.RELEASE, *do)
    return _tick_ready(life, event, limits)


def _tick_ready(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    if event.now_s - life.asked_s <= limits.lease_s - limits.lease_margin_s:
        return life, ()
    return _drain(life, replace(event, reason=f"the lease of its machine, {limits.lease_s:g} s, ends soon"), limits)


def _tick_draining(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    """What takes long to go is ended, unless a test still runs on it: that is waited for."""
    if event.busy or not _late(life, event, limits.draining_s):
        return life, ()
    return _gone(life, replace(event, reason=life.reason or "it drained"), limits)


def _tick_gone(life: Life, event: LifeEvent, limits: Deadlines) -> _Answer:
    if event.now_s < life.again_s:
        return life, ()
    return replace(life, again_s=event.now_s + limits.gone_s), (Do.END,)


_TICKS: Mapping[Phase, _Step] = {
    Phase.REQUESTED: _tick_requested,
    Phase.ALLOCATED: _tick_allocated,
    Phase.REGISTERED: _tick_registered,
    Phase.READY: _tick_ready,
    Phase.DRAINING: _tick_draining,
    Phase.GONE: _tick_gone,
}
