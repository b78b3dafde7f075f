"""Giving work to executors: under a reservation each, in batches, and taking it back when one is gone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from drm.coordinator.accounts import Accounts
from drm.coordinator.crew import Crew, Executor
from drm.coordinator.foresight import Foresight
from drm.coordinator.memory import MemoryGuard
from drm.coordinator.recorder import Recorder
from drm.coordinator.settings import RunSettings
from drm.coordinator.staffing import Staffing
from drm.coordinator.timeouts import Timeout
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.model import events
from drm.model.cluster import WorkerState, WorkerView
from drm.model.death import DeathKind
from drm.model.work import Task
from drm.ports import Clock, Engine
from drm.resource_optimizer.lanes import Batch
from drm.resource_optimizer.queue import WorkQueue

_PREFETCH_S = 0.06  # when an executor holds less work than this, such as one batch, its next is sent already
_LEAST_BUDGET_S = 0.2
_LOOK_S, _LOOK_S_PER_WORKER = 0.25, 0.001  # how often all workers are looked at


class Dispatcher:
    """Keeps the executors busy with what the queue offers."""

    def __init__(
        self,
        *,
        settings: RunSettings,
        clock: Clock,
        engine: Engine,
        manager: DynamicResourceManager,
        queue: WorkQueue,
        accounts: Accounts,
        recorder: Recorder,
        expected: Callable[[str, str], float],
        predict: Callable[[Sequence[Task]], list[Task]],
        timeout: Callable[[Task], Timeout | None],
    ) -> None:
        self._clock = clock
        self._engine = engine
        self._manager = manager
        self._queue = queue
        self._accounts = accounts
        self._recorder = recorder
        self._expected = expected
        self._timeout = timeout
        self._timed: dict[str, None] = {}  # executors whose test has a timeout, in order
        self.soonest_s = math.inf  # when a test may run out of time next
        self.crew = Crew()
        self.memory = MemoryGuard(clock=clock, engine=engine, manager=manager, crew=self.crew, recorder=recorder)
        self.foresight = Foresight(clock=clock, queue=queue, accounts=accounts, predict=predict)
        self._staffing = Staffing(
            settings=settings,
            clock=clock,
            engine=engine,
            manager=manager,
            queue=queue,
            crew=self.crew,
            memory=self.memory,
            foresight=self.foresight,
            recorder=recorder,
        )
        self.closed = self.interrupted = False
        self.silent: set[str] = set()  # workers that get nothing new until they are heard
        self.copied: set[str] = set()  # tests that were started a second time
        self._stirred: dict[str, None] = {}  # workers on which something has changed, in order
        self._stirred_all = True
        self._queued = 0
        self._next_look_s = float("-inf")

    # -- giving

    def stir(self, worker_id: str) -> None:
        """Something has changed on a worker: it is looked at in the next round."""
        self._stirred[worker_id] = None

    def assign(self) -> None:
        """Give waiting tests to idle executors; add executors where resources are free, let go who is not needed."""
        if self.closed or not len(self.crew) + len(self._queue):
            return
        for worker in self._due():
            if self._takes_work(worker):
                self._fill(worker)
        self._queued = len(self._queue)

    def _takes_work(self, worker: WorkerView) -> bool:
        return worker.state is WorkerState.READY and worker.worker_id not in self.silent

    def _due(self) -> Sequence[WorkerView]:
        """Return the workers to look at: all where that may help anywhere, and now and then; else the stirred ones.

        With thousands of workers, looking at each of them whenever a test ends would be most of the work.
        """
        now = self._clock.now()
        stirred, self._stirred = self._stirred, {}
        if self._stirred_all or len(self._queue) > self._queued or now >= self._next_look_s:
            workers = self._manager.snapshot(now).workers
            self._stirred_all = False
            self._next_look_s = now + max(_LOOK_S, _LOOK_S_PER_WORKER * len(workers))
            return workers
        views = (self._manager.view(worker_id) for worker_id in stirred)
        return [view for view in views if view is not None]

    def _fill(self, worker: WorkerView) -> None:
        for executor in self.crew.on(worker.worker_id):
            if executor.is_idle and len(self._queue):
                room = self._staffing.room(worker, executor)
                batch = room and self._queue.take(executor.executor_id, room, share=len(self.crew))
                if batch:
                    self._give(executor, batch)
        for executor in self._staffing.adjust(worker):
            self._stop(executor)

    def _give(self, executor: Executor, batch: Batch) -> None:
        amounts = batch.amounts
        free = self._manager.free(executor.worker_id).memory_bytes
        if amounts.memory_bytes > free:  # it runs alone, and has all there is
            amounts = replace(amounts, memory_bytes=free)
        executor.gpus = self._manager.reserve_resources(
            executor.worker_id, executor.executor_id, amounts, now_s=self._clock.now()
        )
        executor.amounts = amounts
        self._send(executor, batch)

    def give_copy(self, executor: Executor, batch: Batch) -> bool:
        """Start a test once more on an executor that has nothing to do; False where it has no room for it."""
        view = self._manager.view(executor.worker_id)
        room = self._staffing.room(view, executor) if view is not None and self._takes_work(view) else None
        (task,) = batch.tasks
        fits = room is not None and batch.amounts.fits_in(room.free) and task.requirements.labels <= room.labels
        if not fits or not self._queue.admits_copy(executor.executor_id, task):
            return False
        self.copied.add(task.task_id)
        self._give(executor, batch)
        return True

    def is_held(self, task_id: str) -> bool:
        """Tell whether another attempt at the test is under way: it was started a second time."""
        return task_id in self.copied and bool(self._holders(task_id))

    def _holders(self, task_id: str) -> list[Executor]:
        return [executor for executor in self.crew if task_id in executor.held and not executor.doomed]

    def end_others(self, task_id: str) -> None:
        """The test has its outcome: end the attempt at it that was slower, if there is one."""
        if task_id not in self.copied:
            return
        for executor in self._holders(task_id):
            executor.doomed = True
            self._timed.pop(executor.executor_id, None)
            reason = "another attempt at the same test ended first"
            self._engine.evict(executor.worker_id, executor.executor_id, DeathKind.OUTRUN, reason)

    def _send(self, executor: Executor, batch: Batch) -> None:
        executor.batches += 1
        executor.held.extend(task.task_id for task in batch.tasks)
        numbered = [(task.task_id, self._accounts.attempts(task.task_id) + 1) for task in batch.tasks]
        budget = max(_LEAST_BUDGET_S, 4 * batch.expected_s)
        cores = batch.amounts.cpu_cores
        self._engine.send(
            executor.worker_id, executor.executor_id, numbered, batch.next_task, budget, executor.gpus, cores
        )

    # -- what executors say

    def began(self, executor: Executor, task_id: str) -> None:
        task = self._accounts.task(task_id)
        now = self._clock.now()
        executor.current, executor.began_s, executor.attempt = task_id, now, self._accounts.begin(task_id)
        executor.timeout = self._timeout(task)
        if executor.timeout is not None:
            self._timed[executor.executor_id] = None
            self.soonest_s = min(self.soonest_s, now + executor.timeout.seconds)
        if executor.amounts is not None:
            self._recorder.record(
                events.AttemptStarted,
                task_id=task_id,
                attempt=executor.attempt,
                worker_id=executor.worker_id,
                executor_id=executor.executor_id,
                reserved=executor.amounts,
                expected_s=_forecast_s(task),
            )
        may_hold_more = not self._accounts.mishaps(task_id) and not self.memory.held(executor.worker_id)
        if executor.batches == 1 and not self.closed and may_hold_more:
            self._prefetch(executor, task)

    def _prefetch(self, executor: Executor, task: Task) -> None:
        """Send the next batch early, so that the executor does not wait for us between two."""
        if len(executor.held) * self._expected(task.task_id, task.scope) < _PREFETCH_S:
            batch = self._queue.more(executor.executor_id, share=len(self.crew))
            if batch is not None:
                self._send(executor, batch)

    def ended(self, executor: Executor, task_id: str) -> None:
        executor.current, executor.timeout, executor.last = None, None, task_id
        self._timed.pop(executor.executor_id, None)
        executor.finished += 1
        if task_id in executor.held:
            executor.held.remove(task_id)

    def batch_ended(self, executor: Executor, returned: Iterable[str]) -> None:
        executor.batches = max(0, executor.batches - 1)
        back = [task_id for task_id in dict.fromkeys(returned) if task_id in executor.held]
        for task_id in back:
            executor.held.remove(task_id)
        self.requeue(back)
        if not executor.batches:
            executor.idle_since_s = self._clock.now()
            self._release(executor)
        self.stir(executor.worker_id)

    def _release(self, executor: Executor) -> None:
        if executor.amounts is not None:
            self._manager.release_resources(executor.executor_id, now_s=self._clock.now())
            if self._queue.release(executor.executor_id):
                self._stirred_all = True
            executor.amounts = None

    def requeue(self, task_ids: Iterable[str], *, soon: bool = False) -> None:
        """Let tests wait again, but for those that have an outcome or whose other attempt is under way. ``soon``: they
        are begun before all others."""
        wanted = (task_id for task_id in task_ids if self._accounts.is_open(task_id) and not self.is_held(task_id))
        self._queue.add([self._accounts.task(task_id) for task_id in wanted], soon=soon)

    def gone(self, executor: Executor) -> str | None:
        """An executor is no more: queue what it held and had not begun; return the test it was running."""
        self.crew.dismiss(executor.executor_id)
        self._timed.pop(executor.executor_id, None)
        self._release(executor)
        self._queue.leave(executor.executor_id)
        self._stirred_all = True
        running = executor.current
        self.requeue(task_id for task_id in executor.held if task_id != running)
        return running

    # -- ending

    def enforce_timeouts(self) -> None:
        """Evict executors whose test has run past its timeout."""
        now = self._clock.now()
        if now < self.soonest_s:
            return
        self.soonest_s = math.inf
        for executor_id in tuple(self._timed):
            executor = self.crew.get(executor_id)
            if executor is None or executor.timeout is None or executor.current is None:
                self._timed.pop(executor_id, None)
                continue
            due_s = executor.began_s + executor.timeout.seconds
            if now >= due_s:
                executor.doomed = True
                self._engine.evict(executor.worker_id, executor_id, DeathKind.TIMEOUT, executor.timeout.reason)
                self._timed.pop(executor_id, None)
            else:
                self.soonest_s = min(self.soonest_s, due_s)

    def stop_on(self, worker_id: str) -> None:
        """Let the executors of one worker finish and end."""
        for executor in self.crew.on(worker_id):
            self._stop(executor)

    def stop_all(self) -> None:
        """Give out nothing more; executors finish their test, tear down and end."""
        self.closed = True
        for executor in self.crew:
            self._stop(executor)

    def _stop(self, executor: Executor) -> None:
        if not executor.stopping:
            executor.stopping = True
            self._engine.stop(executor.worker_id, executor.executor_id)

    def interrupt_all(self) -> None:
        """Break off what runs, as Ctrl-C does."""
        self.closed = self.interrupted = True
        for executor in self.crew:
            executor.stopping = True
            self._engine.interrupt(executor.worker_id, executor.executor_id)

    def kill_all(self, reason: str) -> None:
        self.closed = self.interrupted = True
        for executor in self.crew:
            executor.stopping = True
            self._engine.kill(executor.worker_id, executor.executor_id, DeathKind.STOPPED, reason)


def _forecast_s(task: Task) -> float | None:
    """Return the seconds that were forecast from measurements; None where there were none to go by."""
    forecast = task.forecast
    return None if forecast is None or forecast.method == "default" else round(forecast.wall_s, 6)
