"""The agent: supervises the executors of one worker and tells what it sees.

The same code serves the embedded engine, inside the controller, and a worker process (``drm.worker.__main__``).
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from drm.model.death import Death, DeathKind
from drm.model.errors import LostError
from drm.worker import oom, probe, stacks
from drm.worker.channel import Channel
from drm.worker.eviction import Eviction
from drm.worker.gpu_watch import GpuWatch
from drm.worker.launchers import Launcher, SpawnLauncher, signal_name
from drm.worker.linux import descendants_of
from drm.worker.memory import MemoryWatch, with_children
from drm.worker.notices import NoticeWatch, source_of
from drm.worker.protocol import BY_EXECUTORS, GPUS_OF_JOINED, sample_message
from drm.worker.pulse import Pulse
from drm.worker.usage import UsageNews

_SAMPLE_S = 1.0
_DEAF_S = 2.0
_SEND_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Executor:
    channel: Channel
    stacks: int  # the descriptor of its file
    pid: int = 0
    cpu_s: float = 0.0
    owed: int = 0  # batches that it was sent and has not come to the end of
    in_test: bool = False
    peak_bytes: int = 0  # the most that was seen of it and its children since its test began
    has_gpus: bool = False  # its next tests have reserved some
    gpu_bytes: int = 0  # as ``peak_bytes``, of the gpus' memory
    stopping: bool = False
    killed_for: DeathKind | None = None
    kill_reason: str = ""
    eviction: Eviction | None = None
    pulse: Pulse = field(default_factory=Pulse)
    deaf_since: float | None = None  # its channel is closed; its end should follow at once


class Agent:
    """Carries out commands and emits messages; both are lists whose first item is a name.

    Commands: ["spawn", id, workerinput], ["run", id, batch, next task, budget, gpus, cores], ["stop", id],
    ["interrupt", id], ["kill", id, kind, reason], ["evict", id, kind, reason]. Messages: ``joined`` once executors
    can be spawned; what they send, with the executor's id put second; ["ready", id, pid],
    ["exited", id, death or None], ["sample", cores, bytes, gpus, gpu bytes], ["memory", ...], ["noticed", reason],
    ["left", reason].
    """

    def __init__(
        self,
        launcher: Launcher,
        selector: selectors.BaseSelector,
        emit: Callable[[list[Any]], None],
        joined: list[Any],
        memory_limit: int,
    ) -> None:
        self._joined = joined
        self._memory = MemoryWatch(memory_limit)
        self._usage, self._held_bytes = UsageNews(emit), 0
        self._gpus: GpuWatch | None = None  # made when the zygote is there, which must not know of any
        self._notices: NoticeWatch | None = None  # the same: it has a thread
        self._launcher = launcher
        self._selector = selector
        self._emit = emit
        self._executors: dict[str, _Executor] = {}
        self._sampled_at = self._watched_at = time.monotonic()
        counters = oom.counters()
        self._ooms = oom.OomWatch(lambda: oom.oom_kills(counters))

    def start(self) -> None:
        self._launcher.start(self._selector, self._on_launcher)

    def command(self, message: list[Any]) -> None:
        """Carry out one command. One for an executor that is gone does nothing: its exit is being told."""
        self._usage.is_stirred = True
        name, executor_id, *rest = message
        if name == "spawn":
            self._spawn(executor_id, *rest)
            return
        executor = self._executors.get(executor_id)
        if executor is None:
            return
        if name in ("kill", "evict"):
            if executor.killed_for is None:
                executor.killed_for, executor.kill_reason = DeathKind(rest[0]), rest[1]
            if name == "kill":
                self._launcher.signal(executor_id, signal.SIGKILL)
            else:
                executor.eviction = executor.eviction or Eviction(time.monotonic())
                executor.channel.stop_hearing()  # should its test end after all, it begins no other
        elif name == "interrupt":
            executor.stopping = True
            self._launcher.signal(executor_id, signal.SIGINT)
        else:
            executor.stopping = executor.stopping or name == "stop"
            if name == "run":
                executor.owed += 1
                executor.has_gpus = bool(rest[3])
            try:
                executor.channel.send([name, *rest])
            except LostError as error:
                if not executor.channel.closed:  # alive and not reading
                    self.command(["kill", executor_id, DeathKind.HUNG, f"it took no message: {error}"])

    def _spawn(self, executor_id: str, given: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        executor = _Executor(Channel(ours, send_timeout_s=_SEND_TIMEOUT_S), stacks.make_file())
        self._executors[executor_id] = executor
        self._selector.register(executor.channel, selectors.EVENT_READ, lambda: self._receive(executor_id))
        self._launcher.spawn(executor_id, theirs, executor.stacks)
        theirs.close()
        with suppress(LostError):  # it is gone already, which is told
            executor.channel.send(["given", given])

    def _receive(self, executor_id: str) -> None:
        executor = self._executors.get(executor_id)
        if executor is None:
            return
        try:
            for _, *messages in executor.channel.receive():
                for name, *rest in messages:
                    if name not in BY_EXECUTORS:
                        raise ValueError(f"{name!r:.40} is no message")
                    if name == "end" and executor.has_gpus and rest:
                        self._watch_gpus()  # a quick test has not been looked at
                        rest[-1] = [*rest[-1], executor.gpu_bytes]
                    self._emit([name, executor_id, *rest])
                    self._usage.is_stirred = True
                    if name == "begin":
                        executor.in_test, executor.peak_bytes, executor.gpu_bytes = True, 0, 0
                    elif name in ("end", "missing"):
                        executor.in_test = False
                    elif name == "idle":
                        executor.owed -= 1
        except (LostError, TypeError, ValueError) as error:
            executor.channel.closed = True
            self.command(["kill", executor_id, DeathKind.CRASH, f"it sent nonsense: {error}"])
        if executor.channel.closed and executor.deaf_since is None:
            executor.deaf_since = time.monotonic()
            self._unregister(executor)

    def _unregister(self, executor: _Executor) -> None:
        if executor.channel.fileno() in self._selector.get_map():
            self._selector.unregister(executor.channel)

    def _on_launcher(self, message: list[Any]) -> None:
        name, *rest = message
        if name == "spawned":
            executor_id, pid = rest
            if executor_id in self._executors:
                self._executors[executor_id].pid = pid
                self._emit(["ready", executor_id, pid])
        elif name == "exited":
            self._exited(*rest)
        elif name == "collected":
            self._held_bytes = self._memory.scan()
            self._gpus = GpuWatch(self._joined[GPUS_OF_JOINED])
            source = source_of(os.environ)
            self._notices = NoticeWatch(source) if source is not None else None
            self._emit([*self._joined, self._held_bytes, self._gpus.total_bytes()])
        else:
            for executor_id in list(self._executors):
                self._receive(executor_id)
                self._forget(executor_id)
            self._emit(["left", rest[0]])

    def _exited(self, executor_id: str, status: int, peak_kib: int) -> None:
        executor = self._executors.get(executor_id)
        if executor is None:
            return
        self._receive(executor_id)  # what it sent before it died comes first
        code = os.waitstatus_to_exitcode(status)
        if code == 0 and executor.stopping and executor.killed_for is None:
            self._forget(executor_id)
            self._emit(["exited", executor_id, None])
            return
        death = Death(
            reason=executor.kill_reason,
            killed_for=executor.killed_for,
            exit_code=code if code >= 0 else None,
            signal=signal_name(-code) if code < 0 else None,
            peak_rss_bytes=self._peak_of(executor, peak_kib * 1024),
            oom_kills=self._ooms.claim() if code == -signal.SIGKILL and executor.killed_for is None else 0,
            stacks=stacks.read(executor.stacks),
        )
        self._forget(executor_id)
        self._emit(["exited", executor_id, asdict(death)])

    def _peak_of(self, executor: _Executor, measured_bytes: int) -> int:
        """Return the most that it held since its last test began: as the kernel measured it, or as it was seen with
        its children. What the kernel says of a spawned process begins with the peak of its parent."""
        is_spawned = isinstance(self._launcher, SpawnLauncher)
        return executor.peak_bytes if is_spawned and executor.peak_bytes else max(measured_bytes, executor.peak_bytes)

    def _forget(self, executor_id: str) -> None:
        executor = self._executors.pop(executor_id)
        self._unregister(executor)
        executor.channel.close()
        os.close(executor.stacks)

    def due_in_s(self) -> float:
        """Return the seconds until ``tick`` has something to do."""
        return max(0.0, self._watched_at + self._memory.interval_s - time.monotonic()) if self._executors else _SAMPLE_S

    def tick(self) -> None:
        """Watch memory and sample usage, each when it is time; call it at least every ``due_in_s`` seconds."""
        if isinstance(self._launcher, SpawnLauncher):
            self._launcher.poll()
        now = time.monotonic()
        is_due = now - self._sampled_at >= _SAMPLE_S
        if is_due or now - self._watched_at >= self._memory.interval_s:
            self._watched_at = now
            self._watch_memory(is_due and self._tells_usage(now))
            self._watch_channels(now)
            self._go_on_evicting(now)
            self._ooms.look(now)
        if is_due:
            self._feel_pulses(now)
            if self._notices is not None and (notice := self._notices.take()):
                self._emit(["noticed", notice])

    def _watch_channels(self, now: float) -> None:
        """Kill an executor whose channel has closed and that goes on: a test closed its descriptors."""
        for executor_id, executor in self._executors.items():
            if executor.deaf_since is not None and now - executor.deaf_since > _DEAF_S:
                reason = "its connection was closed, by a test that closes descriptors"
                self.command(["kill", executor_id, DeathKind.CRASH, reason])

    def _go_on_evicting(self, now: float) -> None:
        for executor_id, executor in self._executors.items():
            written = stacks.written_bytes(executor.stacks) if executor.eviction is not None else 0
            if executor.eviction is not None and (number := executor.eviction.due(now, written)) is not None:
                self._launcher.signal(executor_id, number)

    def _feel_pulses(self, now: float) -> None:
        for executor_id, executor in self._executors.items():
            if executor.pid and executor.killed_for is None:
                state, waits = probe.state_of(executor.pid), executor.owed > 0 and not executor.in_test
                reason = executor.pulse.look(now, state=state, cpu_s=executor.cpu_s, waits=waits)
                if reason:
                    self.command(["kill" if state == "T" else "evict", executor_id, DeathKind.HUNG, reason])

    def _watch_memory(self, is_told: bool) -> None:
        self._watch_gpus()
        residents = self._residents()
        for executor_id, size in residents.items():
            executor = self._executors[executor_id]
            executor.peak_bytes = max(executor.peak_bytes, size)
        if residents and (self._memory.is_news(sample := self._memory.sample(residents)) or is_told):
            self._memory.told = sample
            self._emit(sample_message(sample))

    def _watch_gpus(self) -> None:
        on_gpus = [executor for executor in self._executors.values() if executor.has_gpus and executor.pid]
        held = self._gpus.of_processes() if on_gpus and self._gpus is not None else {}
        for executor in on_gpus if held else ():
            own = sum(held.get(pid, 0) for pid in (executor.pid, *descendants_of(executor.pid)))
            executor.gpu_bytes = max(executor.gpu_bytes, own)

    def _residents(self) -> dict[str, int]:
        return {name: with_children(executor.pid) for name, executor in self._executors.items() if executor.pid}

    def _tells_usage(self, now: float) -> bool:
        elapsed_s, self._sampled_at, cores = now - self._sampled_at, now, 0.0
        for executor in self._executors.values():
            if executor.pid:
                used = probe.cpu_seconds(executor.pid)
                cores += max(0.0, used - executor.cpu_s) / elapsed_s
                executor.cpu_s = used
        memory = max(0, self._memory.used_bytes(self._residents()) - self._held_bytes)
        gpus = self._gpus.sample() if self._gpus is not None else (0.0, 0)
        return self._usage.tell(now, (round(cores, 3), memory, *gpus))

    def close(self) -> None:
        """End everything by force; returns when no process is left."""
        if self._notices is not None:
            self._notices.close()
        self._launcher.close()
        for executor_id in list(self._executors):
            self._forget(executor_id)
