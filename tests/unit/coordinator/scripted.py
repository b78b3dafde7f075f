"""A run without processes: an engine that plays executors in virtual time, and a surface that only listens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from drm.cloud_provider_manager import CloudProviderManager
from drm.coordinator import Coordinator, Parts, Recorder, RunSettings
from drm.coordinator.pool import WorkerPool
from drm.coordinator.retries import RetryPolicy
from drm.dynamic_resource_manager import DynamicResourceManager, ScalingSettings
from drm.model import events
from drm.model import observations as seen
from drm.model.claims import is_serial, there_is
from drm.model.cluster import WorkerState, WorkerType, WorkerView
from drm.model.death import Death, DeathKind
from drm.model.resources import Requirements, Resources, total
from drm.model.work import Outcome, Task
from drm.ports import Status
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_performance_predictor import ResourcePerformancePredictor
from drm.simulator import acts
from drm.simulator.engine import Played, SimulatedEngine
from drm.simulator.provider import SimulatedProvider

GIB = 2**30
MACHINE = Resources(cpu_cores=2, memory_bytes=2 * GIB)
COUNTED = {"license": 2}
NO_RETRIES = RetryPolicy(crash=0)
_MOST_POLLS = 20_000
SMALL = WorkerType(name="small", capacity=Resources(cpu_cores=1, memory_bytes=GIB), provider="scripted")


@dataclass(frozen=True)
class Act:
    """What a test does: ``die`` and ``hang`` end only with the executor; ``deaf`` ones ignore an interrupt too;
    ``hog`` is killed by the kernel when it holds ``peak_bytes``. It does so in its first ``times`` attempts."""

    seconds: float = 0.02
    how: str = "pass"
    peak_bytes: int = 1000
    times: int = 1000

    def in_attempt(self, attempt: int) -> Act:
        return self if attempt <= self.times else Act(self.seconds)

    def played(self) -> acts.Act:
        """Return it as the simulator's engine plays it."""
        outcomes = {"fail": Outcome.FAILED, "missing": Outcome.ERROR}
        return acts.Act(
            seconds=self.seconds,
            peak_bytes=self.peak_bytes,
            outcome=outcomes.get(self.how, Outcome.PASSED),
            message=f"{self.how} on purpose" if self.how in outcomes else "",
            signal={"die": "SIGSEGV", "hog": "SIGKILL"}.get(self.how, ""),
            oom_kills=int(self.how == "hog"),
            hangs=self.how in ("hang", "deaf"),
            is_deaf=self.how == "deaf",
            is_missing=self.how == "missing",
        )


class ScriptedEngine(SimulatedEngine):
    """The simulator's engine, which also notes what it is told. ``chance``: some tests lose their worker."""

    def __init__(self, clock: Any, acts: Mapping[str, Act], chance: Random | None = None) -> None:
        super().__init__(clock, lambda task_id, attempt: self.acts.get(task_id, Act()).in_attempt(attempt).played())
        self.acts = acts
        self.chance = chance
        self.calls: list[tuple[str, ...]] = []
        self.began: list[tuple[str, str]] = []
        self.fail_starts = 0
        self.polls = 0
        self.on_poll: Callable[[], None] = lambda: None

    @property
    def executors(self) -> dict[tuple[str, str], Played]:
        return {
            (worker_id, executor_id): played
            for worker_id, worker in self._workers.items()
            for executor_id, played in worker.executors.items()
        }

    def poll(self, timeout_s: float) -> list[seen.Observation]:
        assert not self.closed
        self.polls += 1
        assert self.polls < _MOST_POLLS, "the run does not end"
        self.on_poll()
        return super().poll(timeout_s)

    def release(self, worker_id: str) -> None:
        self.calls.append(("release", worker_id))
        super().release(worker_id)

    def spawn(self, worker_id: str, executor_id: str) -> None:
        self.calls.append(("spawn", worker_id, executor_id))
        super().spawn(worker_id, executor_id)
        played = self.played(worker_id, executor_id)
        if self.fail_starts and played is not None:
            self.fail_starts -= 1
            self.at(0.009, lambda: self.end(played, Death(reason="", exit_code=1)))

    def begin(self, played: Played, task_id: str, attempt: int, act: acts.Act) -> None:
        self.began.append((task_id, played.executor_id))
        life = played.life
        if self.chance is not None and self.chance.random() < 0.03:
            self.at(act.seconds / 2, lambda: self.lose(played.worker_id) if played.life == life else [])
        super().begin(played, task_id, attempt, act)

    def stop(self, worker_id: str, executor_id: str) -> None:
        self.calls.append(("stop", worker_id, executor_id))
        super().stop(worker_id, executor_id)

    def interrupt(self, worker_id: str, executor_id: str) -> None:
        self.calls.append(("interrupt", worker_id, executor_id))
        super().interrupt(worker_id, executor_id)

    def kill(self, worker_id: str, executor_id: str, kind: DeathKind, reason: str) -> None:
        self.calls.append(("kill", worker_id, executor_id, reason))
        super().kill(worker_id, executor_id, kind, reason)

    def evict(self, worker_id: str, executor_id: str, kind: DeathKind, reason: str) -> None:
        self.calls.append(("evict", worker_id, executor_id, reason))
        super().evict(worker_id, executor_id, kind, reason)


