"""In which turn tests come within one process."""

from __future__ import annotations

from collections.abc import Iterable

from drm.resource_optimizer.kinds import Kind

__all__ = ["Turns"]


class Turns:
    """How far each executor has come: none begins a test of an earlier turn after one of a later turn.

    Turn 0 may come at any time.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}

    def of(self, executor_id: str) -> int:
        """Return the latest turn of which the executor has been given a test."""
        return self._reached.get(executor_id, 0)

    def open_to(self, executor_id: str, kinds: Iterable[Kind]) -> list[Kind]:
        """Return the kinds of which the executor may begin something new. A group goes on as it was collected."""
        reached = self.of(executor_id)
        return [kind for kind in kinds if not 0 < kind.requirements.turn < reached]

    def reach(self, executor_id: str | None, turn: int) -> None:
        """The executor is given a test of that turn."""
        if executor_id is not None and turn > self.of(executor_id):
            self._reached[executor_id] = turn

    def forget(self, executor_id: str) -> None:
        self._reached.pop(executor_id, None)
