"""Whether pytest finds DRM's plugin by itself."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

__all__ = ["arguments_for_plugin"]


def arguments_for_plugin() -> list[str]:
    """Return the options by which pytest finds the plugin: none where it is installed, and found anyway.

    It is not when run from a source tree that is not installed.
    """
    if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        return ["-p", "drm.pytest_plugin"]
    is_found = any(entry.value == "drm.pytest_plugin" for entry in entry_points(group="pytest11"))
    return [] if is_found else ["-p", "drm.pytest_plugin"]