@dataclass
class ListeningSurface:
    """Implements ``drm.ports.Surface``. ``stop_after``: the test that is to be the last."""

    delivered: list[tuple[str, str]] = field(default_factory=list)
    flaky: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    warnings: list[Any] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    shown: list[Status] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    stop_after: str = ""

    def deliver(self, task_id: str, executor_id: str, reports: list[Any], flaky: str) -> None:
        self.delivered.append((task_id, "reports"))
        if flaky:
            self.flaky[task_id] = flaky

    def deliver_failure(self, task_id: str, executor_id: str, message: str, wall_s: float) -> None:
        self.delivered.append((task_id, message))

    def deliver_late(self, task_id: str, executor_id: str, report: Any) -> None:
        self.late.append(task_id)

    def deliver_warning(self, data: dict[str, Any]) -> None:
        self.warnings.append(data)

    def settle(self) -> None:
        """Nothing was kept back."""

    def show_line(self, executor_id: str, test: str, line: str) -> None:
        self.said.append(line)

    def executor_starts(self, executor_id: str) -> dict[str, Any]:
        return {"workerid": executor_id}

    def executor_ended(self, executor_id: str, output: dict[str, Any], error: str) -> None:
        self.ended.append((executor_id, error))

    def stop_wanted(self) -> str:
        return "enough failures" if self.stop_after in dict(self.delivered) else ""

    def say(self, line: str) -> None:
        self.said.append(line)

    def show_status(self, status: Status) -> None:
        self.shown.append(status)


class ScriptedProvider(SimulatedProvider):
    """Its instances join the engine, but for the next ``fail_starts``."""

    name = "scripted"

    def __init__(self, engine: ScriptedEngine, types: tuple[WorkerType, ...]) -> None:
        super().__init__(engine, types, machine=lambda *_: self._start(), limits={})
        self.fail_starts = 0

    def _start(self) -> acts.Machine:
        fails = self.fail_starts > 0
        self.fail_starts -= fails
        return acts.Machine(start_s=None if fails else 0.1)


