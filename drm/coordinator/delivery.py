"""Telling the surface what tests reported, and making their outcomes final."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from drm.coordinator.accounts import Accounts
from drm.coordinator.recorder import Recorder
from drm.model import events
from drm.model import observations as seen
from drm.model.work import Outcome, Usage
from drm.ports import Clock, Surface

Learn = Callable[[str, Usage, Outcome | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedByDeath:
    """An attempt whose executor died, with the sentence that says how."""

    task_id: str
    attempt: int
    worker_id: str
    executor_id: str
    usage: Usage
    message: str


class Delivery:
    """A line of things to tell, in the order they happened.

    pytest's own reporting costs more than running a short test, so it is done in
    slices between rounds of the loop.
    """

    def __init__(self, *, clock: Clock, surface: Surface, accounts: Accounts, recorder: Recorder, learn: Learn) -> None:
        self._clock = clock
        self._surface = surface
        self._accounts = accounts
        self._recorder = recorder
        self._learn = learn
        self._line: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def drain(self, budget_s: float | None = None) -> None:
        """Tell what waits, for about ``budget_s`` seconds (None: all of it)."""
        deadline = None if budget_s is None else self._clock.now() + budget_s
        while self._line and not (deadline is not None and self._clock.now() > deadline):
            self._line.popleft()()

    def put_attempt(self, ended: seen.AttemptEnded) -> None:
        self._line.append(lambda: self._attempt(ended))

    def put_death(self, death: EndedByDeath) -> None:
        self._line.append(lambda: self._death(death))

    def put_refusal(self, task_id: str, message: str) -> None:
        self._line.append(lambda: self._refusal(task_id, message))

    def put_teardown(self, late: seen.TeardownReported) -> None:
        self._line.append(lambda: self._teardown(late))

    def put_warning(self, warning: seen.WarningRecorded) -> None:
        self._line.append(lambda: self._surface.deliver_warning(warning.data))

    def _attempt(self, ended: seen.AttemptEnded) -> None:
        outcome, message = self._surface.deliver(ended.task_id, ended.executor_id, ended.reports)
        self._learn(ended.task_id, ended.usage, outcome)
        self._recorder.record(
            events.AttemptFinished,
            task_id=ended.task_id,
            attempt=ended.attempt,
            worker_id=ended.worker_id,
            executor_id=ended.executor_id,
            outcome=outcome,
            usage=ended.usage,
        )
        self._settle(ended.task_id, outcome, ended.usage.wall_s, message)

    def _death(self, death: EndedByDeath) -> None:
        self._surface.deliver_death(death.task_id, death.executor_id, death.message, death.usage.wall_s)
        self._learn(death.task_id, death.usage, Outcome.FAILED)
        self._recorder.record(
            events.AttemptFinished,
            task_id=death.task_id,
            attempt=death.attempt,
            worker_id=death.worker_id,
            executor_id=death.executor_id,
            outcome=Outcome.FAILED,
            usage=death.usage,
            cause=death.message,
        )
        self._settle(death.task_id, Outcome.FAILED, death.usage.wall_s, death.message)

    def _refusal(self, task_id: str, message: str) -> None:
        self._surface.deliver_death(task_id, "", message, 0.0)
        self._settle(task_id, Outcome.ERROR, 0.0, message)

    def _teardown(self, late: seen.TeardownReported) -> None:
        message = self._surface.deliver_late(late.task_id, late.executor_id, late.reports)
        if self._accounts.spoil(late.task_id):
            self._recorder.record(events.TeardownFailed, task_id=late.task_id, message=message)

    def _settle(self, task_id: str, outcome: Outcome, wall_s: float, message: str) -> None:
        if self._accounts.settle(task_id, outcome):
            self._recorder.record(
                events.TestFinished,
                task_id=task_id,
                outcome=outcome,
                attempts=self._accounts.attempts(task_id),
                wall_s=wall_s,
                message=message,
            )
