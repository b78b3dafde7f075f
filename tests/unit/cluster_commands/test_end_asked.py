"""What ends ``drm coordinator`` and ``drm worker``: Ctrl-C, SIGTERM, the end of the terminal; not under nohup."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from drm.cluster_commands.parsing import end_asked

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(("before", "ends"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_signal_that_is_ignored_ends_nothing(number: signal.Signals, before: Any, ends: bool) -> None:
    handler = signal.signal(number, before)
    try:
        with end_asked() as asked:
            os.kill(os.getpid(), number)
            assert asked.is_set() == ends
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, handler)
