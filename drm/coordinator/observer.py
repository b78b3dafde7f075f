"""What observations mean: which test ended, which executor or worker is gone, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drm.coordinator.accounts import Accounts
from drm.coordinator.crew import Executor
from drm.coordinator.delivery import Delivery
from drm.coordinator.dispatch import Dispatcher
from drm.coordinator.ending import death_message, torn_down_by
from drm.coordinator.hearing import Hearing
from drm.coordinator.parts import Parts
from drm.coordinator.recovery import Recovery
from drm.coordinator.settings import RunSettings
from drm.model import events
from drm.model import observations as seen
from drm.model.cluster import WorkerState, WorkerView
from drm.model.death import Death
from drm.model.errors import LostError
from drm.model.resources import Resources
from drm.worker.protocol import is_excused


class Observer:
    """Takes observations one by one and brings accounts, crew, ledger and pool up to date.

    ``stop`` is called with the reason when a test asks for the end of the run.
    """

    def __init__(
        self,
        parts: Parts,
        settings: RunSettings,
        *,
        accounts: Accounts,
        dispatch: Dispatcher,
        delivery: Delivery,
        recovery: Recovery,
        stop: Callable[[str], None],
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._recorder = parts.recorder
        self._clock = parts.clock
        self._accounts = accounts
        self._dispatch = dispatch
        self._delivery = delivery
        self._recovery = recovery
        self._stop = stop
        self.cut_short = False
        self.asked: seen.StopAsked | None = None
        self._unfit: set[tuple[str, str]] = set()
        self._noticed: dict[str, str] = {}  # workers that their provider takes away, and why
        self._hearing = Hearing(parts, dispatch)
        self._readers: dict[type[seen.Observation], Callable[[Any], None]] = {
            seen.AttemptBegan: self._on_began,
            seen.AttemptEnded: self._on_ended,
            seen.BatchEnded: self._on_batch_ended,
            seen.ExecutorReady: self._on_ready,
            seen.ExecutorExited: self._on_exited,
            seen.TeardownReported: self._on_teardown,
            seen.WarningRecorded: lambda warning: delivery.put_warning(warning.data),
            seen.LinePrinted: lambda said: parts.surface.show_line(said.executor_id, said.test, said.line),
            seen.OutputGiven: self._on_output,
            seen.StopAsked: self._on_stop_asked,
            seen.WorkerJoined: self._on_joined,
            seen.WorkerLeft: self._on_left,
            seen.WorkerNoticed: self._on_noticed,
            seen.WorkerSuspected: self._on_suspected,
            seen.WorkerHeard: self._on_heard,
            seen.WorkerSampled: self._on_sampled,
            seen.MemorySampled: self._on_memory,
            seen.ExecutorSettled: self._on_settled,
        }

    def observe(self, observation: seen.Observation) -> None:
        self._readers[type(observation)](observation)

    def _on_ready(self, ready: seen.ExecutorReady) -> None:
        executor = self._hearing.of(ready)
        if executor is not None:
            executor.ready = True
            self._parts.pool.serves(executor.worker_id)
            self._dispatch.stir(executor.worker_id)

    def _on_began(self, began: seen.AttemptBegan) -> None:
        executor = self._hearing.heeded(began)
        if executor is not None and self._hearing.is_given(executor, began.task_id):
            self._dispatch.began(executor, began.task_id)

    def _on_ended(self, ended: seen.AttemptEnded) -> None:
        executor = self._hearing.heeded(ended)
        if executor is not None and self._hearing.is_given(executor, ended.task_id):
            self._dispatch.crew.failed_starts = 0
            self._dispatch.ended(executor, ended.task_id)
            self._recovery.ended(executor, ended)

    def _on_teardown(self, late: seen.TeardownReported) -> None:
        executor = self._hearing.of(late)
        if executor is None or late.task_id != executor.last:
            return
        is_doomed = late.task_id in self._dispatch.copied and executor.doomed
        if is_doomed or self._accounts.is_open(late.task_id):
            return  # of an attempt or a test that does not count: another attempt is under way or due, or -x has struck
        if is_excused(late.report):
            self._delivery.put_late(late.task_id, late.executor_id, late.report)
        else:
            self._spoil(late.task_id, late.executor_id, late.message, late.report)

    def _spoil(self, task_id: str, executor_id: str, message: str, report: Any) -> None:
        self._accounts.spoil(task_id)
        self._recorder.record(events.TeardownFailed, task_id=task_id, message=message)
        self._delivery.put_late(task_id, executor_id, report)

    def _on_batch_ended(self, ended: seen.BatchEnded) -> None:
        executor = self._hearing.heeded(ended)
        if executor is not None:
            self._dispatch.batch_ended(executor, ended.returned)

    def _on_output(self, given: seen.OutputGiven) -> None:
        executor = self._hearing.of(given)
        if executor is not None:
            executor.output = given.output

    def _on_exited(self, exited: seen.ExecutorExited) -> None:
        executor = self._hearing.of(exited)
        if executor is None:
            return
        reserved = executor.amounts
        running = self._dispatch.gone(executor)
        death = exited.death
        broken_off = executor.broken_off or self._dispatch.interrupted
        if death is None and running is not None and not broken_off:
            death = Death(exit_code=0)  # it was to end, but not amid a test
        last_words = ""
        if death is not None:
            capacity = self._capacity_of(executor.worker_id)
            last_words = death_message(death, executor=executor, reserved=reserved, limit_bytes=capacity.memory_bytes)
            if running is None and executor.doomed:
                pass  # it was to run a test that another one has ended
            elif running is None:
                self._bury_idle(executor, death, last_words)
            elif not broken_off or not self._accounts.is_open(running):  # else the test has no outcome
                self._recovery.died(executor, running, death, last_words, reserved=reserved, capacity=capacity)
        self._delivery.put_end(executor.executor_id, executor.output, last_words)
        self._release_if_drained(executor.worker_id)

    def _bury_idle(self, executor: Executor, death: Death, message: str) -> None:
        crew = self._dispatch.crew
        torn_down = "" if self.cut_short else torn_down_by(executor, death)
        if torn_down and not self._accounts.is_open(torn_down):
            message = f"its process ended in the teardown that followed: {message}"
            self._spoil(torn_down, executor.executor_id, message, message)
        elif (not executor.stopping or not self.cut_short) and not crew.failed_starts:
            self._parts.surface.say(f"an executor ended while it ran no test: {message}")
        crew.failed_starts += not executor.finished
        if crew.none_start and not crew.running:
            raise LostError(f"{crew.failed_starts} executors in a row ended before their first test: {message}")

    def _on_stop_asked(self, asked: seen.StopAsked) -> None:
        executor = self._hearing.of(asked)
        if executor is not None and asked.kind in ("exit", "interrupt"):
            executor.broken_off = True
        if not self.cut_short:
            self.asked = asked
            self._stop(asked.message or f"a test asked for it ({asked.kind})")

    def _on_joined(self, joined: seen.WorkerJoined) -> None:
        if self._view_of(joined.worker_id) is not None or not self._parts.pool.joined(joined.worker_id):
            return
        if joined.capacity == Resources():
            self._parts.surface.say(f"worker {joined.worker_id} says that it has nothing, and is let go")
            self._parts.engine.release(joined.worker_id)
            return
        self._parts.manager.register_worker(
            joined.worker_id,
            worker_type=joined.worker_type,
            capacity=joined.capacity,
            allocatable=_less(joined.capacity, joined.held_bytes),
            labels=joined.labels,
            now_s=self._clock.now(),
        )
        self._dispatch.stir(joined.worker_id)
        self._recorder.record(
            events.WorkerReady,
            worker_id=joined.worker_id,
            worker_type=joined.worker_type,
            capacity=joined.capacity,
            labels=tuple(sorted(joined.labels)),
            pid=joined.pid,
            gpu_memory_bytes=joined.gpu_memory_bytes,
        )

    def _on_left(self, left: seen.WorkerLeft) -> None:
        view = self._view_of(left.worker_id)
        noticed = self._noticed.pop(left.worker_id, "")
        reason = noticed or left.reason
        is_busy = any(executor.current is not None for executor in self._dispatch.crew.on(left.worker_id))
        expected = view is not None and view.state is WorkerState.DRAINING and not (noticed and is_busy)
        requeued = 0
        for executor in self._dispatch.crew.on(left.worker_id):
            requeued += len(executor.held)
            running = self._dispatch.gone(executor)
            if running is not None:
                self._recovery.lost(executor, running, reason, announced=bool(noticed))
            self._delivery.put_end(executor.executor_id, executor.output, reason)
        if view is not None:
            self._parts.manager.deregister_worker(left.worker_id)
        self._dispatch.memory.forget(left.worker_id)
        self._dispatch.silent.discard(left.worker_id)
        if view is not None and not expected:
            self._recorder.record(events.WorkerLost, worker_id=left.worker_id, reason=reason, requeued=requeued)
            self._parts.surface.say(f"worker {left.worker_id} was lost: {reason}; {requeued} tests queued again")
        elif view is None and (left.worker_id, reason) not in self._unfit:  # it may come again, and go again
            self._unfit.add((left.worker_id, reason))
            self._parts.surface.say(f"worker {left.worker_id} cannot run the tests: {reason}")
        self._parts.pool.left(left.worker_id, reason, expected=expected)
        if not self._settings.has_pool and not self.cut_short:
            raise LostError(f"the only worker is gone: {reason}")

    def _on_noticed(self, noticed: seen.WorkerNoticed) -> None:
        """Give no more work to a worker that will be taken away; what it runs may come to its end before that."""
        view = self._view_of(noticed.worker_id)
        if view is None or noticed.worker_id in self._noticed:
            return
        self._noticed[noticed.worker_id] = noticed.reason
        self._recorder.record(events.WorkerNoticed, worker_id=noticed.worker_id, reason=noticed.reason)
        self._parts.surface.say(f"worker {noticed.worker_id} is given no more tests: {noticed.reason}")
        self._parts.pool.noticed(noticed.worker_id)
        self.drain(noticed.worker_id)

    def _on_suspected(self, suspected: seen.WorkerSuspected) -> None:
        self._dispatch.silent.add(suspected.worker_id)
        self._parts.surface.say(f"worker {suspected.worker_id} is given nothing new: {suspected.reason}")

    def _on_heard(self, heard: seen.WorkerHeard) -> None:
        self._dispatch.silent.discard(heard.worker_id)
        self._dispatch.stir(heard.worker_id)
        self._parts.surface.say(f"worker {heard.worker_id} is heard again")

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
            gpu_memory_bytes=sampled.gpu_memory_bytes,
        )

    def _on_memory(self, sampled: seen.MemorySampled) -> None:
        if self._view_of(sampled.worker_id) is not None:
            self._dispatch.memory.sampled(sampled.worker_id, sampled.sample)
            self._dispatch.stir(sampled.worker_id)

    def _on_settled(self, settled: seen.ExecutorSettled) -> None:
        executor = self._hearing.of(settled)
        if executor is not None:
            executor.base_bytes = settled.base_bytes

    def drain(self, worker_id: str) -> None:
        self._parts.pool.set_state(worker_id, WorkerState.DRAINING)
        self._dispatch.stop_on(worker_id)
        self._release_if_drained(worker_id)

    def keep(self, worker_id: str) -> None:
        """Let a worker that drains have tests again. Executors that were told to end do; others take their place."""
        self._parts.pool.set_state(worker_id, WorkerState.READY)
        self._dispatch.stir(worker_id)

    def _release_if_drained(self, worker_id: str) -> None:
        view = self._view_of(worker_id)
        if view is not None and view.state is WorkerState.DRAINING and not self._dispatch.crew.on(worker_id):
            self._parts.pool.drained(worker_id)

    def _view_of(self, worker_id: str) -> WorkerView | None:
        return self._parts.manager.view(worker_id)

    def _capacity_of(self, worker_id: str) -> Resources:
        view = self._view_of(worker_id)
        return view.capacity if view is not None else Resources()


def _less(capacity: Resources, held_bytes: int) -> Resources:
    """Return what tests may have of a worker that holds some memory itself: a byte at least, if it has any."""
    memory = max(min(1, capacity.memory_bytes), capacity.memory_bytes - held_bytes)
    return Resources(cpu_cores=capacity.cpu_cores, memory_bytes=memory, gpus=capacity.gpus)
