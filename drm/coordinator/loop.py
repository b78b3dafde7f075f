"""The loop: observations in, decisions from the components, instructions out.

Everything that decides is elsewhere and pure (manager, optimizer, predictor); this
module keeps the order of things. One round: see what happened, give work out, scale the
pool, then tell the surface what tests reported. The telling is slow, so it comes last
and in slices: no executor waits for the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drm.coordinator.accounts import Accounts
from drm.coordinator.crew import Executor
from drm.coordinator.delivery import Delivery, EndedByDeath
from drm.coordinator.dispatch import Dispatcher
from drm.coordinator.ending import death_message, lost_message, refusal_message
from drm.coordinator.pool import WorkerPool
from drm.coordinator.recorder import Recorder
from drm.coordinator.settings import RunSettings
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.model import events
from drm.model import observations as seen
from drm.model.cluster import WorkerState, WorkerView
from drm.model.errors import LostError
from drm.model.resources import Resources, total
from drm.model.work import Death, Outcome, Task, Usage
from drm.ports import Clock, Engine, Status, Surface
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_optimizer.queue import WorkQueue
from drm.resource_performance_predictor import ResourcePerformancePredictor

_ROUND_S = 0.25  # longest wait for an observation
_SLICE_S = 0.004  # longest time for telling the surface before looking again
_STATUS_S = 0.2
_FAILED_STARTS = 5  # executors in a row that end before their first test


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a coordinator is wired from."""

    clock: Clock
    engine: Engine
    manager: DynamicResourceManager
    optimizer: ResourceOptimizer
    predictor: ResourcePerformancePredictor
    pool: WorkerPool
    recorder: Recorder
    surface: Surface


