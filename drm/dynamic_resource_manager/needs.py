"""How many workers of a type there should be: one function per policy, a case in, a need out. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drm.dynamic_resource_manager.settings import ScalingSettings
from drm.dynamic_resource_manager.utilization import Utilization
from drm.dynamic_resource_manager.worth import UNBOUNDED, Outlook
from drm.model.cluster import QueueView, WorkerState, WorkerType, WorkerView
from drm.model.errors import ConfigError
from drm.model.plan import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingCase:
    """All that one decision rests on. ``last_up_s`` and ``last_down_s`` are -inf where there was none.

    ``utilization``: of the workers of this type, over the window of the settings. ``boot_s``: from asking for a worker
    until it has joined; ``pending_s``: what those asked for still take of it, summed (None: all of it). ``votes``: how
    many decisions before this one, without a break, found more workers than wanted. ``leaving``: workers that drain
    and cannot be kept any more.
    """

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
    utilization: Utilization
    boot_s: float
    pending_s: float | None
    votes: int
    leaving: frozenset[str]
    present: int = field(init=False)  # that run or are on their way; those that drain no longer count
    busy: int = field(init=False)

    def __post_init__(self) -> None:
        ready = [worker for worker in self.workers if worker.state is WorkerState.READY]
        starting = sum(worker.state is WorkerState.STARTING for worker in self.workers)
        object.__setattr__(self, "present", self.pending + len(ready) + starting)
        object.__setattr__(self, "busy", sum(worker.reservations > 0 for worker in ready))
        if not 0 <= self.minimum <= self.maximum:
            raise ConfigError(f"workers: {self.minimum}..{self.maximum} is no range", remedy='write it like "1..4"')
        if self.pending < 0 or self.total_workers < 0:
            raise ConfigError(f"workers: {self.pending} pending of {self.total_workers} is no count")

    @property
    def draining(self) -> tuple[WorkerView, ...]:
        """Workers that drain and could be kept."""
        return tuple(
            worker
            for worker in self.workers
            if worker.state is WorkerState.DRAINING and worker.worker_id not in self.leaving
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a policy makes of a case: ``wanted`` workers, before limits.

    ``trigger`` and ``why`` speak of growing. ``steady``: why there is nothing to do. ``options``: what was weighed.
    ``finish_s``: seconds from now until all is done by those wanted, where that was reckoned.
    """

    wanted: int
    trigger: Trigger
    why: str
    steady: str
    waiting_s: float
    slots: float
    options: tuple[tuple[str, int], ...]
    finish_s: float | None = None


def need_of(settings: ScalingSettings, case: ScalingCase) -> Need:
    """Return what the policy of the settings says."""
    return POLICIES[settings.policy](settings, case)


def _for_makespan(settings: ScalingSettings, case: ScalingCase) -> Need:
    """Enough workers that what is left is done in the target, boots counted (see ``worth``).

    Never more than the runnable tests can occupy, nor than end with the longest test anyway, nor than are worth
    their cost; never fewer than are busy.
    """
    queue, slots, waiting_s = case.queue, _slots(case), _waiting_s(settings, case)
    runnable, present, price = queue.runnable, case.present, case.worker_type.usd_per_hour
    look = _outlook(case, slots, waiting_s)
    busy = case.busy
    options = {"by_time": 0, "by_runnable_tests": math.ceil((runnable + queue.running) / slots)}
    if runnable:
        options["by_time"] = look.by_target(settings.target_queue_s)
        options["by_longest_test"] = look.by_longest() + (busy if _is_blind(case) else 0)
        options["by_value_of_time"] = look.by_value(settings.value_of_time, price, case.boot_s + settings.idle_s)
    wanted = max(busy, min(options.values()), min(1, runnable))
    return Need(
        wanted=wanted,
        trigger=_pressure(settings, case, slots, waiting_s),
        why=f"{runnable} runnable tests hold {waiting_s:.1f} s of work, "
        f"{waiting_s / (slots * max(1, present)):.1f} s per running slot against a target of "
        f"{settings.target_queue_s:g} s{_worth(settings, case, look, wanted)}",
        steady=f"{present} {case.worker_type.name} workers are enough for {runnable} runnable tests "
        f"with {waiting_s:.1f} s of work{_not_worth(settings, case, look, options, wanted)}, "
        f"and none is idle for longer than {settings.idle_s:g} s without need",
        waiting_s=waiting_s,
        slots=slots,
        options=(*((name, count) for name, count in options.items() if count < UNBOUNDED), ("busy", busy)),
        finish_s=look.finish_s(wanted),
    )


_SURE = 0.75  # of the longest test: the longest prediction of many is too long more often than too short


