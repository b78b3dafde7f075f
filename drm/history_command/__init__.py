"""``drm history``: look at what is remembered of past attempts, and carry it from one place to another."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from drm.command_line import USAGE_ERROR, Parser
from drm.history_command import carrying, showing
from drm.model.errors import DrmError

__all__ = ["main"]

_EPILOG = "Exit code: 0; 1 for a test that is not known; 4 for wrong options or files. docs/history.md explains them."


def main(arguments: Sequence[str]) -> int:
    """Run ``drm history ARGUMENTS``; return the exit code."""
    parser = Parser(
        prog="drm history", description="Past attempts, as runs have recorded them in .drm/history.db.", epilog=_EPILOG
    )
    parser.add_argument(
        "--file", type=Path, default=Path(".drm", "history.db"), help="the history (default: .drm/history.db)"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    showing.add_to(commands)
    carrying.add_to(commands)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    with suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return int(options.call(options))
    except DrmError as error:
        parser.exit(USAGE_ERROR, f"drm: {error}\n")
    except sqlite3.Error as error:
        parser.exit(USAGE_ERROR, f"drm: {options.file} cannot be used ({error}): move it away, or free some space\n")
