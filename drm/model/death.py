"""How an executor ended when it should not have: what was seen of it, and what that amounts to."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class DeathKind(str, enum.Enum):
    """What ended an attempt from outside the test."""

    MEMORY = "memory"  # it, or all together, used more than there is
    CRASH = "crash"  # a signal or an exit that the test brought about
    TIMEOUT = "timeout"
    HUNG = "hung"  # it was stopped, or made no progress although it had work
    STOPPED = "stopped"  # we ended it, because the run ended
    LOST = "lost"  # its worker is gone
    OUTRUN = "outrun"  # we ended it, because another attempt at the same test ended first


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """What was seen of an executor's end.

    ``killed_for`` and ``reason``: why we killed it; None and empty where we did not. ``exit_code`` or ``signal``:
    what its parent was told. ``peak_rss_bytes``: the most it held since its last test began, or, where the
    kernel cannot tell, since it was started. ``oom_kills``: processes that the kernel killed for memory in its
    cgroup about that time. ``stacks``: the Python stacks of its threads, where it could still write them.
    """

    reason: str = ""
    killed_for: DeathKind | None = None
    exit_code: int | None = None
    signal: str | None = None
    peak_rss_bytes: int = 0
    oom_kills: int = 0
    stacks: str = ""

    @property
    def kind(self) -> DeathKind:
        """Return what the evidence amounts to.

        Who was killed by us was killed for what we said. The kernel's OOM killer sends SIGKILL and counts
        it; a SIGKILL that it did not count came from somewhere else, mostly from the test itself.
        """
        if self.killed_for is not None:
            return self.killed_for
        if self.signal == "SIGKILL" and self.oom_kills:
            return DeathKind.MEMORY
        return DeathKind.CRASH
