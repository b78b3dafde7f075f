"""What git says of the working tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from drm.model.errors import ConfigError
from drm.reporting.text import one_line

__all__ = ["answer", "ask"]

_NO_REPOSITORY = "not a git repository"


def ask(folder: Path, *arguments: str) -> str | None:
    """Return what ``git ARGUMENTS`` prints when run in ``folder``; None if it fails, or there is no git.

    Paths that it prints may hold any byte: undecodable ones are kept as surrogates.
    """
    code, out, _ = _run(folder, arguments)
    return out if code == 0 else None


def answer(folder: Path, *arguments: str, what: str) -> str:
    """Return the same; where it fails, raise ConfigError with git's own words after ``what``."""
    code, out, complaint = _run(folder, arguments)
    if code == 0:
        return out
    if _NO_REPOSITORY in complaint:
        raise ConfigError(f"{what}: {one_line(str(folder))} is in no git repository", remedy="go to one")
    lines = [line for line in complaint.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("fatal")), lines[0] if lines else f"exit code {code}")
    remedy = next((line.strip() for line in lines if line.strip().startswith("git config")), "see what git says")
    raise ConfigError(f"{what}: git {arguments[0]}: {one_line(said)}", remedy=one_line(remedy))


def _run(folder: Path, arguments: tuple[str, ...]) -> tuple[int, str, str]:
    try:
        ran = subprocess.run(
            ["git", *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        return 127, "", f"fatal: {error.strerror}"
    return ran.returncode, ran.stdout.decode("utf-8", "surrogateescape"), ran.stderr.decode("utf-8", "replace")
