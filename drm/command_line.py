"""What the parsers of all commands have in common: how they fail, and that a shell can complete them."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

__all__ = ["USAGE_ERROR", "Parser", "count", "seconds"]

USAGE_ERROR = 4  # pytest's
_LONGEST = 400


def seconds(text: str) -> float:
    """Return the seconds that an option gives: a number, 0 or more."""
    with suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no time; give seconds, such as 300")


def count(text: str) -> int:
    """Return the whole number above 0 that an option gives."""
    with suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no count; give a number above 0")


class _Commands(argparse._SubParsersAction):  # type: ignore[type-arg]
    """Commands whose own help begins with what the list of commands says of them, if it has no other words."""

    def add_parser(self, name: str, **given: Any) -> Any:
        told = given.get("help")
        if told:
            given.setdefault("description", f"{told[0].upper()}{told[1:]}.")
        return super().add_parser(name, **given)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line after the usage, with pytest's exit code for them.

    Where a shell asks for completions (https://kislyuk.github.io/argcomplete/, the extra ``completion``), parsing
    prints those and ends the process.
    """

    _is_asked = "_ARGCOMPLETE" in os.environ

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: error: {' '.join(message.split())[:_LONGEST]}\n")

    def add_subparsers(self, **given: Any) -> Any:
        return super().add_subparsers(**{"action": _Commands, **given})

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        if Parser._is_asked:
            Parser._is_asked = False  # it parses on its own behalf
            with suppress(ImportError):
                import argcomplete

                argcomplete.autocomplete(self)
        return super().parse_known_args(args, namespace)
