"""How pip names the DRM that runs here: jobs install the same one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from drm.cicd_integration.project import REQUIREMENT

__all__ = ["is_of_this_machine", "requirement_of", "requirement_of_this_drm"]

_NAME = REQUIREMENT.partition("[")[0]


def requirement_of_this_drm() -> str:
    """Return the requirement by which pip installs this DRM from where it came: an index, a repository, a folder."""
    try:
        text = distribution(_NAME).read_text("direct_url.json")
        origin = json.loads(text) if text else {}
    except (PackageNotFoundError, ValueError):
        origin = {}
    return requirement_of(origin if isinstance(origin, Mapping) else {})


def requirement_of(origin: Mapping[str, Any]) -> str:
    """Return the requirement of a distribution with this ``direct_url.json``; nothing in it: it is from an index.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    url, vcs = origin.get("url"), origin.get("vcs_info")
    if not isinstance(url, str):
        return REQUIREMENT
    if isinstance(vcs, Mapping):
        url = f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', 'HEAD')}"
    if folder := origin.get("subdirectory"):
        url = f"{url}#subdirectory={folder}"
    return f"{REQUIREMENT} @ {url}"


def is_of_this_machine(requirement: str) -> bool:
    """Tell whether only this machine can install it: it names a folder or a file."""
    return "file:" in requirement or requirement.startswith((".", "/"))
