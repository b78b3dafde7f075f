"""The lines by which a README shows badges, through shields' endpoint badge (https://shields.io/badges/endpoint-badge)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from drm._badges.rendering import Badge
from drm.cicd_integration.context import Context
from drm.reporting.markdown_page import escape

__all__ = ["PLACEHOLDER", "default_branch", "folder_in_repository", "markdown_lines", "raw_files"]

PLACEHOLDER = "username/repo"
_GITHUB_FILES = "https://raw.githubusercontent.com/{repository}/{branch}"


def markdown_lines(
    badges: Sequence[Badge], *, repository: str, branch: str, folder: str, raw: str = _GITHUB_FILES
) -> list[str]:
    """Return the line of each badge. ``folder``: in the repository; ``raw``: as ``raw_files`` gives it."""
    place = raw.format(repository=_quoted(repository), branch=_quoted(branch))
    folder = _quoted(folder.strip("/"))
    lines = []
    for badge in badges:
        address = "/".join(part for part in (place, folder, f"{_quoted(badge.name)}.json") if part)
        # It is a parameter of another address, so what is quoted in it is quoted once more.
        lines.append(f"![{escape(badge.label)}](https://img.shields.io/endpoint?url={_quoted(address, ':/')})")
    return lines


def raw_files(context: Context) -> str:
    """Return where the provider shows files of a repository as they are, with ``{repository}`` and ``{branch}``."""
    server = (context.api_url or "").replace("{", "").replace("}", "")
    if context.provider == "gitlab" and server:
        return server.removesuffix("/api/v4") + "/{repository}/-/raw/{branch}"
    if context.provider == "github" and server.endswith("/api/v3"):  # GitHub Enterprise Server
        return server.removesuffix("/api/v3") + "/{repository}/raw/{branch}"
    return _GITHUB_FILES


def default_branch(context: Context) -> str:
    """Return the branch whose badges a README shows: the default one, else the one that is built, else ``main``."""
    built = context.target_branch if context.is_pr else context.branch
    return context.default_branch or (built if context.provider != "generic" else None) or "main"


def folder_in_repository(folder: Path, here: Path) -> str:
    """Return the folder as seen from ``here``, the repository; one that is outside as it is named."""
    try:
        inside = (here / folder).resolve().relative_to(here.resolve()).as_posix()
    except ValueError:
        return folder.as_posix()
    return "" if inside == "." else inside


def _quoted(text: str, safe: str = "/") -> str:
    return quote(text, safe=safe, errors="replace")
