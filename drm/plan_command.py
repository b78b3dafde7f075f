"""``drm plan``: what a run would do, before it does. Collects as ``drm run`` does, and runs no test."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run ``drm plan ARGUMENTS``; return pytest's exit code."""
    given = list(arguments)
    if given[:1] in (["--help"], ["-h"]):
        from drm.run_help import PLAN, print_help

        print_help(PLAN)
        return 0
    import pytest

    from drm.plugin_entry import arguments_for_plugin

    asks = "dry-run" if "--dry-run" in given else "yes"
    given = [argument for argument in given if argument != "--dry-run"]
    return int(pytest.main([*arguments_for_plugin(), "--drm", f"--drm-plan={asks}", *given]))
