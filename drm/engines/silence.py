"""Workers that are connected and say nothing: stopped, frozen, or cut off without anybody closing the connection."""

from __future__ import annotations

__all__ = ["SILENT_S", "Silence"]

SILENT_S = 15.0  # an agent says how much it uses every five seconds at least, however busy its tests are


class Silence:
    """When each worker was last heard. ``limit_s``: seconds after which one counts as lost."""

    def __init__(self, limit_s: float = SILENT_S) -> None:
        self.limit_s = limit_s
        self._heard: dict[str, float] = {}

    def heard(self, worker_id: str, now_s: float) -> None:
        self._heard[worker_id] = now_s

    def forget(self, worker_id: str) -> None:
        self._heard.pop(worker_id, None)

    def silent(self, now_s: float) -> list[str]:
        """Return the workers that have said nothing for too long. Ask only after all that has arrived was read."""
        return [worker_id for worker_id, heard_s in self._heard.items() if now_s - heard_s > self.limit_s]
