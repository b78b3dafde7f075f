"""``drm ci context``: where this run happens, by the provider's variables."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drm.ci_commands import git
from drm.cicd_integration.context import Context, detect
from drm.reporting.text import one_line

__all__ = ["add_to", "current_context"]

_MOST_EVENT_BYTES = 32 * 2**20  # GitHub's own limit of a payload is 25 MB


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm ci``."""
    parser = commands.add_parser("context", help="show branch, commit, request and links, as the provider says them")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(call=_show)


def current_context(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Context:
    """Return the context of this process: of the environment, of GitHub's event file and, without a provider, of git.

    Never raises: an event file that cannot be read is one more thing that is not known.
    """
    environ = os.environ if environ is None else environ
    context = detect(environ, _event(environ))
    if context.provider != "generic":
        return context
    folder = folder or Path.cwd()
    branch, sha = (git.ask(folder, *words) for words in (("symbolic-ref", "--short", "HEAD"), ("rev-parse", "HEAD")))
    return dataclasses.replace(
        context,
        branch=context.branch or (branch or "").strip() or None,
        sha=context.sha or (sha or "").strip() or None,
    )


def _event(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the payload of the event that started a GitHub workflow; nothing where there is none."""
    path = environ.get("GITHUB_EVENT_PATH")
    if environ.get("GITHUB_ACTIONS") != "true" or not path:
        return {}
    try:
        with open(path, "rb") as file:
            event = json.loads(file.read(_MOST_EVENT_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, Mapping) else {}


def _show(options: argparse.Namespace) -> int:
    context = current_context()
    known = {**dataclasses.asdict(context), "is_default_branch": context.is_default_branch}
    if options.json:
        print(json.dumps(known, indent=2))
        return 0
    width = max(map(len, known))
    for name, value in known.items():
        print(f"{name:<{width}}  {_shown(value)}")
    return 0


def _shown(value: object) -> str:
    if value is None:
        return "not known"
    return ("yes" if value else "no") if isinstance(value, bool) else one_line(str(value))
