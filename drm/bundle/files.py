"""Which files make a project: what git knows or would add; where there is no git, all but what is ignored."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from drm.model.errors import DrmError

# Never needed, and large: also where nothing says that they are ignored.
_LEFT_OUT = frozenset(
    (
        ".git",
        ".hg",
        ".svn",
        ".drm",
        ".nox",
        ".tox",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
    )
)


def project_files(root: Path, exclude: Sequence[str] = ()) -> list[str]:
    """Return the paths of a project's files and links below ``root``, sorted.

    Uncommitted changes count, and new files too unless git ignores them. ``exclude``: patterns of paths (``data/*``).
    """
    found = _git_files(root)
    if found is None:
        found = _all_files(root)
    kept = (path for path in found if not any(fnmatchcase(path, pattern) for pattern in exclude))
    return sorted(path for path in set(kept) if os.path.lexists(root / path))


def _git(root: Path, *arguments: str) -> list[str] | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return [os.fsdecode(path) for path in done.stdout.split(b"\0") if path] if done.returncode == 0 else None


def _git_files(root: Path) -> list[str] | None:
    """Return what git tracks or would add, that of submodules and nested repositories too; None outside git."""
    tracked = _git(root, "ls-files", "-z", "--cached")
    new = _git(root, "ls-files", "-z", "--others", "--exclude-standard")
    if tracked is None or new is None:
        return None
    found: list[str] = []
    for path in (*tracked, *(path for path in new if not _LEFT_OUT.intersection(path.split("/")[:-1]))):
        inner = root / path
        if inner.is_dir() and not inner.is_symlink():
            found += _below(path.rstrip("/"), _git_files(inner) or _all_files(inner))
        else:
            found.append(path)
    return found


def _all_files(root: Path) -> list[str]:
    """Return the files of a folder outside git, without what .gitignore files name, where git is installed."""
    if shutil.which("git") is not None:
        with tempfile.TemporaryDirectory(prefix="drm-git-") as folder:
            if _git(Path(folder), "init", "-q", "--bare", ".") is not None:
                apart = (f"--git-dir={folder}", f"--work-tree={root}")
                listed = _git(root, *apart, "ls-files", "-z", "--others", "--exclude-standard")
                if listed is not None:
                    return [path for path in listed if not _LEFT_OUT.intersection(path.split("/"))]
    found: list[str] = []
    for folder_name, folders, files in os.walk(root, onerror=_unreadable):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        links = [name for name in folders if os.path.islink(os.path.join(folder_name, name))]
        above = os.path.relpath(folder_name, root)
        found += _below("" if above == "." else above, (*files, *links))
    return found


def _below(folder: str, names: Iterable[str]) -> list[str]:
    return [f"{folder}/{name}" if folder else name for name in names]


def _unreadable(error: OSError) -> None:
    raise DrmError(f"{error.filename} cannot be read ({error.strerror})", remedy="change its mode, or ignore it")
