"""Files of reports: written whole or not at all, read with errors that name file and remedy."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

from drm.model.errors import ConfigError, DrmError

__all__ = ["cannot_write", "check_folder", "read_json", "stage_folders", "write_atomic"]


_FULL = "free some space or choose another folder"
_IN_THE_WAY = "move away the file or folder that is in the way, or choose another folder"
_FORBIDDEN = "see to the permissions of the folder, or choose another"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), _IN_THE_WAY),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _FORBIDDEN),
}


def cannot_write(path: Path, error: OSError) -> DrmError:
    """Return the one-line error for a file that could not be written, with the remedy for its cause."""
    why = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "choose another folder")
    return DrmError(f"{path}: cannot be written ({why})", remedy=remedy)


def check_folder(path: Path) -> None:
    """Raise ConfigError where there is no folder of reports: a slip of the pen is no empty report."""
    if not path.is_dir():
        what = "is no folder" if path.exists() else "there is no such folder"
        raise ConfigError(f"{path}: {what}", remedy="name the folder that the stages or `drm run` wrote to")


def stage_folders(root: Path, stage: str) -> list[Path]:
    """Return where a stage may have left its files: its own folder, and one per component (``unit-<component>``)."""
    split = sorted(path for path in root.iterdir() if path.name.startswith(f"{stage}-")) if root.is_dir() else []
    return [root / stage, *split]


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
