"""Telling the surface what happened to tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from drm.ports import Clock, Surface


class Delivery:
    """A line of things to tell, in the order they happened.

    pytest's own reporting costs more than running a short test, so it is done in
    slices between rounds of the loop.
    """

    def __init__(self, clock: Clock, surface: Surface, keep: Callable[..., None] | None = None) -> None:
        """``keep``: told at once what will be told of tests, to write it down."""
        self._keep = keep or _forget
        self._clock = clock
        self._surface = surface
        self._line: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def drain(self, budget_s: float | None = None) -> None:
        """Tell what waits, for about ``budget_s`` seconds (None: all of it)."""
        if not self._line:
            return
        deadline = None if budget_s is None else self._clock.now() + budget_s
        while self._line and not (deadline is not None and self._clock.now() > deadline):
            tell, arguments = self._line.popleft()
            tell(*arguments)
        self._surface.settle()

    def put_reports(self, task_id: str, executor_id: str, reports: list[Any], flaky: str) -> None:
        self._keep("reports", task_id, executor_id, reports, flaky)
        self._line.append((self._surface.deliver, (task_id, executor_id, reports, flaky)))

    def put_failure(self, task_id: str, executor_id: str, message: str, wall_s: float) -> None:
        self._keep("failure", task_id, executor_id, message, wall_s)
        self._line.append((self._surface.deliver_failure, (task_id, executor_id, message, wall_s)))

    def put_late(self, task_id: str, executor_id: str, report: Any) -> None:
        self._keep("late", task_id, executor_id, report)
        self._line.append((self._surface.deliver_late, (task_id, executor_id, report)))

    def put_end(self, executor_id: str, output: dict[str, Any], error: str) -> None:
        self._line.append((self._surface.executor_ended, (executor_id, output, error)))

    def put_warning(self, data: dict[str, Any]) -> None:
        self._line.append((self._surface.deliver_warning, (data,)))


def _forget(*_: Any) -> None:
    """Keep nothing."""
