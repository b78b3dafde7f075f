"""What ``drm ci`` does: one module a command, each with ``add_to(commands)``; parse, call, print."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from drm.model.errors import DrmError

__all__ = ["main"]

COMMANDS: tuple[str, ...] = ("context",)  # in the order of the help

_USAGE_ERROR = 4  # pytest's


def main(arguments: Sequence[str]) -> int:
    """Run ``drm ci ARGUMENTS``; return the exit code (4 for a usage error). The command's own are in its help."""
    parser = _Parser(prog="drm ci", description="What a pipeline needs to know of a suite, and says of a run.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name in COMMANDS:
        add_to: Callable[[Any], None] = import_module(f"drm.ci_commands.{name}").add_to
        add_to(commands)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return int(options.call(options))
    except DrmError as error:
        parser.exit(_USAGE_ERROR, f"drm: {error}\n")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_USAGE_ERROR, f"{self.prog}: error: {message}\n")
