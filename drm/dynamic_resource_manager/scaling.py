"""The scaling policy: how many workers of a type the waiting work calls for. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drm.dynamic_resource_manager.settings import ScalingSettings
from drm.model.cluster import QueueView, WorkerState, WorkerType, WorkerView
from drm.model.errors import ConfigError
from drm.model.plan import ScalingAction, ScalingDecision, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingCase:
    """All that one decision rests on. ``last_up_s`` and ``last_down_s`` are -inf where there was none."""

    worker_type: WorkerType
    queue: QueueView
    workers: tuple[WorkerView, ...]
    pending: int
    minimum: int
    maximum: int
    total_workers: int
    now_s: float
    last_up_s: float
    last_down_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum:
            raise ConfigError(f"workers: {self.minimum}..{self.maximum} is no range", remedy='write it like "1..4"')
        if self.pending < 0 or self.total_workers < 0:
            raise ConfigError(f"workers: {self.pending} pending of {self.total_workers} is no count")

    @property
    def present(self) -> int:
        """Workers of this type that run or are on their way; those that drain no longer count."""
        live = (WorkerState.STARTING, WorkerState.READY)
        return self.pending + sum(worker.state in live for worker in self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """What the work calls for: ``by_time`` to meet the target, at most ``by_tests``, at least ``busy``."""

    waiting_s: float
    slots: float
    by_time: int
    by_tests: int
    busy: int

    @property
    def wanted(self) -> int:
        return max(self.busy, min(self.by_time, self.by_tests))


def decide(settings: ScalingSettings, case: ScalingCase) -> ScalingDecision:
    """Return the decision for one worker type.

    Wanted = enough workers that the waiting seconds, spread over the tests that they
    run at once, are cleared within the target; never more than the runnable tests can
    occupy, never fewer than are busy; the pool's minimum on top. Workers go only when
    idle for long enough and not wanted.
    """
    need = _need(settings, case)
    floor = case.present + max(0, case.minimum - case.total_workers)
    if max(need.wanted, floor) > case.present:
        return _grow(settings, case, need, floor)
    return _shrink(settings, case, need)


def _need(settings: ScalingSettings, case: ScalingCase) -> _Need:
    queue = case.queue
    slots = queue.per_worker if queue.per_worker > 0 else max(1.0, float(int(case.worker_type.capacity.cpu_cores)))
    waiting_s = queue.waiting_s if queue.waiting_s > 0 else queue.waiting * settings.default_task_s
    busy = sum(worker.reservations > 0 and worker.state is WorkerState.READY for worker in case.workers)
    runnable = queue.runnable
    return _Need(
        waiting_s=waiting_s,
        slots=slots,
        by_time=math.ceil(waiting_s / (slots * settings.target_queue_s)) if runnable else 0,
        by_tests=math.ceil((runnable + queue.running) / slots),
        busy=busy,
    )


def _grow(settings: ScalingSettings, case: ScalingCase, need: _Need, floor: int) -> ScalingDecision:
    wanted = max(need.wanted, floor)
    name, present = case.worker_type.name, case.present
    granted = min(wanted, present + max(0, case.maximum - case.total_workers))
    trigger = _pressure(settings, case, need) if need.wanted >= floor else _below_minimum(case)
    why = (
        f"{case.queue.runnable} runnable tests hold {need.waiting_s:.1f} s of work, "
        f"{trigger.value:.1f} s per running slot against a target of {settings.target_queue_s:g} s"
        if trigger.code == "queue_pressure"
        else f"{case.total_workers} workers are fewer than the minimum of {case.minimum}"
    )
    since_s = case.now_s - case.last_up_s
    if granted == present:
        limit = Trigger(
            code="maximum", metric="total_workers", value=float(case.total_workers), threshold=float(case.maximum)
        )
        reason = f"{why}: {wanted} {name} workers are wanted, but the maximum of {case.maximum} in all is reached"
        return _decision(case, need, ScalingAction.DENIED, limit, reason, wanted=wanted, limits=("maximum",))
    if since_s < settings.up_cooldown_s:
        wait = _cooldown("since_last_up_s", since_s, settings.up_cooldown_s)
        reason = (
            f"{why}: wait {settings.up_cooldown_s - since_s:.1f} s more, {name} workers were added {since_s:.1f} s ago"
        )
        return _decision(case, need, ScalingAction.HOLD, wait, reason, wanted=wanted, limits=("cooldown",))
    reason = f"{why}: add {granted - present} {name} to the {present} there"
    limits = ("maximum",) if granted < wanted else ()
    return _decision(case, need, ScalingAction.UP, trigger, reason, wanted=wanted, granted=granted, limits=limits)


def _shrink(settings: ScalingSettings, case: ScalingCase, need: _Need) -> ScalingDecision:
    name, present = case.worker_type.name, case.present
    idle = _idle(settings, case)
    surplus = present - need.wanted
    if not idle or surplus <= 0:
        return _steady(settings, case, need)
    removable = idle[: min(surplus, case.total_workers - case.minimum)]
    idle_s = case.now_s - (idle[0].idle_since_s or 0.0)
    trigger = Trigger(code="idle", metric="idle_s", value=idle_s, threshold=settings.idle_s)
    why = f"worker {idle[0].worker_id} is idle for {idle_s:.1f} s (limit {settings.idle_s:g} s)"
    since_s = case.now_s - case.last_down_s
    if not removable:
        limit = Trigger(
            code="minimum", metric="total_workers", value=float(case.total_workers), threshold=float(case.minimum)
        )
        reason = f"{why}, but the minimum of {case.minimum} workers is reached"
        return _decision(case, need, ScalingAction.HOLD, limit, reason, wanted=need.wanted, limits=("minimum",))
    if since_s < settings.down_cooldown_s:
        wait = _cooldown("since_last_down_s", since_s, settings.down_cooldown_s)
        reason = (
            f"{why}: {name} workers were removed {since_s:.1f} s ago, "
            f"wait {settings.down_cooldown_s - since_s:.1f} s more"
        )
        return _decision(case, need, ScalingAction.HOLD, wait, reason, wanted=need.wanted, limits=("cooldown",))
    names = tuple(worker.worker_id for worker in removable)
    reason = f"{why} and no runnable test needs it: remove {', '.join(names)}"
    limits = ("minimum",) if len(removable) < min(surplus, len(idle)) else ()
    granted = present - len(removable)
    return _decision(
        case,
        need,
        ScalingAction.DOWN,
        trigger,
        reason,
        wanted=need.wanted,
        granted=granted,
        limits=limits,
        remove=names,
    )


def _idle(settings: ScalingSettings, case: ScalingCase) -> list[WorkerView]:
    """Return the ready workers that hold nothing for longer than the limit, longest idle first."""
    idle = [
        (worker.idle_since_s, worker.worker_id, worker)
        for worker in case.workers
        if worker.state is WorkerState.READY
        and worker.reservations == 0
        and worker.idle_since_s is not None
        and case.now_s - worker.idle_since_s > settings.idle_s
    ]
    return [worker for _, _, worker in sorted(idle, key=lambda row: row[:2])]


def _steady(settings: ScalingSettings, case: ScalingCase, need: _Need) -> ScalingDecision:
    trigger = _pressure(settings, case, need)
    steady = Trigger(code="steady", metric=trigger.metric, value=trigger.value, threshold=trigger.threshold)
    reason = (
        f"{case.present} {case.worker_type.name} workers are enough for {case.queue.runnable} runnable tests "
        f"with {need.waiting_s:.1f} s of work, and none is idle for longer than {settings.idle_s:g} s without need"
    )
    return _decision(case, need, ScalingAction.HOLD, steady, reason, wanted=need.wanted)


def _pressure(settings: ScalingSettings, case: ScalingCase, need: _Need) -> Trigger:
    per_slot_s = need.waiting_s / (need.slots * max(1, case.present))
    return Trigger(
        code="queue_pressure", metric="queue_s_per_slot", value=per_slot_s, threshold=settings.target_queue_s
    )


def _below_minimum(case: ScalingCase) -> Trigger:
    return Trigger(
        code="minimum", metric="total_workers", value=float(case.total_workers), threshold=float(case.minimum)
    )


def _cooldown(metric: str, since_s: float, threshold: float) -> Trigger:
    return Trigger(code="cooldown", metric=metric, value=since_s, threshold=threshold)


def _decision(
    case: ScalingCase,
    need: _Need,
    action: ScalingAction,
    trigger: Trigger,
    reason: str,
    *,
    wanted: int,
    granted: int | None = None,
    limits: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
) -> ScalingDecision:
    inputs = {
        "waiting": case.queue.waiting,
        "runnable": case.queue.runnable,
        "running": case.queue.running,
        "waiting_s": need.waiting_s,
        "slots_per_worker": need.slots,
        "pending": case.pending,
        "total_workers": case.total_workers,
        "minimum": case.minimum,
        "maximum": case.maximum,
    }
    options = (("by_time", need.by_time), ("by_runnable_tests", need.by_tests), ("busy", need.busy))
    return ScalingDecision(
        action=action,
        worker_type=case.worker_type.name,
        workers=case.present,
        wanted=wanted,
        granted=case.present if granted is None else granted,
        trigger=trigger,
        reason=reason,
        remove=remove,
        inputs=tuple((name, float(value)) for name, value in inputs.items()),
        alternatives=tuple(f"{name}: {count} workers" for name, count in options if count != wanted),
        limits_hit=limits,
    )
