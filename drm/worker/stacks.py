"""The Python stacks of an executor, in a file that outlives it: what it was doing when it was given up, or crashed.

The agent makes the file (it has no name, so that none is left), the executor writes on its signal or
on a fatal error, and the agent reads when the executor is gone. That works while the interpreter is held by C
code, and after a test has put handlers of its own in place of ours for the common signals.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile

STACKS_SIGNAL = signal.SIGRTMAX - 5 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2  # nobody's, unlike SIGUSR1
_MOST_BYTES = 64 * 1024


def make_file() -> int:
    """Return the descriptor of a new file for stacks."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("drm-stacks")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def write_on_signal(descriptor: int) -> None:
    """From now on write stacks to the file on the signal, and on a fatal error if somebody wants those told.

    pytest's own plugin (``-p faulthandler``) would have fatal errors on the terminal, amid the reports of other tests.
    """
    faulthandler.register(STACKS_SIGNAL, file=descriptor, all_threads=True, chain=False)
    if faulthandler.is_enabled():
        faulthandler.enable(file=descriptor, all_threads=True)


def written_bytes(descriptor: int) -> int:
    return os.fstat(descriptor).st_size


def read(descriptor: int) -> str:
    """Return what was written, 64 KiB at most."""
    return os.pread(descriptor, _MOST_BYTES, 0).decode("utf-8", "replace").strip()
