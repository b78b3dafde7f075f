"""The Python stacks of an executor, in a file that outlives it: what it was doing when it was given up, or crashed.

The agent makes the file (it has no name, so that none is left), the executor writes on its signal or
on a fatal error, and the agent reads when the executor is gone. That works while the interpreter is held by C
code, and after a test has put handlers of its own in place of ours for the common signals.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import tempfile
from pathlib import Path

STACKS_SIGNAL = signal.SIGRTMAX - 5 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2  # nobody's, unlike SIGUSR1
_MOST_BYTES = 64 * 1024
_PLACES = (
    r"<[^\"]*>",
    rf"{re.escape(str(Path(__file__).resolve().parents[1]))}/[^\"]*",
    r"[^\"]*/(site|dist)-packages/(_pytest|pytest|pluggy|coverage)/[^\"]*",
    r"[^\"]*/bin/(pytest|py\.test|drm|coverage)",
)
_RUNNER = re.compile(rf'  File "({"|".join(_PLACES)})", line ')


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
    """Return what was written, 64 KiB at most, without what ran the tests."""
    return without_runner(os.pread(descriptor, _MOST_BYTES, 0).decode("utf-8", "replace").strip())


def without_runner(text: str) -> str:
    """Return the stacks without the outermost frames of pytest and DRM, which say nothing of the test."""
    lines: list[str] = []
    frames: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith('  File "'):
            frames.append(line)
        else:
            lines += [*_own(frames), line]
            frames = []
    return "\n".join(lines).rstrip("\n")


def _own(frames: list[str]) -> list[str]:
    own = len(frames)
    while own and _RUNNER.match(frames[own - 1]):
        own -= 1
    return [*frames[:own], f"  and {len(frames) - own} frames of pytest and DRM"] if 0 < own < len(frames) else frames
