"""A surface that nobody looks at: it keeps what is said to a person."""

from __future__ import annotations

from typing import Any

from drm.ports import Status


class QuietSurface:
    """Implements ``drm.ports.Surface``. ``said``: the lines for a person, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def deliver(self, task_id: str, executor_id: str, reports: list[Any], flaky: str) -> None: ...

    def deliver_failure(self, task_id: str, executor_id: str, message: str, wall_s: float) -> None: ...

    def deliver_late(self, task_id: str, executor_id: str, report: Any) -> None: ...

    def deliver_warning(self, data: dict[str, Any]) -> None: ...

    def settle(self) -> None: ...

    def show_line(self, executor_id: str, test: str, line: str) -> None: ...

    def executor_starts(self, executor_id: str) -> dict[str, Any]:  # noqa: ARG002 - the port's signature
        return {}

    def executor_ended(self, executor_id: str, output: dict[str, Any], error: str) -> None: ...

    def stop_wanted(self) -> str:
        return ""

    def say(self, line: str) -> None:
        self.said.append(line)

    def show_status(self, status: Status) -> None: ...
