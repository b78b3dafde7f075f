"""``drm drain``: a machine finishes what it runs, and leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence

from drm.cluster_commands.parsing import ended_well, say, the_coordinator
from drm.command_line import Parser, seconds
from drm.model.errors import ConfigError, LostError

_LOOK_S = 0.2


def main(arguments: Sequence[str]) -> int:
    """Run ``drm drain ARGUMENTS``; return the exit code: 0 when the machine is gone, 1 when it is not in time, 4."""
    parser = Parser(prog="drm drain", description="Let a machine finish the tests that it runs, and leave.")
    parser.add_argument("worker", metavar="WORKER", help="its name, as drm workers shows it")
    parser.add_argument("--coordinator", default=None, metavar="HOST:PORT", help="which one (default: the only one)")
    parser.add_argument(
        "--timeout", type=seconds, default=3600.0, metavar="SECONDS", help="how long to wait (default: 1 h)"
    )
    options = parser.parse_args(arguments)
    return ended_well(lambda: _drain(options.coordinator, options.worker, options.timeout))


def _drain(address: str | None, name: str, timeout_s: float) -> int:
    state = the_coordinator(address)
    names = [machine.name for machine in state.machines()]
    if name not in names:
        raise ConfigError(
            f"no machine called {name!r} has joined {state.address}",
            remedy=f"there are {', '.join(names)}" if names else "there is none",
        )
    state.ask_to_leave(name)
    say(f"{name} gets no more tests, and leaves when those that it runs have ended")
    deadline = time.monotonic() + timeout_s
    while any(machine.name == name for machine in state.machines()):
        if time.monotonic() > deadline:
            raise LostError(f"{name} has not left in {timeout_s:g} s", remedy="it still will; look with drm workers")
        if not state.is_alive():
            raise LostError(f"the coordinator at {state.address} ended", remedy="its machines leave by themselves")
        time.sleep(_LOOK_S)
    say(f"{name} has left")
    return 0
