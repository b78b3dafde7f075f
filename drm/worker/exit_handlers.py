"""What is to be done when a process ends, in one that was forked: its own, not what its parent had registered."""

from __future__ import annotations

import atexit
import weakref


def forget_those_of_parent() -> None:
    """Leave to the parent what was registered before the fork, such as the removal of a temporary folder."""
    atexit._clear()
    registered: bool = getattr(weakref.finalize, "_registered_with_atexit", False)
    for finalizer in tuple(getattr(weakref.finalize, "_registry", ())):
        finalizer.atexit = False
    if registered:  # finalizers have but one handler, which they register once
        atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]


def run() -> None:
    """Do what has been registered; tracebacks of what fails go to stderr, as when an interpreter ends."""
    atexit._run_exitfuncs()
