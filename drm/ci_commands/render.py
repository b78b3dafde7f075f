"""``drm ci render``: this project's own CI templates, from the table of stages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from drm.ci_commands.lines import say
from drm.cicd_integration.rendering import PROVIDERS, render
from drm.reporting.files import write_atomic

__all__ = ["add_to"]

_DRIFTED = 1


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm ci``."""
    parser = commands.add_parser(
        "render",
        help="write DRM's own ci_templates/ from the table of stages (a project of yours: drm ci init)",
        epilog="exit codes: 0: written, or nothing to write; 1: with --check, a file differs; 4: cannot be written",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("ci_templates"), metavar="DIR", help="default: ci_templates"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a file differs")
    parser.set_defaults(call=_render)


def _render(options: argparse.Namespace) -> int:
    code = 0
    for provider in PROVIDERS.values():
        path, text = options.output_dir / provider.shipped, render(provider.name)
        if _read(path) == text:
            continue
        if options.check:
            say(f"{path}: differs from what its template makes of the table; run `drm ci render`")
            code = _DRIFTED
        else:
            write_atomic(path, text)
            say(f"{path}: written")
    return code


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