class Coordinator:
    """Runs submitted tests to one final outcome each: ``submit`` and ``run``, as often as wanted, then ``close``."""

    def __init__(self, parts: Parts, settings: RunSettings, *, largest: Resources) -> None:
        self._parts = parts
        self._settings = settings
        self._largest = largest
        self._recorder = parts.recorder
        self._clock = parts.clock
        self._accounts = Accounts()
        self._queue = WorkQueue(parts.predictor.expected_wall_s, largest=largest)
        self._delivery = Delivery(
            clock=parts.clock,
            surface=parts.surface,
            accounts=self._accounts,
            recorder=parts.recorder,
            learn=parts.optimizer.record_task_result,
        )
        self._dispatch = Dispatcher(
            settings=settings,
            clock=parts.clock,
            engine=parts.engine,
            manager=parts.manager,
            queue=self._queue,
            accounts=self._accounts,
            recorder=parts.recorder,
            expected=parts.predictor.expected_wall_s,
        )
        self._observers = {
            seen.AttemptBegan: self._on_began,
            seen.AttemptEnded: self._on_ended,
            seen.BatchEnded: self._on_batch_ended,
            seen.ExecutorReady: self._on_ready,
            seen.ExecutorExited: self._on_exited,
            seen.TeardownReported: self._delivery.put_teardown,
            seen.WarningRecorded: self._delivery.put_warning,
            seen.StopAsked: self._on_stop_asked,
            seen.WorkerJoined: self._on_joined,
            seen.WorkerLeft: self._on_left,
            seen.WorkerSampled: self._on_sampled,
        }
        self._reason = ""
        self._asked: seen.StopAsked | None = None
        self._next_status_s = float("-inf")
        self._failed_starts = 0

    # -- the run

    def submit(self, tasks: Sequence[Task], planned_on: Sequence[WorkerView]) -> None:
        """Add tests to the run. One that fits none of the workers ``planned_on`` ends as an error with the reason."""
        predicted = self._parts.optimizer.predict_task_requirements(tasks, largest=self._largest)
        self._accounts.open(predicted)
        self._recorder.record(events.TestsDiscovered, task_ids=tuple(task.task_id for task in predicted))
        self._record_forecast(predicted)
        plan = self._parts.optimizer.allocate_resources(predicted, planned_on)
        self._recorder.record(
            events.PlanMade,
            allocated=len(plan.allocations),
            refusals=plan.refusals,
            makespan_s=plan.makespan_s,
            lower_bound_s=plan.lower_bound_s,
        )
        refused = {refusal.task_id for refusal in plan.refusals}
        self._queue.add(task for task in predicted if task.task_id not in refused)
        for refusal in plan.refusals:
            self._delivery.put_refusal(refusal.task_id, refusal_message(refusal.reason))

    def _record_forecast(self, tasks: Sequence[Task]) -> None:
        longest = max(tasks, key=lambda task: task.expected_s, default=None)
        methods: dict[str, int] = {}
        for task in tasks:
            method = task.forecast.method if task.forecast is not None else "none"
            methods[method] = methods.get(method, 0) + 1
        self._recorder.record(
            events.ForecastMade,
            tasks=len(tasks),
            wall_s=round(sum(task.expected_s for task in tasks), 3),
            longest_s=longest.expected_s if longest is not None else 0.0,
            longest_task=longest.task_id if longest is not None else "",
            methods=tuple(sorted(methods.items())),
        )

    def run(self) -> None:
        """Return when every submitted test has its outcome, or the run was asked to stop."""
        while not self._reason and (self._accounts.final < self._accounts.collected or self._delivery):
            self._round()

    def _round(self) -> None:
        for observation in self._parts.engine.poll(0.0 if self._delivery else _ROUND_S):
            self._observers[type(observation)](observation)  # type: ignore[operator]
        if not self._reason:
            self._dispatch.enforce_timeouts()
            self._dispatch.assign()
            for worker_id in self._parts.pool.evaluate(self._queue):
                self._drain(worker_id)
        self._delivery.drain(_SLICE_S)
        if not self._reason and (wish := self._parts.surface.stop_wanted()):
            self.request_stop(wish)
        self._recorder.flush()
        self._show_status()

    def idle_round(self) -> None:
        """Look once at what happens although nothing is submitted: the pool shrinks meanwhile."""
        self._round()

    def request_stop(self, reason: str) -> None:
        """Make ``run`` return after this round; may be called from a signal handler."""
        self._reason = self._reason or reason
        self._parts.engine.wake()

    @property
    def stop_asked(self) -> seen.StopAsked | None:
        """What a test asked for (pytest.exit, KeyboardInterrupt), if one did."""
        return self._asked

    @property
    def stop_reason(self) -> str:
        return self._reason

    # -- the end

    def close(self, *, interrupt: bool = False) -> None:
        """End all executors (``interrupt``: break off their tests), settle every account, end all workers.

        Fixtures are torn down first, for at most ``teardown_s`` seconds, or ``grace_s`` when the run was cut short.
        """
        try:
            self._finish_executors(interrupt)
            self._delivery.drain()
        finally:
            self._parts.engine.close()
            self._parts.pool.close()
            for task in self._accounts.open_tasks():
                self._accounts.settle(task.task_id, Outcome.NOT_RUN)
                self._recorder.record(
                    events.TestFinished,
                    task_id=task.task_id,
                    outcome=Outcome.NOT_RUN,
                    attempts=self._accounts.attempts(task.task_id),
                    wall_s=0.0,
                    message=self._reason or "the run ended before its turn",
                )
            self._recorder.record(
                events.RunFinished,
                collected=self._accounts.collected,
                counts=self._accounts.counts(),
                wall_s=round(self._recorder.elapsed_s(), 3),
                reason=self._reason,
            )
            self._recorder.close()

    def _finish_executors(self, interrupt: bool) -> None:
        if self._reason:
            self._recorder.record(events.CancelRequested, reason=self._reason)
        if interrupt:
            self._dispatch.interrupt_all()
        else:
            self._dispatch.stop_all()
        patience = self._settings.grace_s if self._reason else self._settings.teardown_s
        deadline = self._clock.now() + patience
        while len(self._dispatch.crew):
            if self._clock.now() > deadline:
                self._parts.surface.say(f"executors did not end within {patience:g} s and were killed")
                self._dispatch.kill_all("it did not end in time")
                deadline = self._clock.now() + self._settings.grace_s
                interrupt = True
                if not patience:
                    return
                patience = 0.0
            for observation in self._parts.engine.poll(0.0 if self._delivery else 0.05):
                self._observers[type(observation)](observation)  # type: ignore[operator]
            self._dispatch.enforce_timeouts()
            self._delivery.drain(_SLICE_S)

    # -- observations

    def _on_ready(self, ready: seen.ExecutorReady) -> None:
        executor = self._dispatch.crew.get(ready.executor_id)
        if executor is not None:
            executor.ready = True

    def _on_began(self, began: seen.AttemptBegan) -> None:
        executor = self._dispatch.crew.get(began.executor_id)
        if executor is not None:
            self._dispatch.began(executor, began.task_id)

    def _on_ended(self, ended: seen.AttemptEnded) -> None:
        executor = self._dispatch.crew.get(ended.executor_id)
        if executor is not None:
            self._failed_starts = 0
            self._dispatch.ended(executor, ended.task_id)
            self._delivery.put_attempt(ended)

    def _on_batch_ended(self, ended: seen.BatchEnded) -> None:
        executor = self._dispatch.crew.get(ended.executor_id)
        if executor is not None:
            self._dispatch.batch_ended(executor, ended.returned)

    def _on_exited(self, exited: seen.ExecutorExited) -> None:
        executor = self._dispatch.crew.get(exited.executor_id)
        if executor is None:
            return
        running = self._dispatch.gone(executor)
        if exited.death is not None:
            self._bury(executor, running, exited.death)
        self._release_if_drained(executor.worker_id)

    def _bury(self, executor: Executor, running: str | None, death: Death) -> None:
        limit = self._capacity_of(executor.worker_id).memory_bytes
        message = death_message(
            death,
            executor_id=executor.executor_id,
            worker_id=executor.worker_id,
            limit_bytes=limit,
        )
        if running is None:
            if not executor.stopping or not self._reason:
                self._parts.surface.say(f"an executor ended while it ran no test: {message}")
            self._failed_starts += not executor.finished
            if self._failed_starts >= _FAILED_STARTS:
                raise LostError(f"{self._failed_starts} executors in a row ended before their first test: {message}")
            return
        if executor.stopping and self._reason:  # we broke it off: the test has no outcome
            return
        usage = Usage(wall_s=round(self._clock.now() - executor.began_s, 3), peak_rss_bytes=death.peak_rss_bytes)
        self._delivery.put_death(
            EndedByDeath(
                task_id=running,
                attempt=executor.attempt,
                worker_id=executor.worker_id,
                executor_id=executor.executor_id,
                usage=usage,
                message=message,
            )
        )

    def _on_stop_asked(self, asked: seen.StopAsked) -> None:
        if not self._reason:
            self._asked = asked
            self.request_stop(asked.message or f"a test asked for it ({asked.kind})")

    def _on_joined(self, joined: seen.WorkerJoined) -> None:
        self._parts.manager.register_worker(
            joined.worker_id,
            worker_type=joined.worker_type,
            capacity=joined.capacity,
            labels=joined.labels,
            now_s=self._clock.now(),
        )
        self._parts.pool.joined(joined.worker_id)
        self._recorder.record(
            events.WorkerReady,
            worker_id=joined.worker_id,
            worker_type=joined.worker_type,
            capacity=joined.capacity,
            labels=tuple(sorted(joined.labels)),
            pid=joined.pid,
        )

    def _on_left(self, left: seen.WorkerLeft) -> None:
        view = self._view_of(left.worker_id)
        expected = view is not None and view.state is WorkerState.DRAINING
        requeued = 0
        for executor in self._dispatch.crew.on(left.worker_id):
            requeued += len(executor.held)
            running = self._dispatch.gone(executor)
            if running is not None:
                self._begin_again(executor, running, left.reason)
        if view is not None:
            self._parts.manager.deregister_worker(left.worker_id)
        if not expected:
            self._recorder.record(events.WorkerLost, worker_id=left.worker_id, reason=left.reason, requeued=requeued)
            self._parts.surface.say(f"worker {left.worker_id} was lost: {left.reason}; {requeued} tests queued again")
        self._parts.pool.left(left.worker_id, left.reason, expected=expected)
        if not self._settings.worker_types and not self._reason:
            raise LostError(f"the only worker is gone: {left.reason}")

    def _begin_again(self, executor: Executor, task_id: str, reason: str) -> None:
        """The test lost its worker through no fault of its own: queue it again, but not for ever."""
        usage = Usage(wall_s=round(self._clock.now() - executor.began_s, 3))
        if self._accounts.attempts(task_id) >= self._settings.lost_attempts:
            message = lost_message(self._accounts.attempts(task_id), reason)
            self._delivery.put_death(
                EndedByDeath(
                    task_id=task_id,
                    attempt=executor.attempt,
                    worker_id=executor.worker_id,
                    executor_id=executor.executor_id,
                    usage=usage,
                    message=message,
                )
            )
            return
        self._recorder.record(
            events.AttemptFinished,
            task_id=task_id,
            attempt=executor.attempt,
            worker_id=executor.worker_id,
            executor_id=executor.executor_id,
            outcome=None,
            usage=usage,
            cause=f"worker {executor.worker_id} was lost: {reason}",
        )
        self._dispatch.requeue([task_id])

    def _on_sampled(self, sampled: seen.WorkerSampled) -> None:
        view = self._view_of(sampled.worker_id)
        if view is None:
            return
        self._parts.manager.update_worker_resources(sampled.worker_id, sampled.used, now_s=self._clock.now())
        here = self._dispatch.crew.on(sampled.worker_id)
        self._recorder.record(
            events.UtilizationSampled,
            worker_id=sampled.worker_id,
            reserved=view.reserved,
            used=sampled.used,
            executors=len(here),
            running=sum(executor.current is not None for executor in here),
        )

    # -- helpers

    def _drain(self, worker_id: str) -> None:
        self._parts.pool.set_state(worker_id, WorkerState.DRAINING)
        self._dispatch.stop_on(worker_id)
        self._release_if_drained(worker_id)

    def _release_if_drained(self, worker_id: str) -> None:
        view = self._view_of(worker_id)
        if view is not None and view.state is WorkerState.DRAINING and not self._dispatch.crew.on(worker_id):
            self._parts.pool.drained(worker_id)

    def _view_of(self, worker_id: str) -> WorkerView | None:
        snapshot = self._parts.manager.snapshot(self._clock.now())
        return next((worker for worker in snapshot.workers if worker.worker_id == worker_id), None)

    def _capacity_of(self, worker_id: str) -> Resources:
        view = self._view_of(worker_id)
        return view.capacity if view is not None else Resources()

    def _show_status(self) -> None:
        now = self._clock.now()
        if now < self._next_status_s:
            return
        self._next_status_s = now + _STATUS_S
        ready = self._parts.manager.snapshot(now).ready
        executors = len(self._dispatch.crew)
        left_s = self._queue.expected_s() if len(self._queue) else 0.0
        self._parts.surface.show_status(
            Status(
                workers=len(ready),
                executors=executors,
                running=self._dispatch.crew.running,
                reserved=total(worker.reserved for worker in ready),
                capacity=total(worker.capacity for worker in ready),
                finished=self._accounts.final,
                total=self._accounts.collected,
                failed=self._accounts.bad,
                eta_s=left_s / executors if executors else None,
            )
        )


__all__ = ["Coordinator", "Parts"]
