"""The clock that runs on while a test freezes time.

Libraries such as freezegun put another function in place of those of ``time`` wherever a module has it, also under
another name; they do not look at defaults of parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["running_s"]


def running_s(_clock: Callable[[], float] = time.monotonic) -> float:
    """Return seconds that only go forward; the origin means nothing."""
    return _clock()
