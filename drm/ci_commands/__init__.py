"""What ``drm ci`` does: one module a command, each with ``add_to(commands)``; parse, call, print.

A command whose parser has ``set_defaults(pytest=[])`` and ``allow_abbrev=False``, and no positional arguments, finds
what is not its own in ``options.pytest``, in the order given: options and paths for pytest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from drm.command_line import USAGE_ERROR, Parser
from drm.model.errors import DrmError

__all__ = ["main", "run_command"]

# In the order of the help.
COMMANDS: tuple[str, ...] = ("init", "run", "discover", "analyze", "context", "status", "publish", "render")


def main(arguments: Sequence[str]) -> int:
    """Run ``drm ci ARGUMENTS``; return the exit code (4 for a usage error). The command's own are in its help."""
    return run_command(
        arguments,
        prog="drm ci",
        description="What a pipeline needs to know of a suite, and says of a run.",
        modules=[f"drm.ci_commands.{name}" for name in COMMANDS],
    )


def run_command(
    arguments: Sequence[str], *, prog: str, description: str, modules: Iterable[str], pytest: Sequence[str] = ()
) -> int:
    """Run one of the commands that the modules add; return its exit code, 4 for a usage error.

    ``pytest``: what was given for pytest after ``--``, where the command has positional arguments of its own.
    """
    parser = Parser(prog=prog, description=description)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for module in modules:
        add_to: Callable[[Any], None] = import_module(module).add_to
        add_to(commands)
    options, others = parser.parse_known_args(arguments)
    if others and not hasattr(options, "pytest"):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if options.command is None:
        parser.print_help()
        return 0
    if pytest:
        options.pytest = list(pytest)
    if others:
        options.pytest = [argument for place, argument in enumerate(others) if place or argument != "--"]
    with suppress(AttributeError):  # whatever a test is called, it is no reason to fail where the terminal is no UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return int(options.call(options))
    except DrmError as error:
        parser.exit(USAGE_ERROR, f"drm: {error}\n")
