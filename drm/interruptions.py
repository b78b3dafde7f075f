"""Ctrl-C and SIGTERM while tests run: the first one ends the run in order, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interruptions:
    """``signal``: the number of the first signal that came, or 0.

    ``end_orderly`` is called with the reason, in the signal's handler; while there is none a
    signal raises KeyboardInterrupt. Only the main thread can handle signals; elsewhere nothing changes.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.end_orderly: Callable[[str], None] | None = _wait_for_the_run

    @contextmanager
    def handled(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
        before = [signal.signal(number, self._handle) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: object) -> None:
        first, self.signal = not self.signal, self.signal or number
        if not first or self.end_orderly is None:
            raise KeyboardInterrupt
        self.end_orderly(f"interrupted by {signal.Signals(number).name}")


def _wait_for_the_run(_reason: str) -> None:
    """There is no run yet that could be ended: it looks at ``signal`` before it begins."""
