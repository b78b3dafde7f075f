"""What follows when an attempt went wrong: the evidence is told, and the test is tried again or has failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from drm.coordinator.accounts import Accounts
from drm.coordinator.crew import Executor
from drm.coordinator.dispatch import Dispatcher
from drm.coordinator.outcomes import Outcomes
from drm.coordinator.retries import Again, GiveUp, Mishap, RetryPolicy, decide, story
from drm.model import observations as seen
from drm.model.cluster import WorkerView
from drm.model.death import Death, DeathKind
from drm.model.resources import Resources
from drm.model.work import Outcome, Task, Usage
from drm.ports import Clock
from drm.resource_optimizer.placement import can_hold


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    """What the report of a test will need if it is never tried again after all."""

    executor_id: str
    usage: Usage
    stacks: str = ""
    ended: seen.AttemptEnded | None = None


class Recovery:
    """Carries out what ``decide`` says. ``places``: the workers that there may be."""

    def __init__(
        self, *, policy: RetryPolicy, clock: Clock, accounts: Accounts, dispatch: Dispatcher, outcomes: Outcomes
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._accounts = accounts
        self._dispatch = dispatch
        self._outcomes = outcomes
        self._tails: dict[str, _Tail] = {}  # of tests that wait for another attempt
        self.places: Sequence[WorkerView] = ()

    def died(
        self,
        executor: Executor,
        task_id: str,
        death: Death,
        message: str,
        *,
        reserved: Resources | None,
        capacity: Resources,
    ) -> None:
        """The executor died while it ran the test."""
        usage = Usage(
            wall_s=round(self._clock.now() - executor.began_s, 3),
            peak_rss_bytes=executor.used_bytes(death.peak_rss_bytes),
        )
        amounts = reserved or Resources()
        asked = self._accounts.task(task_id).requirements.amounts
        mishap = Mishap(
            attempt=executor.attempt,
            kind=death.kind,
            message=message,
            reserved_bytes=max(amounts.memory_bytes, asked.memory_bytes),
            used_bytes=usage.peak_rss_bytes,
            alone=amounts.cpu_cores >= capacity.cpu_cores > 0,
            had_all=amounts.memory_bytes < asked.memory_bytes or amounts.memory_bytes >= capacity.memory_bytes > 0,
        )
        self._interrupted(executor, task_id, mishap, usage, death.stacks)

    def lost(self, executor: Executor, task_id: str, reason: str, *, announced: bool = False) -> None:
        """The test lost its worker, through no fault of its own unless that happens every time.

        ``announced``: its provider had said that it would take the machine away.
        """
        message = f"worker {executor.worker_id} was lost: {reason}"
        mishap = Mishap(attempt=executor.attempt, kind=DeathKind.LOST, message=message, is_announced=announced)
        usage = Usage(wall_s=round(self._clock.now() - executor.began_s, 3))
        self._interrupted(executor, task_id, mishap, usage, "")

    def _interrupted(self, executor: Executor, task_id: str, mishap: Mishap, usage: Usage, stacks: str) -> None:
        if not self._accounts.is_open(task_id):  # another attempt at it ended first
            cause, death = mishap.message, mishap.kind
            self._outcomes.attempt(executor, task_id, mishap.attempt, None, usage, cause=cause, death=death)
            return
        self._outcomes.attempt(
            executor,
            task_id,
            mishap.attempt,
            Outcome.FAILED if mishap.is_charged else None,
            usage,
            cause=mishap.message,
            death=mishap.kind,
        )
        self._follow(task_id, mishap, _Tail(executor_id=executor.executor_id, usage=usage, stacks=stacks))

    def ended(self, executor: Executor, ended: seen.AttemptEnded) -> None:
        """The test told its own end. A bad one may be tried again, if the user wants that."""
        self._outcomes.attempt(executor, ended.task_id, ended.attempt, ended.outcome, ended.usage)
        if ended.outcome.is_bad and ended.reports and self._policy.failure:
            mishap = Mishap(attempt=ended.attempt, kind=None, message=ended.message)
            self._follow(ended.task_id, mishap, _Tail(executor_id=ended.executor_id, usage=ended.usage, ended=ended))
        else:
            self._report(ended)

    def _report(self, ended: seen.AttemptEnded, *, retry_due: bool = False) -> None:
        self._outcomes.reported(
            ended.task_id,
            ended.executor_id,
            ended.outcome,
            ended.usage.wall_s,
            ended.message,
            ended.reports,
            retry_due=retry_due,
        )

    def _follow(self, task_id: str, mishap: Mishap, tail: _Tail) -> None:
        past = self._accounts.note(task_id, mishap)
        what = decide(past, self._policy, most_bytes=self._largest_for(task_id).memory_bytes)
        is_raced = mishap.kind is DeathKind.TIMEOUT and self._dispatch.is_held(task_id)
        if isinstance(what, GiveUp) and not is_raced:  # the attempt that was started beside it still has its time
            self._fail(task_id, what.message, tail)
            return
        if mishap.is_charged or task_id not in self._tails:  # what went wrong is told, not what was broken off
            self._tails[task_id] = tail
        if not self._dispatch.closed and isinstance(what, Again):
            self._accounts.revise([self._variant(task_id, what)])
            self._dispatch.requeue([task_id], soon=True)

    def settle_rest(self) -> None:
        """The run ends: what still waited for another attempt has failed with those that it had."""
        for task_id, tail in self._tails.items():
            charged = [mishap for mishap in self._accounts.mishaps(task_id) if mishap.is_charged]
            if charged and self._accounts.is_open(task_id):
                self._fail(task_id, story(charged), tail, retry_due=True)

    def _fail(self, task_id: str, message: str, tail: _Tail, *, retry_due: bool = False) -> None:
        if tail.ended is not None:
            self._report(tail.ended, retry_due=retry_due)
            return
        details = f"The stacks of its threads:\n{tail.stacks}" if tail.stacks else ""
        self._outcomes.failed(task_id, tail.executor_id, tail.usage.wall_s, message, details, retry_due=retry_due)

    def _variant(self, task_id: str, again: Again) -> Task:
        """Return the test as it is to be tried again. All cores of a worker reserved: nothing runs beside it."""
        task = self._accounts.task(task_id)
        if not again.alone and again.memory_bytes is None:
            return task
        needs = task.requirements
        memory_bytes, sources = needs.amounts.memory_bytes, needs.sources
        cpu_cores = self._largest_for(task_id).cpu_cores
        if again.memory_bytes is not None:
            memory_bytes, cpu_cores = again.memory_bytes, self._accounts.asked(task_id).requirements.amounts.cpu_cores
            sources = (*(source for source in sources if source[0] != "memory"), ("memory", "retry"))
        amounts = replace(needs.amounts, cpu_cores=cpu_cores, memory_bytes=memory_bytes)
        return replace(task, requirements=replace(needs, amounts=amounts, sources=sources))

    def _largest_for(self, task_id: str) -> Resources:
        """Return what the worker with the most memory has, of those that may run the test."""
        task = self._accounts.asked(task_id)
        rooms = [place.allocatable for place in self.places if can_hold(place, task.requirements)]
        return max(rooms, key=lambda room: (room.memory_bytes, room.cpu_cores), default=task.requirements.amounts)
