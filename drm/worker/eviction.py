"""Ending a process by degrees: first its stacks are written down, then SIGTERM, then SIGKILL. Pure."""

from __future__ import annotations

import signal

from drm.worker.stacks import STACKS_SIGNAL

STACKS_S = 1.0
TERM_S = 1.0


class Eviction:
    """Which signal is due when. Stacks are complete when they have been there, unchanged, for two looks."""

    def __init__(self, now_s: float) -> None:
        self._asked_s = now_s
        self._written = -1
        self._termed_s: float | None = None
        self._begun = self._over = False

    def due(self, now_s: float, written_bytes: int) -> int | None:
        """Return the signal to send now, if one is due; each is due once."""
        if not self._begun:
            self._begun = True
            return int(STACKS_SIGNAL)
        if self._termed_s is None:
            complete = 0 < written_bytes == self._written
            self._written = written_bytes
            if complete or now_s - self._asked_s >= STACKS_S:
                self._termed_s = now_s
                return int(signal.SIGTERM)
        elif not self._over and now_s - self._termed_s >= TERM_S:
            self._over = True
            return int(signal.SIGKILL)
        return None
