"""What git says of the working tree. Every answer is None where there is no git, no repository or no such thing."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["ask"]


def ask(folder: Path, *arguments: str) -> str | None:
    """Return what ``git ARGUMENTS`` prints when run in ``folder``; None if it fails.

    Paths that it prints may hold any byte: undecodable ones are kept as surrogates.
    """
    command = ["git", "-c", "core.quotePath=false", *arguments]
    try:
        ran = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return None
    return ran.stdout.decode("utf-8", "surrogateescape") if ran.returncode == 0 else None
