"""Past attempts, in one file that survives crashes; and in memory, for runs without a file."""

from __future__ import annotations

from drm.history.guarded import open_history, past_trends
from drm.history.memory import MemoryHistory

__all__ = ["MemoryHistory", "open_history", "past_trends"]
