"""What is known so far of how tests got their resources, and of what scaling decisions led to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from drm.model.events import AttemptFinished, AttemptStarted, PlanMade, ScalingDecided
from drm.model.plan import ScalingAction
from drm.summary.sofar import TestSoFar
from drm.summary.values import (
    AllocationRecord,
    Allocations,
    InstanceRecord,
    RefusalRecord,
    ScalingRecord,
    WorkerRecord,
)

__all__ = ["AllocationsSoFar", "scaling_outcome", "scaling_record"]


class AllocationsSoFar:
    """One attempt after the other as it starts and ends, and the tests that fitted nowhere.

    ``attempts``: whether a record of each is wanted; else only what they add up to is.
    """

    def __init__(self, *, attempts: bool = True) -> None:
        self._keeps = attempts
        self._begun: list[tuple[int, float, AttemptStarted]] = []
        self._ended: dict[tuple[str, int], AttemptFinished] = {}
        self._reserved: dict[tuple[str, int], tuple[float, int]] = {}
        self._sums = [0.0, 0.0, 0.0, 0.0]  # reserved cpu, used cpu, reserved bytes, used bytes; all times seconds
        self._refusals: dict[str, RefusalRecord] = {}

    def started(self, test: TestSoFar, event: AttemptStarted) -> None:
        if self._keeps:
            self._begun.append((test.place, max(0.0, event.elapsed_s - test.queued_s), event))
        self._reserved[event.task_id, event.attempt] = (event.reserved.cpu_cores, event.reserved.memory_bytes)

    def finished(self, event: AttemptFinished) -> None:
        key, usage, sums = (event.task_id, event.attempt), event.usage, self._sums
        cpu_cores, memory_bytes = self._reserved.pop(key, (0.0, 0))
        sums[0] += cpu_cores * usage.wall_s
        sums[1] += usage.cpu_s
        sums[2] += memory_bytes * usage.wall_s
        sums[3] += usage.peak_rss_bytes * usage.wall_s
        if self._keeps:
            self._ended[key] = event

    def refused(self, event: PlanMade, discovered_s: Mapping[str, float]) -> None:
        for refusal in event.refusals:
            waited_s = max(0.0, event.elapsed_s - discovered_s.get(refusal.task_id, event.elapsed_s))
            self._refusals[refusal.task_id] = RefusalRecord(
                task_id=refusal.task_id, reason=refusal.reason, at_s=event.elapsed_s, waited_s=waited_s
            )

    def result(self, started: set[str]) -> Allocations:
        """Return it all. ``started``: the tests that got their resources in the end, after whatever refusal."""
        reserved_cpu_s, used_cpu_s, reserved_byte_s, used_byte_s = self._sums
        return Allocations(
            granted=tuple(self._record(*begun) for begun in self._begun),
            refusals=tuple(record for task_id, record in self._refusals.items() if task_id not in started),
            reserved_cpu_s=reserved_cpu_s,
            used_cpu_s=used_cpu_s,
            reserved_byte_s=reserved_byte_s,
            used_byte_s=used_byte_s,
        )

    def _record(self, place: int, waited_s: float, begun: AttemptStarted) -> AllocationRecord:
        ended = self._ended.get((begun.task_id, begun.attempt))
        return AllocationRecord(
            test=place,
            attempt=begun.attempt,
            worker_id=begun.worker_id,
            executor_id=begun.executor_id,
            at_s=begun.elapsed_s,
            waited_s=waited_s,
            finished_s=ended.elapsed_s if ended is not None else None,
            outcome=ended.outcome if ended is not None else None,
            reserved_cpu_cores=begun.reserved.cpu_cores,
            reserved_memory_bytes=begun.reserved.memory_bytes,
            reserved_gpus=begun.reserved.gpus,
            expected_s=begun.expected_s,
            wall_s=ended.usage.wall_s if ended is not None else 0.0,
            peak_rss_bytes=ended.usage.peak_rss_bytes if ended is not None else 0,
        )


def scaling_record(event: ScalingDecided) -> ScalingRecord:
    """Return the decision, of which nothing has come yet."""
    changed = event.decision.remove if event.decision.action is ScalingAction.DOWN else event.requested
    return ScalingRecord(
        elapsed_s=event.elapsed_s, decision=event.decision, outcome=event.outcome, changed=tuple(changed)
    )


def scaling_outcome(
    record: ScalingRecord, workers: Mapping[str, WorkerRecord], instances: Mapping[str, InstanceRecord]
) -> ScalingRecord:
    """Return the decision with what has come of it by now."""
    if not record.changed:
        return record
    is_down = record.decision.action is ScalingAction.DOWN
    known = [workers[worker_id] for worker_id in record.changed if worker_id in workers]
    times = [worker.gone_s if is_down else worker.ready_s for worker in known]
    done = [at_s for at_s in times if at_s is not None]
    costs = [instances[worker_id].cost_usd for worker_id in record.changed if worker_id in instances]
    return replace(
        record,
        done=len(done),
        latency_s=max(0.0, max(done) - record.elapsed_s) if len(done) == len(record.changed) else None,
        cost_usd=None if is_down else sum(costs),
    )
