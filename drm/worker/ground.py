"""What every test stands on: a working directory and a temporary folder that exist."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import pytest


class Ground:
    """Made anew where a test took it away: the tests after it are not to blame.

    A directory that a test went to and left there is not left again: a fixture may have gone there for many tests.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._start = str(config.invocation_params.dir)
        self._factory: Any = getattr(config, "_tmp_path_factory", None)

    def restore(self) -> None:
        try:
            os.getcwd()
        except OSError:
            with suppress(OSError):
                os.chdir(self._start)
        basetemp = self._factory._basetemp if self._factory is not None else None
        if basetemp is not None and not os.path.isdir(basetemp):
            with suppress(OSError):  # then the test that wants it says so
                os.makedirs(basetemp, 0o700, exist_ok=True)
