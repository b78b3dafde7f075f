"""An engine that plays workers and executors in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

from drm.model import observations as seen
from drm.model.cluster import WorkerType
from drm.model.death import Death, DeathKind
from drm.model.work import Usage
from drm.simulator.acts import Act, Script, VirtualClock
from drm.simulator.played import Played, PlayedWorker

__all__ = ["SimulatedEngine"]

Happening = Callable[[], list[seen.Observation]]
_KILL_S = 0.001  # from an order to end, to the end
_NOTHING: list[seen.Observation] = []


class SimulatedEngine:
    """Implements ``drm.ports.Engine``. ``poll`` moves the clock to the next thing that happens.

    ``script`` says what attempts do. Executors are up ``executor_start_s`` seconds after they were asked for. Every
    ``sample_s`` seconds (None: never) workers say what they use. A worker whose running tests together hold more
    than its memory loses the executor that holds most, as under the kernel's OOM killer. ``held_bytes``: what
    each worker holds itself.
    """

    def __init__(
        self,
        clock: VirtualClock,
        script: Script,
        *,
        executor_start_s: float = 0.01,
        sample_s: float | None = None,
        held_bytes: int = 0,
    ) -> None:
        self.clock = clock
        self.script = script
        self.executor_start_s = executor_start_s
        self.sample_s = sample_s
        self.held_bytes = held_bytes
        self.closed = False
        self._workers: dict[str, PlayedWorker] = {}
        self._heap: list[tuple[float, int, Happening]] = []
        self._made = 0
        self._woken = False

    # -- the clock

    def at(self, delay_s: float, happen: Happening) -> None:
        """Let something happen so many seconds from now."""
        self._made += 1
        heapq.heappush(self._heap, (self.clock.now() + delay_s, self._made, happen))

    def poll(self, timeout_s: float) -> list[seen.Observation]:
        heap, clock = self._heap, self.clock
        until_s = clock.now() + (0.0 if self._woken else timeout_s)
        self._woken = False
        clock.move_to(min(until_s, heap[0][0]) if heap else until_s)
        found: list[seen.Observation] = []
        while heap and heap[0][0] <= clock.now():
            found += heapq.heappop(heap)[2]()
        return found

    def wake(self) -> None:
        self._woken = True

    # -- workers

    def join(self, worker_id: str, worker_type: WorkerType, delay_s: float = 0.1) -> None:
        """Let a worker join after so many seconds."""
        worker = self._workers[worker_id] = PlayedWorker(worker_type)

        def joined() -> list[seen.Observation]:
            if self._workers.get(worker_id) is not worker or worker.up:
                return _NOTHING
            worker.up = True
            if self.sample_s is not None:
                self.at(self.sample_s, lambda: self._sampled(worker_id, worker))
            return [
                seen.WorkerJoined(
                    worker_id=worker_id,
                    capacity=worker_type.capacity,
                    labels=worker_type.labels,
                    worker_type=worker_type.name,
                    held_bytes=self.held_bytes,
                )
            ]

        self.at(delay_s, joined)

    def lose(self, worker_id: str, reason: str = "its connection closed") -> list[seen.Observation]:
        """End a worker and all that runs on it, at once."""
        worker = self._workers.get(worker_id)
        if worker is None or not worker.up:
            return _NOTHING
        del self._workers[worker_id]
        for played in worker.executors.values():
            played.life += 1
        return [seen.WorkerLeft(worker_id=worker_id, reason=reason)]

    def is_busy(self, worker_id: str) -> bool:
        """Tell whether a test runs on the worker."""
        worker = self._workers.get(worker_id)
        return worker is not None and worker.is_busy

    def forget(self, worker_id: str) -> None:
        """Drop a worker that nobody waits for any more."""
        self._workers.pop(worker_id, None)

    def join_command(
        self,
        worker_id: str,
        worker_type: WorkerType,  # noqa: ARG002 - the port's signature
    ) -> tuple[tuple[str, ...], Mapping[str, str]]:
        return ("simulated", worker_id), {}

    def release(self, worker_id: str) -> None:
        self.at(0.01, lambda: self.lose(worker_id, "released"))

    def close(self) -> None:
        self.closed = True
        self._heap.clear()

    def _sampled(self, worker_id: str, worker: PlayedWorker) -> list[seen.Observation]:
        if self._workers.get(worker_id) is not worker or self.sample_s is None:
            return _NOTHING
        self.at(self.sample_s, lambda: self._sampled(worker_id, worker))
        return [seen.WorkerSampled(worker_id=worker_id, used=worker.used())]

    # -- executors

    def spawn(self, worker_id: str, executor_id: str) -> None:
        worker = self._workers.get(worker_id)
        if worker is not None:
            played = worker.executors[executor_id] = Played(worker_id, executor_id)
            self.at(self.executor_start_s, lambda: self._ready(played))

    def played(self, worker_id: str, executor_id: str) -> Played | None:
        worker = self._workers.get(worker_id)
        return worker.executors.get(executor_id) if worker is not None else None

    def _is_there(self, played: Played) -> bool:
        return self.played(played.worker_id, played.executor_id) is played

    def _ready(self, played: Played) -> list[seen.Observation]:
        if not self._is_there(played):
            return _NOTHING
        played.up = True
        ready = seen.ExecutorReady(worker_id=played.worker_id, executor_id=played.executor_id, pid=1)
        return [ready, *self._go_on(played)]

    def send(
        self,
        worker_id: str,
        executor_id: str,
        batch: Sequence[tuple[str, int]],
        next_task: str | None,  # noqa: ARG002 - the port's signature
        budget_s: float,
        gpus: Sequence[int],
        cores: float,  # noqa: ARG002
    ) -> None:
        played = self.played(worker_id, executor_id)
        if played is not None:
            played.batches.append((batch, budget_s))
            played.gpus = len(gpus)
            if played.batch is None and played.up:
                self.at(0.0, lambda: self._go_on(played))

    def _go_on(self, played: Played) -> list[seen.Observation]:
        """Begin the next test, or the next batch, or end."""
        found: list[seen.Observation] = []
        if not self._is_there(played) or played.running is not None:
            return found
        worker_id, executor_id = played.worker_id, played.executor_id
        while True:
            if played.batch is None:
                if played.stopping:
                    return [*found, *self.end(played, None)]
                if not played.batches:
                    return found
                played.batch, played.budget_s = played.batches.popleft()
                played.index, played.since_s = 0, self.clock.now()
            batch = played.batch
            is_late = self.clock.now() - played.since_s > played.budget_s or played.stopping
            if played.index < len(batch) and not (played.index and is_late):
                break
            back = tuple(task_id for task_id, _ in batch[played.index :])
            played.batch = None
            found.append(seen.BatchEnded(worker_id=worker_id, executor_id=executor_id, returned=back))
        task_id, attempt = batch[played.index]
        played.index += 1
        found.append(seen.AttemptBegan(worker_id=worker_id, executor_id=executor_id, task_id=task_id, attempt=attempt))
        self.begin(played, task_id, attempt, self.script(task_id, attempt))
        return found

    def begin(self, played: Played, task_id: str, attempt: int, act: Act) -> None:
        """Let an attempt begin, and schedule its end."""
        life = played.life
        played.running, played.act = task_id, act
        worker = self._workers[played.worker_id]
        worker.in_use_bytes += act.peak_bytes

        def over() -> list[seen.Observation]:
            if played.life != life:
                return _NOTHING
            if act.signal:
                death = Death(signal=act.signal, oom_kills=act.oom_kills, peak_rss_bytes=act.peak_bytes)
                return self.end(played, death)
            worker.rest(played)
            return [self._ended(played, task_id, attempt, act), *self._go_on(played)]

        if not act.hangs:
            self.at(act.seconds * act.at_share, over)
        whole = worker.worker_type.capacity.memory_bytes
        if worker.in_use_bytes > whole > 0:
            self._run_out(worker)

    def _run_out(self, worker: PlayedWorker) -> None:
        """Kill who holds most, as the kernel does when memory runs out."""
        largest = max(worker.executors.values(), key=lambda played: played.peak_bytes)
        life = largest.life
        death = Death(signal="SIGKILL", oom_kills=1, peak_rss_bytes=largest.peak_bytes)
        self.at(_KILL_S, lambda: self.end(largest, death) if largest.life == life else _NOTHING)

    def _ended(self, played: Played, task_id: str, attempt: int, act: Act) -> seen.Observation:
        return seen.AttemptEnded(
            worker_id=played.worker_id,
            executor_id=played.executor_id,
            task_id=task_id,
            attempt=attempt,
            outcome=act.outcome,
            message=act.message,
            reports=[] if act.is_missing else ["report"],
            usage=Usage(wall_s=act.seconds, cpu_s=act.seconds * act.cores, peak_rss_bytes=act.peak_bytes),
        )

    # -- ending

    def end(self, played: Played, death: Death | None) -> list[seen.Observation]:
        """End an executor, at once."""
        played.life += 1
        worker = self._workers.get(played.worker_id)
        if worker is None or worker.executors.pop(played.executor_id, None) is None:
            return _NOTHING
        worker.rest(played)
        return [seen.ExecutorExited(worker_id=played.worker_id, executor_id=played.executor_id, death=death)]

    def stop(self, worker_id: str, executor_id: str) -> None:
        played = self.played(worker_id, executor_id)
        if played is not None:
            played.stopping = True
            self.at(0.0, lambda: self._go_on(played) if played.up else self.end(played, None))

    def interrupt(self, worker_id: str, executor_id: str) -> None:
        played = self.played(worker_id, executor_id)
        if played is None or (played.act is not None and played.act.is_deaf):
            return
        asked = seen.StopAsked(worker_id=worker_id, executor_id=executor_id, kind="interrupt", message="")
        self.at(_KILL_S, lambda: [*([asked] if played.running else []), *self.end(played, None)])

    def kill(self, worker_id: str, executor_id: str, kind: DeathKind, reason: str) -> None:
        self._end_for(worker_id, executor_id, Death(killed_for=kind, reason=reason, signal="SIGKILL"))

    def evict(self, worker_id: str, executor_id: str, kind: DeathKind, reason: str) -> None:
        self._end_for(worker_id, executor_id, Death(killed_for=kind, reason=reason, signal="SIGTERM", stacks="File x"))

    def _end_for(self, worker_id: str, executor_id: str, death: Death) -> None:
        played = self.played(worker_id, executor_id)
        if played is not None:
            self.at(_KILL_S, lambda: self.end(played, death))
