"""Workers that are connected and say nothing: stopped, frozen, or cut off without anybody closing the connection.

A worker that has no news is silent too: its tests sleep, or it has none. So one that has been silent for half the
limit is asked whether it is there, and is lost only when it has had the other half to answer. That holds as well
where it was the asker who slept, and nobody could be heard.
"""

from __future__ import annotations

import math

__all__ = ["SILENT_S", "Silence"]

SILENT_S = 15.0


class Silence:
    """When each worker was last heard, and asked. ``limit_s``: seconds after which one counts as lost.

    Look only after all that has arrived was read.
    """

    def __init__(self, limit_s: float = SILENT_S) -> None:
        self.limit_s = limit_s
        self._heard: dict[str, float] = {}
        self._asked: dict[str, float] = {}

    def heard(self, worker_id: str, now_s: float) -> None:
        self._heard[worker_id] = now_s
        self._asked.pop(worker_id, None)

    def forget(self, worker_id: str) -> None:
        self._heard.pop(worker_id, None)
        self._asked.pop(worker_id, None)

    def to_ask(self, now_s: float) -> list[str]:
        """Return the workers to ask now; each once for every silence."""
        asked = [
            worker_id
            for worker_id, heard_s in self._heard.items()
            if worker_id not in self._asked and now_s - heard_s >= self.limit_s / 2
        ]
        self._asked.update(dict.fromkeys(asked, now_s))
        return asked

    def lost(self, now_s: float) -> list[str]:
        """Return the workers that were asked and have not answered."""
        return [worker_id for worker_id, asked_s in self._asked.items() if now_s - asked_s >= self.limit_s / 2]

    def due_in_s(self, now_s: float) -> float:
        """Return the seconds until there is somebody to ask, or to give up."""
        since = (self._asked.get(worker_id, heard_s) for worker_id, heard_s in self._heard.items())
        return max(0.0, min(since, default=math.inf) + self.limit_s / 2 - now_s)
