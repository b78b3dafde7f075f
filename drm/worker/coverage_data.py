"""What coverage.py measures in an executor, saved test by test: a process that is killed loses none but its last test.

pytest-cov and ``coverage run`` start the measuring in the controller (or in a spawned executor); a fork goes on
measuring, but never comes to the end where it would save.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any


class CoverageData:
    """The measuring that is under way in this process, if any: ``find`` returns None where nothing is measured."""

    def __init__(self, coverage: Any, error: type[Exception]) -> None:
        self._coverage = coverage
        self._error = error

    @classmethod
    def find(cls) -> CoverageData | None:
        module = sys.modules.get("coverage")
        current = module.Coverage.current() if module is not None else None
        if module is None or current is None or not _has_file_of_its_own(current):
            return None
        return cls(current, module.CoverageException)

    def flush(self) -> None:
        """Put what was measured since the last time into the file (0.2 ms; ``Coverage.save`` looks for sources too)."""
        with suppress(self._error, OSError):  # a full disk is told by what saves in the end
            self._coverage._collector.flush_data()

    def save(self) -> None:
        with suppress(self._error, OSError):
            self._coverage.save()


def _has_file_of_its_own(current: Any) -> bool:
    """Tell whether each process writes a file with a name of its own (``parallel``): all into one would lose data."""
    name = current.get_option("run:data_file")
    return bool(os.path.basename(current.get_data().data_filename()) != os.path.basename(name))
