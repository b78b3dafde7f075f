"""Files of reports: written whole or not at all, read with errors that name file and remedy."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from drm.model.errors import ConfigError, DrmError

__all__ = ["cannot_write", "read_json", "write_atomic"]


def cannot_write(path: Path, error: OSError) -> DrmError:
    """Return the one-line error for a file that could not be written."""
    why = error.strerror or str(error) or type(error).__name__
    return DrmError(f"{path}: cannot be written ({why})", remedy="free some space or choose another folder")


def write_atomic(path: Path, text: str) -> None:
    """Write the file through a neighbour and a rename, so that a reader never sees half of it.

    What UTF-8 cannot hold (a lone surrogate in a test's name) is written as ``?``. Raises DrmError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from error


def read_json(path: Path, *, remedy: str = "run the stage again") -> dict[str, Any]:
    """Return the JSON object in the file; ConfigError says in one line why it is none."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})", remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is damaged ({error})", remedy=remedy) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: is damaged (no JSON object)", remedy=remedy)
    return data
