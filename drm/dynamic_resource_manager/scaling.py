"""The scaling decision: what a policy wants, within limits and cooldowns, with its reason. Pure."""

from __future__ import annotations

import math

from drm.dynamic_resource_manager.needs import Need, ScalingCase, need_of
from drm.dynamic_resource_manager.settings import ScalingSettings
from drm.model.cluster import WorkerState, WorkerView
from drm.model.plan import ScalingAction, ScalingDecision, Trigger

__all__ = ["ScalingCase", "evaluate_scaling", "is_vote"]


def is_vote(decision: ScalingDecision) -> bool:
    """Tell whether the decision found workers that are idle for too long and not wanted: it counts for the next."""
    return (
        decision.action is ScalingAction.HOLD
        and decision.trigger.code in ("votes", "cooldown", "minimum")
        and (decision.wanted < decision.workers)
    )


def evaluate_scaling(settings: ScalingSettings, case: ScalingCase) -> ScalingDecision:
    """Return the decision for one worker type: the same case always gives the same one.

    What the policy wants, and the pool's minimum on top. Workers go only when idle for long enough and not wanted in
    several decisions in a row; those on their way out stay where they are wanted again.
    """
    need = need_of(settings, case)
    floor = case.present + max(0, case.minimum - case.total_workers)
    if max(need.wanted, floor) > case.present:
        return _grow(settings, case, need, floor)
    return _shrink(settings, case, need)


def _grow(settings: ScalingSettings, case: ScalingCase, need: Need, floor: int) -> ScalingDecision:
    wanted = max(need.wanted, floor)
    name, present = case.worker_type.name, case.present
    kept = case.draining[: wanted - present]  # they are there, and count in the total
    granted = min(wanted, present + len(kept) + max(0, case.maximum - case.total_workers))
    trigger = need.trigger if need.wanted >= floor else _below_minimum(case)
    why = (
        need.why
        if trigger is need.trigger
        else f"{case.total_workers} workers are fewer than the minimum of {case.minimum}"
    )
    since_s = case.now_s - case.last_up_s
    if granted == present:
        limit = Trigger(
            code="maximum", metric="total_workers", value=float(case.total_workers), threshold=float(case.maximum)
        )
        reason = f"{why}: {wanted} {name} workers are wanted, but the maximum of {case.maximum} in all is reached"
        return _decision(case, need, ScalingAction.DENIED, limit, reason, wanted=wanted, limits=("maximum",))
    names = tuple(worker.worker_id for worker in kept)
    if since_s < settings.up_cooldown_s and not names:
        wait = _cooldown("since_last_up_s", since_s, settings.up_cooldown_s)
        reason = (
            f"{why}: wait {settings.up_cooldown_s - since_s:.1f} s more, {name} workers were added {since_s:.1f} s ago"
        )
        return _decision(case, need, ScalingAction.HOLD, wait, reason, wanted=wanted, limits=("cooldown",))
    limits = ("maximum",) if granted < wanted else ()
    if names and since_s < settings.up_cooldown_s:
        granted, limits = present + len(names), (*limits, "cooldown")
    more = granted - present - len(names)
    acts = [f"keep {', '.join(names)}, which drained"] * bool(names)
    acts += [f"add {more} {name} to the {present} there"] * bool(more)
    return _decision(
        case,
        need,
        ScalingAction.UP,
        trigger,
        f"{why}: {' and '.join(acts)}",
        wanted=wanted,
        granted=granted,
        limits=limits,
        keep=names,
    )


def _shrink(settings: ScalingSettings, case: ScalingCase, need: Need) -> ScalingDecision:
    name, present = case.worker_type.name, case.present
    idle = _idle(settings, case)
    surplus = present - need.wanted
    if not idle or surplus <= 0:
        return _steady(case, need)
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
    if case.votes + 1 < settings.votes:
        wait = Trigger(code="votes", metric="votes", value=case.votes + 1.0, threshold=float(settings.votes))
        reason = f"{why}, as {case.votes + 1} of {settings.votes} decisions in a row have found"
        return _decision(case, need, ScalingAction.HOLD, wait, reason, wanted=need.wanted, limits=("votes",))
    names = tuple(worker.worker_id for worker in removable)
    reason = f"{why} and is not needed: remove {', '.join(names)}"
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


def _steady(case: ScalingCase, need: Need) -> ScalingDecision:
    trigger = need.trigger
    steady = Trigger(code="steady", metric=trigger.metric, value=trigger.value, threshold=trigger.threshold)
    return _decision(case, need, ScalingAction.HOLD, steady, need.steady, wanted=need.wanted)


def _below_minimum(case: ScalingCase) -> Trigger:
    return Trigger(
        code="minimum", metric="total_workers", value=float(case.total_workers), threshold=float(case.minimum)
    )


def _cooldown(metric: str, since_s: float, threshold: float) -> Trigger:
    return Trigger(code="cooldown", metric=metric, value=since_s, threshold=threshold)


def _decision(
    case: ScalingCase,
    need: Need,
    action: ScalingAction,
    trigger: Trigger,
    reason: str,
    *,
    wanted: int,
    granted: int | None = None,
    limits: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
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
        "boot_s": case.boot_s,
        "running_s": case.queue.running_s,
        "usd_per_hour": case.worker_type.usd_per_hour,
    }
    if need.finish_s is not None and math.isfinite(need.finish_s):
        inputs["finish_s"] = need.finish_s
    return ScalingDecision(
        action=action,
        worker_type=case.worker_type.name,
        workers=case.present,
        wanted=wanted,
        granted=case.present if granted is None else granted,
        trigger=trigger,
        reason=reason,
        remove=remove,
        keep=keep,
        inputs=tuple((name, float(value)) for name, value in inputs.items()),
        alternatives=tuple(f"{name}: {count} workers" for name, count in need.options if count != wanted),
        limits_hit=limits,
    )
