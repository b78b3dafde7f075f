"""An executor in an interpreter of its own: ``python -m drm.worker.spawned SOCKET STACKS``.

For platforms without fork, and suites that cannot be forked. It collects for itself.
The suite and the executor's id come in the environment.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from drm.worker import exit_handlers
from drm.worker.linux import adopt_orphans, bury_children, die_before_others, die_with_parent

if TYPE_CHECKING:
    import pytest

    from drm.worker.suite import Suite

SUITE_VARIABLE = "DRM_SUITE"
EXECUTOR_VARIABLE = "DRM_EXECUTOR_ID"


def environment_for(suite: Suite, executor_id: str) -> dict[str, str]:
    """Return the environment in which a spawned executor finds its suite and its name."""
    return {**os.environ, SUITE_VARIABLE: suite.to_json(), EXECUTOR_VARIABLE: executor_id}


def main(descriptor: int, stacks: int) -> int:
    die_with_parent()
    die_before_others()
    # Until tests run there is nothing to tear down. Set before the imports that take long.
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    adopt_orphans()
    from drm.worker.channel import Channel
    from drm.worker.executor import Executor
    from drm.worker.stacks import write_on_signal
    from drm.worker.suite import Suite, collect_and, items_of

    suite = Suite.from_json(os.environ.pop(SUITE_VARIABLE))
    executor_id = os.environ.pop(EXECUTOR_VARIABLE)
    channel = Channel(socket.socket(fileno=descriptor))
    greeting = channel.next()
    if greeting is None:
        return 0

    def loop(session: pytest.Session) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        write_on_signal(stacks)
        with suppress(KeyboardInterrupt):
            Executor(session, channel, items_of(session), max_failures=suite.max_failures).serve(tear_down=False)

    code = collect_and(suite, suite.identity(executor_id, greeting[1]), loop)
    channel.close()
    bury_children()
    return 0 if code in (0, 1, 5) else code


if __name__ == "__main__":
    _code = main(*map(int, sys.argv[1:]))
    # sys.exit would wait for threads that tests left running.
    exit_handlers.run()
    for _stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            _stream.flush()
    os._exit(_code)
