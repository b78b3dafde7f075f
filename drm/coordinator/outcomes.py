"""Writing down how attempts and tests ended: in the accounts, in the record, to the surface."""

from __future__ import annotations

from typing import Any

from drm.coordinator.accounts import Accounts
from drm.coordinator.crew import Executor
from drm.coordinator.delivery import Delivery
from drm.coordinator.dispatch import Dispatcher
from drm.coordinator.parts import Parts
from drm.coordinator.retries import story
from drm.model import events
from drm.model.death import DeathKind
from drm.model.work import Outcome, Usage
from drm.worker.protocol import failures_in


class Outcomes:
    """The one way to a test's final outcome."""

    def __init__(
        self, parts: Parts, accounts: Accounts, dispatch: Dispatcher, delivery: Delivery, excused: frozenset[str]
    ) -> None:
        self._excused = excused
        self._parts = parts
        self._accounts = accounts
        self._dispatch = dispatch
        self._delivery = delivery
        self._told_missing = False

    def attempt(
        self,
        executor: Executor,
        task_id: str,
        attempt: int,
        outcome: Outcome | None,
        usage: Usage,
        *,
        cause: str = "",
        death: DeathKind | None = None,
    ) -> None:
        """One attempt is over. ``cause`` and ``death``: what ended it from outside, if anything did."""
        self._parts.optimizer.record_task_result(task_id, usage, outcome if death is None else None)
        if executor.amounts is None or usage.peak_rss_bytes > executor.amounts.memory_bytes:
            self._dispatch.foresight.outgrew(task_id, usage.peak_rss_bytes)
        self._parts.recorder.record(
            events.AttemptFinished,
            task_id=task_id,
            attempt=attempt,
            worker_id=executor.worker_id,
            executor_id=executor.executor_id,
            outcome=outcome,
            usage=usage,
            cause=cause,
            death=death,
        )

    def reported(
        self,
        task_id: str,
        executor_id: str,
        outcome: Outcome,
        wall_s: float,
        message: str,
        reports: list[Any],
        *,
        retry_due: bool = False,
    ) -> None:
        """The test told its own end: that is its outcome. One that comes out well after a mishap is flaky."""
        mishaps = [mishap for mishap in self._accounts.mishaps(task_id) if mishap.is_charged]
        flaky = ""
        if mishaps and not outcome.is_bad:
            flaky = f"{outcome.value} on attempt {self._accounts.attempts(task_id)}; {story(mishaps, numbered=True)}"
        failures = failures_in(reports)
        told = flaky or message
        if not self._settle(task_id, outcome, wall_s, told, flaky=bool(flaky), failures=failures, retry_due=retry_due):
            return
        if reports:
            self._delivery.put_reports(task_id, executor_id, reports, flaky)
        else:
            self._tell_missing(task_id)
            self._delivery.put_failure(task_id, executor_id, message, 0.0)

    def _tell_missing(self, task_id: str) -> None:
        """Say once what may be the same for many tests."""
        if not self._told_missing:
            self._told_missing = True
            self._parts.surface.say(
                f"{task_id} was collected here and not by an executor that collected for itself: its id is another one "
                "in each process. It, and any other such test, is an error; make the ids the same each time"
            )

    def failed(
        self,
        task_id: str,
        executor_id: str,
        wall_s: float,
        message: str,
        details: str = "",
        *,
        retry_due: bool = False,
    ) -> None:
        """The test ended without a word of its own; ``details`` is for its report."""
        outcome = Outcome.XFAILED if task_id in self._excused else Outcome.FAILED
        if retry_due:
            message += "; the run was stopped before another attempt"
        if self._settle(task_id, outcome, wall_s, message, retry_due=retry_due):
            told = f"{message}\n\n{details}" if details else message
            self._delivery.put_failure(task_id, executor_id, told, wall_s)

    def refused(self, task_id: str, message: str) -> None:
        """No worker can run the test: it ends as an error."""
        if self._settle(task_id, Outcome.ERROR, 0.0, message):
            self._delivery.put_failure(task_id, "", message, 0.0)

    def _settle(
        self,
        task_id: str,
        outcome: Outcome,
        wall_s: float,
        message: str,
        *,
        flaky: bool = False,
        failures: int = 0,
        retry_due: bool = False,
    ) -> bool:
        """Make the outcome final, if it may be: what has no outcome, the surface is not told of."""
        if not self._accounts.settle(task_id, outcome, failures=failures):
            return False
        self._dispatch.end_others(task_id)
        self._parts.recorder.record(
            events.TestFinished,
            task_id=task_id,
            outcome=outcome,
            attempts=self._accounts.attempts(task_id),
            wall_s=wall_s,
            flaky=flaky,
            message=message,
            retry_due=retry_due,
        )
        return True
