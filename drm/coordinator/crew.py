"""The executors of a run: which there are, what each holds, and which has nothing to do."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from drm.coordinator.timeouts import Timeout
from drm.model.resources import Resources

_FAILED_STARTS = 5  # in a row


@dataclass(slots=True)
class Executor:
    """``held``: tests sent and not ended, oldest first; ``current``: the one it runs (or died in); ``last``: the one
    that it ended last.

    ``base_bytes``: what it held when it was ready to run its first test (0: not known yet). ``doomed``: its end
    was ordered. What it says from then on counts no more, so that the test which that was for is blamed, and
    not one that it may begin in its last moments. ``broken_off``: its test ended the run (KeyboardInterrupt,
    ``pytest.exit``), which ends it too.
    """

    executor_id: str
    worker_id: str
    ready: bool = False
    held: deque[str] = field(default_factory=deque)
    current: str | None = None
    last: str | None = None
    attempt: int = 0
    began_s: float = 0.0
    timeout: Timeout | None = None
    doomed: bool = False
    broken_off: bool = False
    batches: int = 0
    amounts: Resources | None = None
    gpus: tuple[int, ...] = ()
    idle_since_s: float = 0.0
    stopping: bool = False
    finished: int = 0
    output: dict[str, Any] = field(default_factory=dict)
    base_bytes: int = 0

    def used_bytes(self, peak_rss_bytes: int) -> int:
        """Return what its tests had of a peak of the process."""
        return max(0, peak_rss_bytes - self.base_bytes)

    @property
    def is_idle(self) -> bool:
        return self.ready and not self.batches and not self.stopping


class Crew:
    """All executors, by id and by worker. ``spare``: so many idle ones may be needed although nothing waits.
    ``failed_starts``: so many have ended before their first test since a test ended."""

    def __init__(self) -> None:
        self._executors: dict[str, Executor] = {}
        self._by_worker: dict[str, dict[str, Executor]] = {}
        self._made = 0
        self.spare = self.failed_starts = 0

    def hire(self, worker_id: str) -> Executor:
        """Return a new executor with the next id: gw0, gw1, ..."""
        executor = Executor(executor_id=f"gw{self._made}", worker_id=worker_id)
        self._made += 1
        self._executors[executor.executor_id] = executor
        self._by_worker.setdefault(worker_id, {})[executor.executor_id] = executor
        return executor

    def dismiss(self, executor_id: str) -> Executor | None:
        executor = self._executors.pop(executor_id, None)
        if executor is not None:
            del self._by_worker[executor.worker_id][executor_id]
        return executor

    def get(self, executor_id: str) -> Executor | None:
        return self._executors.get(executor_id)

    def on(self, worker_id: str) -> list[Executor]:
        return list(self._by_worker.get(worker_id, {}).values())

    def __iter__(self) -> Any:
        return iter(list(self._executors.values()))

    def __len__(self) -> int:
        return len(self._executors)

    @property
    def running(self) -> int:
        return sum(executor.current is not None for executor in self._executors.values())

    @property
    def none_start(self) -> bool:
        """Whether executors do not start, as it seems, whatever is tried."""
        return self.failed_starts >= _FAILED_STARTS

    @property
    def all_run(self) -> bool:
        """Whether there are executors and each runs a test."""
        return bool(self._executors) and self.running == len(self._executors)