class Journal:
    """Implements ``drm.ports.EventSink``: a list, checked as it grows."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self.closed = False

    def emit(self, event: events.Event) -> None:
        assert not self.closed
        assert event.seq == len(self.events) + 1
        self.events.append(event)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Rig:
    """A coordinator with everything scripted around it: one worker ``local``, or a pool of ``types``."""

    def __init__(
        self,
        clock: Any,
        acts: Mapping[str, Act] | None = None,
        *,
        executors: tuple[int, int] = (2, 2),
        capacity: Resources = MACHINE,
        types: tuple[WorkerType, ...] = (),
        workers: tuple[int, int] = (0, 0),
        chance: Random | None = None,
        retries: RetryPolicy = NO_RETRIES,
        timeout_factor: float | None = None,
        speculate: bool = False,
        stranded_s: float | None = None,
    ) -> None:
        self.clock = clock
        self.engine = ScriptedEngine(clock, acts or {}, chance)
        self.surface = ListeningSurface()
        self.journal = Journal()
        self.manager = DynamicResourceManager(ScalingSettings(target_queue_s=0.1, idle_s=0.2))
        self.provider = ScriptedProvider(self.engine, types)
        providers = CloudProviderManager(clock=clock)
        providers.add_provider(self.provider)
        recorder = Recorder(clock, [self.journal], self.surface.say)
        predictor = self.predictor = ResourcePerformancePredictor(default_memory_bytes=2**26)
        optimizer = ResourceOptimizer(predictor, counted=COUNTED)
        settings = RunSettings(
            run_id="r",
            executors=executors,
            workers=workers,
            worker_types=types,
            grace_s=2.0,
            teardown_s=20.0,
            start_s=5,
            no_capacity_s=60,
            counted=COUNTED,
            retries=retries,
            timeout_factor=timeout_factor,
            speculate=speculate,
            joins=stranded_s is not None,
            stranded_s=math.inf if stranded_s is None else stranded_s,
        )
        pool = WorkerPool(
            settings=settings,
            clock=clock,
            engine=self.engine,
            manager=self.manager,
            optimizer=optimizer,
            providers=providers,
            recorder=recorder,
            say=self.surface.say,
        )
        parts = Parts(
            clock=clock,
            engine=self.engine,
            manager=self.manager,
            optimizer=optimizer,
            predictor=predictor,
            pool=pool,
            recorder=recorder,
            surface=self.surface,
        )
        local = WorkerType(name="local", capacity=capacity)
        self.planned = [view(each) for each in (types or (local,))]
        largest = Resources()
        for each in self.planned:
            largest = largest.at_least(each.capacity)
        self.coordinator = Coordinator(parts, settings, largest=largest)
        if not types:
            self.engine.join("local", local)

    def stop_at(self, now_s: float) -> None:
        """Let somebody ask for the end of the run after so many seconds."""

        def stop() -> list[seen.Observation]:
            self.coordinator.request_stop("interrupted")
            return []

        self.engine.at(now_s, stop)

    def run(self, tasks: Sequence[Task], *, interrupt: bool = False) -> dict[str, Outcome]:
        self.coordinator.submit(tasks, self.planned)
        try:
            self.coordinator.run()
        finally:
            self.coordinator.close(interrupt=interrupt)
        return self.outcomes()

    def outcomes(self) -> dict[str, Outcome]:
        return {event.task_id: event.outcome for event in self.journal.of(events.TestFinished)}

    def message(self, task_id: str) -> str:
        (event,) = [event for event in self.journal.of(events.TestFinished) if event.task_id == task_id]
        return str(event.message)

    def check(self, tasks: Sequence[Task]) -> None:
        """Check what holds for every run, however it went."""
        finished = [event.task_id for event in self.journal.of(events.TestFinished)]
        assert sorted(finished) == sorted(task.task_id for task in tasks), "one final outcome per test"
        (end,) = self.journal.of(events.RunFinished)
        assert self.journal.events[-1] is end
        assert sum(number for _, number in end.counts) == end.collected == len(tasks)
        assert self.journal.closed
        assert self.engine.closed
        assert not self.provider.list_instances()
        told = [task_id for task_id, _ in self.surface.delivered]
        assert len(told) == len(set(told)), "the surface was told of a test twice"
        not_run = {task_id for task_id, outcome in self.outcomes().items() if outcome is Outcome.NOT_RUN}
        assert set(told) == set(finished) - not_run
        self._check_reservations({task.task_id: task.requirements for task in tasks})

    def _check_reservations(self, required: Mapping[str, Requirements]) -> None:
        capacity: dict[str, Resources] = {}
        running: dict[tuple[str, str], events.AttemptStarted] = {}
        turns: dict[tuple[str, str], int] = {}
        for event in self.journal.events:
            if isinstance(event, events.WorkerReady):
                capacity[event.worker_id] = event.capacity
            elif isinstance(event, events.AttemptStarted):
                key = (event.worker_id, event.executor_id)
                assert key not in running, "an executor runs one test at a time"
                running[key] = event
                turn, in_group = required[event.task_id].turn, required[event.task_id].group is not None
                assert in_group or not 0 < turn < turns.get(key, 0), "a process went back to an earlier turn"
                turns[key] = max(turn, turns.get(key, 0))
                together = total(e.reserved for (worker, _), e in running.items() if worker == event.worker_id)
                assert together.fits_in(capacity[event.worker_id]), "more is reserved than there is"
                assert required[event.task_id].amounts.fits_in(event.reserved)
                self._check_claims([required[e.task_id] for e in running.values()])
            elif isinstance(event, events.AttemptFinished):
                ended = running.pop((event.worker_id, event.executor_id))
                assert (ended.task_id, ended.attempt) == (event.task_id, event.attempt)
        broken_off = {event.task_id for event in running.values() if event.attempt == 1}  # else it has a past
        assert all(self.outcomes()[task_id] is Outcome.NOT_RUN for task_id in broken_off)

    def _check_claims(self, running: list[Requirements]) -> None:
        held: Counter[str] = Counter()
        for each in running:
            held.update(dict(each.claims))
        for name, amount in held.items():
            assert amount <= there_is(name, COUNTED), f"too many hold {name}"
        assert len(running) == 1 or not any(is_serial(each.claims) for each in running), "a serial test had company"


def view(worker_type: WorkerType) -> WorkerView:
    return WorkerView(
        worker_id=worker_type.name,
        worker_type=worker_type.name,
        state=WorkerState.READY,
        capacity=worker_type.capacity,
        allocatable=worker_type.capacity,
        labels=worker_type.labels,
    )


def make_task(name: str, *, scope: str = "m.py", position: int = 0, **requirements: Any) -> Task:
    amounts = Resources(
        cpu_cores=requirements.pop("cpu", 1),
        memory_bytes=requirements.pop("memory", 0),
        gpus=requirements.pop("gpu", 0),
    )
    return Task(
        task_id=f"{scope}::{name}",
        scope=scope,
        position=position,
        requirements=Requirements(amounts=amounts, **requirements),
    )


def make_tasks(count: int, **requirements: Any) -> list[Task]:
    return [make_task(f"t{n}", position=n, **requirements) for n in range(count)]
