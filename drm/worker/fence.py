"""Between a test and its machine's lease: its code is not begun once that is over, however far its setup has come.

A machine can be stopped at any moment. The executor has looked at the lease before it began the test; by the time the
test's own code is to run, seconds may have passed, in a fixture or while the machine stood still.
"""

from __future__ import annotations

import pytest

from drm.worker.lease import Lease

__all__ = ["Fence"]


class Fence:
    """A pytest plugin of executors whose machine has a lease."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self._lease.wait()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self._lease.wait()
