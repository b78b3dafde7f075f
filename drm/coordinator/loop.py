"""The loop: observations in, decisions from the components, instructions out.

Everything that decides is elsewhere and pure (manager, optimizer, predictor); this
module keeps the order of things. One round: see what happened, give work out, scale the
pool, then tell the surface what tests reported. The telling is slow, so it comes last
and in slices: no executor waits for the terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from drm.coordinator.accounts import Accounts, PastTest
from drm.coordinator.delivery import Delivery
from drm.coordinator.dispatch import Dispatcher
from drm.coordinator.ending import record_end, refusal_message
from drm.coordinator.eta import Load, loads_of, time_left_s
from drm.coordinator.expectations import Expectations
from drm.coordinator.last_executors import LastExecutors
from drm.coordinator.observer import Observer
from drm.coordinator.outcomes import Outcomes
from drm.coordinator.parts import Parts
from drm.coordinator.recovery import Recovery
from drm.coordinator.second_starts import SecondStarts
from drm.coordinator.settings import RunSettings
from drm.coordinator.stranded import Stranded
from drm.coordinator.timeouts import Timeout, timeout_of
from drm.model import events
from drm.model import observations as seen
from drm.model.cluster import WorkerView
from drm.model.resources import Resources, total
from drm.model.work import Outcome, Task
from drm.ports import Status
from drm.resource_optimizer.queue import WorkQueue

_ROUND_S, _QUIET_S = 0.25, 0.5  # longest wait for an observation, and where no test waits
_SLICE_S = 0.004  # longest time for telling the surface before looking again
_STATUS_S = 0.2


class Coordinator:
    """Runs submitted tests to one final outcome each: ``submit`` and ``run``, as often as wanted, then ``close``."""

    def __init__(self, parts: Parts, settings: RunSettings, *, largest: Resources) -> None:
        self._parts = parts
        self._settings = settings
        self._largest = largest
        self._recorder = parts.recorder
        self._clock = parts.clock
        self._accounts = Accounts(max_failures=settings.max_failures)
        self._queue = WorkQueue(parts.predictor.expected_wall_s, settings.for_queue(largest))
        self._delivery = Delivery(parts.clock, parts.surface, parts.keep)
        self._dispatch = Dispatcher(
            settings=settings,
            clock=parts.clock,
            engine=parts.engine,
            manager=parts.manager,
            queue=self._queue,
            accounts=self._accounts,
            recorder=parts.recorder,
            expected=parts.predictor.expected_wall_s,
            predict=self._predict,
            timeout=self._timeout_of,
        )
        self._outcomes = Outcomes(parts, self._accounts, self._dispatch, self._delivery, settings.excused)
        self._second_starts = SecondStarts(
            clock=parts.clock,
            accounts=self._accounts,
            dispatch=self._dispatch,
            queue=self._queue,
            repeat_any=settings.speculate,
        )
        self._recovery = Recovery(
            policy=settings.retries,
            clock=parts.clock,
            accounts=self._accounts,
            dispatch=self._dispatch,
            outcomes=self._outcomes,
        )
        self._observer = Observer(
            parts,
            settings,
            accounts=self._accounts,
            dispatch=self._dispatch,
            delivery=self._delivery,
            recovery=self._recovery,
            stop=self.request_stop,
        )
        self._last_executors = LastExecutors(
            parts,
            settings,
            dispatch=self._dispatch,
            observer=self._observer,
            delivery=self._delivery,
            reason=lambda: self._reason,
        )
        self._stranded = Stranded(
            clock=parts.clock,
            manager=parts.manager,
            dispatch=self._dispatch,
            queue=self._queue,
            outcomes=self._outcomes,
            patience_s=settings.stranded_s,
        )
        self._expectations = Expectations(parts.clock, parts.optimizer, parts.recorder)
        self._held = self._newest = 0
        self._reason = ""
        self._next_status_s = float("-inf") if settings.shows_status else float("inf")

    # -- the run

    def submit(self, tasks: Sequence[Task], planned_on: Sequence[WorkerView]) -> None:
        """Add tests to the run. One that fits none of the workers ``planned_on`` ends as an error with the reason."""
        predicted = self._predict(tasks)
        self._accounts.open(predicted)
        self._newest = self._accounts.submissions
        self._recorder.record(events.TestsDiscovered, task_ids=tuple(task.task_id for task in predicted))
        self._expectations.record_forecast(predicted)
        refusals: dict[int, str | None] = {}  # by identity: equal requirements are mostly one object
        for task in predicted:
            if id(task.requirements) not in refusals:
                refusals[id(task.requirements)] = refusal_message(task.requirements, planned_on)
                self._second_starts.is_wanted |= task.requirements.idempotent
        self._queue.add(task for task in predicted if refusals[id(task.requirements)] is None)
        for task in predicted:
            if (refusal := refusals[id(task.requirements)]) is not None:
                self._outcomes.refused(task.task_id, refusal)
        if self._settings.records_plan:
            self._expectations.plan_later(predicted, planned_on)
        self._recovery.places = planned_on

    def restore(self, finished: Sequence[tuple[Task, Outcome]], past: Mapping[str, PastTest]) -> None:
        """Take up a run where another coordinator left it, before anything is submitted: tests that have ended, which
        are in the record already, and what there was of the others."""
        self._accounts.remember(past)
        self._accounts.open(task for task, _ in finished)
        for task, outcome in finished:
            self._accounts.restore(task.task_id, outcome)

    def hold(self, tasks: Sequence[Task]) -> Accounts:
        """Add tests that the caller runs itself after ``retire``; return the accounts to settle them in."""
        self._accounts.open(tasks)
        self._held += len(tasks)
        if tasks:
            self._recorder.record(events.TestsDiscovered, task_ids=tuple(task.task_id for task in tasks))
        return self._accounts

    def run(self) -> None:
        """Return when every submitted test has its outcome, or the run was asked to stop.

        The surface may not have been told of all of them yet: ``close`` tells the rest while executors end.
        """
        while not self.is_done:
            self.step()

    @property
    def is_done(self) -> bool:
        """Whether every submitted test has its outcome, or the run was asked to stop."""
        return bool(self._reason) or self._accounts.final >= self._accounts.collected - self._held

    def step(self, *, until_s: float = math.inf) -> None:
        """Go through one round, which waits no longer than ``until_s`` by the clock.

        For callers that submit while work is under way, or let an idle pool shrink.
        """
        due_s = min(until_s, self._dispatch.soonest_s) - self._clock.now()
        patience_s = max(0.0, min(_ROUND_S if len(self._queue) else _QUIET_S, due_s))
        for observation in self._parts.engine.poll(0.0 if self._delivery else patience_s):
            self._observer.observe(observation)
        for notice in self._parts.pool.notices():
            self._observer.observe(notice)
        if self._accounts.is_full:
            self._dispatch.closed = True  # the surface has the last word, when it has been told
        if not self._reason:
            self._dispatch.enforce_timeouts()
            self._dispatch.assign()
            if self._second_starts.is_wanted:
                self._second_starts.look()
            if self._settings.stranded_s < math.inf:
                self._stranded.look(self._parts.surface.say)
            orders = self._parts.pool.evaluate(self._waiting, self._loads)
            for worker_id in orders.drain:
                self._observer.drain(worker_id)
            for worker_id in orders.keep:
                self._observer.keep(worker_id)
        self._expectations.plan_if(lambda: self._dispatch.crew.all_run)
        self._delivery.drain(_SLICE_S)
        if not self._reason and (wish := self._parts.surface.stop_wanted()):
            self.request_stop(wish)
        elif self._dispatch.closed and not self._delivery:
            self.request_stop(f"{self._accounts.bad} tests failed")
        self._recorder.flush()
        self._show_status()

    def _predict(self, tasks: Sequence[Task]) -> list[Task]:
        return self._parts.optimizer.predict_task_requirements(tasks, largest=self._largest)

    def _waiting(self) -> Sequence[Task]:
        """Return the tests that wait, predicted anew where that may change something: on a first run the forecasts of
        the start know nothing. A test that has a past of its own gains none while it waits."""
        known: list[Task] = []
        unknown: list[Task] = []
        for task in self._queue:
            is_known = task.forecast is not None and task.forecast.method == "history"
            (known if is_known else unknown).append(task)
        return known + self._predict(unknown)

    def _loads(self) -> Mapping[str, Load]:
        def is_newest(task_id: str) -> bool:
            return self._accounts.submission(task_id) == self._newest

        return loads_of(self._dispatch.crew, self._expected_s, self._clock.now(), is_newest)

    def _timeout_of(self, task: Task) -> Timeout | None:
        slow_s = self._parts.predictor.slow_wall_s(task.task_id) if self._settings.timeout_factor else None
        return timeout_of(task.requirements.timeout_s, slow_s, self._settings.timeout_factor)

    def request_stop(self, reason: str) -> None:
        """Make ``run`` return after this round; may be called from a signal handler."""
        self._reason = self._reason or reason
        self._observer.cut_short = True
        self._parts.engine.wake()

    @property
    def stop_asked(self) -> seen.StopAsked | None:
        """What a test asked for (pytest.exit, KeyboardInterrupt), if one did."""
        return self._observer.asked

    @property
    def stop_reason(self) -> str:
        """Why the run was cut short; empty when it was not."""
        return self._reason

    # -- the end

    def retire(self) -> None:
        """End all executors, so that nothing else runs, and tell all that they reported."""
        self._expectations.record_plans()
        self._last_executors.end(interrupt=False)

    def close(self, *, interrupt: bool = False) -> None:
        """End all executors (``interrupt``: break off their tests), settle every account, end all workers.

        Fixtures are torn down first, for at most ``teardown_s`` seconds, or ``grace_s`` when the run was cut short.
        """
        try:
            self._expectations.record_plans()
            self._last_executors.end(interrupt=interrupt)
        finally:
            try:
                self._parts.engine.close()
            finally:
                self._end_workers()

    def _end_workers(self) -> None:
        try:
            self._parts.pool.close()
        finally:  # also where a machine could not be ended: what the tests came to is known all the same
            self._recovery.settle_rest()
            record_end(self._recorder, self._accounts, self._reason)
            self._delivery.drain()

    def _show_status(self) -> None:
        now = self._clock.now()
        if now < self._next_status_s:
            return
        self._next_status_s = now + _STATUS_S
        ready = self._parts.manager.snapshot(now).ready
        self._parts.surface.show_status(
            Status(
                workers=len(ready),
                executors=len(self._dispatch.crew),
                running=self._dispatch.crew.running,
                reserved=total(worker.reserved for worker in ready),
                capacity=total(worker.capacity for worker in ready),
                finished=self._accounts.final,
                total=self._accounts.collected,
                failed=self._accounts.bad,
                eta_s=time_left_s(self._queue.expected_s(), self._dispatch.crew, self._expected_s, now),
                held=any(self._dispatch.memory.held(worker.worker_id) for worker in ready),
            )
        )

    def _expected_s(self, task_id: str) -> float:
        return self._parts.predictor.expected_wall_s(task_id, self._accounts.task(task_id).scope)
