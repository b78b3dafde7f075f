"""Tests that no worker can run any more, where workers come and go by themselves: they are not waited for for ever."""

from __future__ import annotations

from collections.abc import Callable

from drm.coordinator.dispatch import Dispatcher
from drm.coordinator.ending import refusal_message
from drm.coordinator.outcomes import Outcomes
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.model.cluster import WorkerState
from drm.ports import Clock
from drm.resource_optimizer.queue import WorkQueue

_LOOK_S = 1.0


class Stranded:
    """Looks whether there are workers, none has anything to do, and none can run any of the tests that wait.

    When that has been so for ``patience_s``, those tests end as errors. They stay in the queue, which nobody takes
    from any more: then the run has ended.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        manager: DynamicResourceManager,
        dispatch: Dispatcher,
        queue: WorkQueue,
        outcomes: Outcomes,
        patience_s: float,
    ) -> None:
        self._clock = clock
        self._manager = manager
        self._dispatch = dispatch
        self._queue = queue
        self._outcomes = outcomes
        self._patience_s = patience_s
        self._next_s = float("-inf")
        self._since_s: float | None = None

    def look(self, say: Callable[[str], None]) -> None:
        now = self._clock.now()
        if now < self._next_s:
            return
        self._next_s = now + _LOOK_S
        refusals = self._refusals(now)
        if not refusals:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now
            say(f"{len(refusals)} tests wait for a worker that can run them, for {self._patience_s:g} s at most")
        elif now - self._since_s >= self._patience_s:
            for task_id, refusal in refusals.items():
                self._outcomes.refused(task_id, refusal)

    def _refusals(self, now: float) -> dict[str, str]:
        """Return why none of the tests that wait can be run; nothing where one can, or might yet."""
        if not len(self._queue) or any(not executor.is_idle for executor in self._dispatch.crew):
            return {}
        ready = [each for each in self._manager.snapshot(now).workers if each.state is WorkerState.READY]
        refusals: dict[str, str] = {}
        for task in self._queue if ready else ():
            refusal = refusal_message(task.requirements, ready)
            if refusal is None:
                return {}
            refusals[task.task_id] = refusal
        return refusals
