"""Who is heeded: a worker speaks for its own executors, an executor for the tests that it was given, and no further."""

from __future__ import annotations

from typing import Any

from drm.coordinator.crew import Executor
from drm.coordinator.dispatch import Dispatcher
from drm.coordinator.parts import Parts
from drm.model.death import DeathKind


class Hearing:
    """Finds the executor that an observation is about; what is said in another's name is not heeded.

    A test can write on the connection of its process, whatever it likes; a worker is another machine.
    """

    def __init__(self, parts: Parts, dispatch: Dispatcher) -> None:
        self._parts = parts
        self._dispatch = dispatch
        self._strange: set[str] = set()

    def of(self, said: Any) -> Executor | None:
        """Return the executor that is spoken for, unless it is gone, or another worker's."""
        executor = self._dispatch.crew.get(said.executor_id)
        if executor is None or executor.worker_id == said.worker_id:
            return executor
        if said.worker_id not in self._strange:
            self._strange.add(said.worker_id)
            self._parts.surface.say(f"worker {said.worker_id} speaks for {said.executor_id} of another: not heeded")
        return None

    def heeded(self, said: Any) -> Executor | None:
        """Return the executor, unless it is gone or what it says counts no more."""
        executor = self.of(said)
        return executor if executor is not None and not executor.doomed else None

    def is_given(self, executor: Executor, task_id: str) -> bool:
        """Tell whether the executor has the test that it speaks of. One that has not is ended: a test is at work."""
        if task_id in executor.held:
            return True
        executor.doomed = True
        reason = f"it spoke of {task_id[:200]!r}, a test that it was not given"
        self._parts.engine.kill(executor.worker_id, executor.executor_id, DeathKind.CRASH, reason)
        return False
