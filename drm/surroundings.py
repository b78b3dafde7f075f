"""Where a run happens: the machine, as far as its times may be compared, the revision, DRM's own folder."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

__all__ = ["ignore_by_git", "machine_class", "revision"]


def machine_class() -> str:
    """Return a text that is equal on machines whose times may be compared."""
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return f"{platform.system()}-{platform.machine()}-{os.cpu_count()}c-{python}".lower()


def revision(rootdir: Path) -> tuple[str, str]:
    """Return commit and branch of the project, or empty strings outside git."""
    command = ["git", "-C", str(rootdir), "rev-parse", "HEAD", "--abbrev-ref", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return "", ""
    lines = done.stdout.split()
    return (lines[0], lines[1]) if done.returncode == 0 and len(lines) == 2 else ("", "")


def ignore_by_git(folder: Path) -> None:
    """Make DRM's folder with a .gitignore of its own, as pytest does with its cache."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / ".gitignore"
    if not marker.exists():
        marker.write_text("# made by drm\n*\n", encoding="utf-8")
