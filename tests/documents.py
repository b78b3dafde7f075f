"""Pages of documentation as programs: the files that they show, the commands that they give, what those print.

A code block after a line that ends with ``name.py`` in backquotes and a colon is that file. A block marked
``console`` has commands, each behind ``$``, and what they print, with ``...`` for what differs (as in doctest).

``python tests/documents.py PAGE`` writes what the commands print now into the page, for those whose output has no
``...`` in it.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(?P<kind>[\w-]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"`(?P<name>[\w./-]+)`:$")
_INSTALLS = "python -m pip install"  # what it installs is there
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Step:
    """A file to write (``path``) or a command to run; ``text`` is what is in it, or what it prints."""

    path: str = ""
    command: str = ""
    text: str = ""


def steps_of(page: str) -> Iterator[Step]:
    """Give what a page does, in order."""
    for block in _BLOCK.finditer(page):
        before = page[: block.start()].rstrip().rpartition("\n")[2]
        named = _NAMED.search(before)
        if block["kind"] == "console":
            for part in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
                command, _, printed = part.partition("\n")
                yield Step(command=command, text=printed)
        elif named:
            yield Step(path=named["name"], text=block["text"])


def run(command: str, folder: Path) -> str:
    """Run a command of a page in a folder; return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_", "COV_"))}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**inherited, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return done.stdout


def problems_of(page: str, folder: Path) -> list[str]:
    """Do what a page does in a folder; return the commands that print something else than it says."""
    checker, problems = doctest.OutputChecker(), []
    for step in steps_of(page):
        if step.path:
            Path(folder, step.path).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, step.path).write_text(step.text, encoding="utf-8")
        elif not step.command.startswith(_INSTALLS):
            printed = run(step.command, folder)
            if not checker.check_output(step.text, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE):
                problems.append(f"$ {step.command}\nexpected:\n{step.text}\nprinted:\n{printed}")
    return problems


def _write(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for step in steps_of(page):
            if step.command and "..." not in step.text.splitlines() and not step.command.startswith(_INSTALLS):
                old, new = f"$ {step.command}\n{step.text}", f"$ {step.command}\n{run(step.command, Path(folder))}"
                page = page.replace(old, new, 1)
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        _write(Path(name))
