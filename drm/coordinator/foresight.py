"""Predicting anew, while the run goes, what waiting tests will need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drm.coordinator.accounts import Accounts
from drm.model.work import Task
from drm.ports import Clock
from drm.resource_optimizer.queue import WorkQueue

_EVERY_S = 0.25
_SHARE = 10  # predicting takes no more than one part in eleven of the time
_NEWS = 1.1  # so much more than the last one of the module


class Foresight:
    """Requirements of waiting tests follow what the predictor has learnt since they were queued."""

    def __init__(
        self, *, clock: Clock, queue: WorkQueue, accounts: Accounts, predict: Callable[[Sequence[Task]], list[Task]]
    ) -> None:
        self._clock = clock
        self._queue = queue
        self._accounts = accounts
        self._predict = predict
        self._peaks: dict[str, int] = {}  # per scope: the largest of the tests that used more than they had
        self._next_s = float("-inf")
        self._known = 0

    def outgrew(self, task_id: str, peak_bytes: int) -> None:
        """A test used more memory than it had: what waits beside it is predicted anew at once, if this is news."""
        task = self._accounts.task(task_id)
        if not task.requirements.states_memory and peak_bytes > _NEWS * self._peaks.get(task.scope, 0):
            self._peaks[task.scope] = peak_bytes
            self._queue.revise(self._revised, task.scope)

    def look_again(self) -> None:
        """Predict all that waits anew: it does not fit, and by now more may be known of it."""
        now = self._clock.now()
        if now >= self._next_s and self._accounts.final > self._known:
            self._known = self._accounts.final
            self._queue.revise(self._revised)
            self._next_s = self._clock.now() + max(_EVERY_S, _SHARE * (self._clock.now() - now))

    def _revised(self, tasks: Sequence[Task]) -> list[Task]:
        revised = self._predict(tasks)
        self._accounts.revise(revised)
        return revised
