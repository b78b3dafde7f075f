"""Whether a process that says nothing is hung. Pure: what /proc tells and the time in, a verdict out.

An executor has no thread that could send heartbeats: the zygote must not have one, and a test that
holds the interpreter in C for an hour would silence it, though that is its right as long as no timeout says otherwise.
So the agent listens for a pulse from outside. While a test runs only a process that was stopped is hung.
Between tests there is a second sign: it has work, it has not begun, and it uses no cpu.
"""

from __future__ import annotations

STOPPED_S = 5.0
SILENT_S = 120.0  # fixtures of a module or the session may wait that long for something as they are torn down
_PROGRESS_S = 0.02  # of cpu time


class Pulse:
    """One process. ``look`` at it about once a second."""

    def __init__(self) -> None:
        self._stopped_since_s: float | None = None
        self._silent_since_s: float | None = None
        self._cpu_s = 0.0

    def look(self, now_s: float, *, state: str, cpu_s: float, waits: bool) -> str:
        """Return why the process is taken for hung, or an empty string.

        ``state``: the letter that proc(5) has for it. ``waits``: it was sent work and has not begun a test.
        """
        if state != "T":
            self._stopped_since_s = None
        elif self._stopped_since_s is None:
            self._stopped_since_s = now_s
        elif now_s - self._stopped_since_s >= STOPPED_S:
            return f"it was stopped (by SIGSTOP or the like) and did not go on within {STOPPED_S:g} s"
        if not waits or self._silent_since_s is None or cpu_s > self._cpu_s + _PROGRESS_S:
            self._silent_since_s, self._cpu_s = (now_s, cpu_s) if waits else (None, cpu_s)
        elif now_s - self._silent_since_s >= SILENT_S:
            return f"it was sent tests, and for {SILENT_S:g} s it neither began one nor used the processor"
        return ""
