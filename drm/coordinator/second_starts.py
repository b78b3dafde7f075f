"""Starting stragglers a second time where an executor has nothing else to do. The first attempt to end counts."""

from __future__ import annotations

import math
from collections.abc import Iterator

from drm.coordinator.accounts import Accounts
from drm.coordinator.crew import Executor
from drm.coordinator.dispatch import Dispatcher
from drm.model.work import Task
from drm.ports import Clock
from drm.resource_optimizer import Running, next_look_s, stragglers
from drm.resource_optimizer.lanes import Batch
from drm.resource_optimizer.queue import WorkQueue

_LEAST_S, _MOST_S = 0.05, 0.25  # between two looks


class SecondStarts:
    """Looks for stragglers once nothing waits. ``repeat_any``: tests need not be declared idempotent.

    A copy reserves what the first attempt does. Tests that hold a lock or a counted resource are left alone, for
    the copy would wait for the first attempt; so are groups, whose tests run one after the other.
    """

    def __init__(
        self, *, clock: Clock, accounts: Accounts, dispatch: Dispatcher, queue: WorkQueue, repeat_any: bool
    ) -> None:
        self._clock = clock
        self._accounts = accounts
        self._dispatch = dispatch
        self._queue = queue
        self._repeat_any = repeat_any
        self._next_s = float("-inf")
        self.is_wanted = repeat_any  # else from the first test on that may be repeated

    def look(self) -> None:
        """Start copies of stragglers, as many as there are executors with room that have nothing to do."""
        now = self._clock.now()
        if now < self._next_s or len(self._queue) or self._dispatch.closed:
            return
        running = {each.task_id: (each, executor) for each, executor in self._running()}
        rows = [each for each, _ in running.values()]
        self._dispatch.crew.spare = len(stragglers(rows, math.inf, waiting=0, repeat_any=self._repeat_any))
        for task_id in stragglers(rows, now, waiting=0, repeat_any=self._repeat_any):
            if not self._start_again(task_id, running[task_id][1]):
                break
        soonest_s = next_look_s(rows, now, repeat_any=self._repeat_any)
        wait_s = _MOST_S if soonest_s is None else soonest_s - now
        self._next_s = now + min(_MOST_S, max(_LEAST_S, wait_s))

    def _running(self) -> Iterator[tuple[Running, Executor]]:
        for executor in self._dispatch.crew:
            if executor.current is None or executor.doomed or executor.amounts is None:
                continue
            task = self._accounts.task(executor.current)
            if task.requirements.claims or task.requirements.group is not None:
                continue
            yield (
                Running(
                    task_id=task.task_id,
                    started_s=executor.began_s,
                    expected_s=_estimate_s(task),
                    repeatable=task.requirements.idempotent,
                    copies=int(task.task_id in self._dispatch.copied),
                ),
                executor,
            )

    def _start_again(self, task_id: str, first: Executor) -> bool:
        """Give a copy to an executor, on another worker if there is one; tell whether there may be more idle ones."""
        idle = [executor for executor in self._dispatch.crew if executor.is_idle and not executor.doomed]
        idle.sort(key=lambda executor: executor.worker_id == first.worker_id)
        task = self._accounts.task(task_id)
        assert first.amounts is not None
        batch = Batch(tasks=(task,), amounts=first.amounts, claims=(), next_task=None, expected_s=_estimate_s(task))
        any(self._dispatch.give_copy(executor, batch) for executor in idle)
        return bool(idle)


def _estimate_s(task: Task) -> float:
    """Return the seconds that were forecast from measurements; 0 where there were none to go by."""
    forecast = task.forecast
    return 0.0 if forecast is None or forecast.method == "default" else forecast.wall_s