def _outlook(case: ScalingCase, slots: float, waiting_s: float) -> Outlook:
    queue = case.queue
    ready = any(worker.state is WorkerState.READY for worker in case.workers)
    longest_s = _SURE * queue.longest_s + (0.0 if ready or not queue.longest_s else case.boot_s)
    return Outlook(
        work_s=waiting_s + queue.running_s,
        slots=slots,
        present=case.present,
        pending_s=case.pending * case.boot_s if case.pending_s is None else case.pending_s,
        boot_s=case.boot_s,
        longest_s=max(longest_s, _SURE * queue.longest_running_s),
    )


def _is_blind(case: ScalingCase) -> bool:
    """Tell whether nothing is known of what busy workers still have to do: then they are not free for what waits."""
    return case.busy > 0 and case.queue.running_s <= 0


def _worth(settings: ScalingSettings, case: ScalingCase, look: Outlook, wanted: int) -> str:
    """Say what the last of the workers is good for, where it costs something."""
    price = case.worker_type.usd_per_hour
    if price <= 0 or wanted <= case.present:
        return ""
    saved_s = look.saved_s(wanted)
    cost = price * (case.boot_s + settings.idle_s) / 3600
    saves = f"saves {saved_s:.1f} s" if math.isfinite(saved_s) else "is the first"
    return f"; the last one {saves} and costs {cost:.4f} USD more, at {settings.value_of_time:g} USD an hour of time"


def _not_worth(
    settings: ScalingSettings, case: ScalingCase, look: Outlook, options: Mapping[str, int], wanted: int
) -> str:
    value = options.get("by_value_of_time", UNBOUNDED)
    others = min((count for name, count in options.items() if name != "by_value_of_time"), default=0)
    if value >= others or wanted > case.present:
        return ""
    return (
        f": one more would save {look.saved_s(case.present + 1):.1f} s, which is not worth its "
        f"{case.worker_type.usd_per_hour * (case.boot_s + settings.idle_s) / 3600:.4f} USD"
    )


def _by_utilization(settings: ScalingSettings, case: ScalingCase) -> Need:
    """As many workers as would bring the fullest resource to its target, once it has left the band between
    ``down_below`` and ``up_above``: present x utilization / target, the rule of Kubernetes' HorizontalPodAutoscaler.

    Where there is no worker yet there is nothing to measure: one, if anything waits.
    """
    queue, slots, waiting_s, present = case.queue, _slots(case), _waiting_s(settings, case), case.present
    name, value = case.utilization.fullest
    metric = f"{name}_utilization"
    to_target = math.ceil(round(present * value / settings.target, 9))
    busy, name_of = case.busy, case.worker_type.name
    over = f"{name} is {value:.0%} reserved over {case.utilization.window_s:.0f} s"
    if not present:
        wanted, threshold = int(queue.runnable > 0), settings.up_above
        why = f"{queue.runnable} runnable tests wait and there is no {name_of} worker"
    elif value > settings.up_above:
        wanted, threshold = max(present, to_target), settings.up_above
        why = f"{over}, above {settings.up_above:.0%}"
    elif value < settings.down_below:
        wanted, threshold = min(present, to_target), settings.down_below
        why = f"{over}, below {settings.down_below:.0%}"
    else:
        wanted, threshold = present, settings.up_above
        why = over
    if queue.runnable and wanted < present:  # what waits will use them
        wanted = min(present, max(wanted, math.ceil((queue.runnable + queue.running) / slots)))
    return Need(
        wanted=max(busy, wanted),
        trigger=Trigger(code="utilization", metric=metric, value=value, threshold=threshold),
        why=why,
        steady=f"{present} {name_of} workers stay: {over}, between {settings.down_below:.0%} and "
        f"{settings.up_above:.0%} or not idle for longer than {settings.idle_s:g} s",
        waiting_s=waiting_s,
        slots=slots,
        options=(("to_target", to_target), ("busy", busy)),
    )


POLICIES: Mapping[str, Callable[[ScalingSettings, ScalingCase], Need]] = {
    "makespan": _for_makespan,
    "utilization": _by_utilization,
}


def _slots(case: ScalingCase) -> float:
    """Return how many waiting tests one worker runs at once."""
    return (
        case.queue.per_worker
        if case.queue.per_worker > 0
        else max(1.0, float(int(case.worker_type.capacity.cpu_cores)))
    )


def _waiting_s(settings: ScalingSettings, case: ScalingCase) -> float:
    queue = case.queue
    return queue.waiting_s if queue.waiting_s > 0 else queue.waiting * settings.default_task_s


def _pressure(settings: ScalingSettings, case: ScalingCase, slots: float, waiting_s: float) -> Trigger:
    return Trigger(
        code="queue_pressure",
        metric="queue_s_per_slot",
        value=waiting_s / (slots * max(1, case.present)),
        threshold=settings.target_queue_s,
    )
