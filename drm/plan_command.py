"""``drm plan``: what a run would do, before it does. Collects as ``drm run`` does, and runs no test."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]

_HELP = """\
usage: drm plan [--dry-run] [PYTEST OPTIONS] [--drm-... OPTIONS] [FILES]

Say what "drm run" with the same arguments would do: collect the tests, predict what they need,
and play the run in virtual time. Printed are the worker types that pay off and why the others do
not, the first decisions with trigger, inputs, alternatives and reason, the makespan and the cost.
No test is run and nothing is created.

  --dry-run   also ask the providers whether they would create each type (EC2: DryRun)
"""


def main(arguments: Sequence[str]) -> int:
    """Run ``drm plan ARGUMENTS``; return pytest's exit code."""
    given = list(arguments)
    if given[:1] in (["--help"], ["-h"]):
        print(_HELP)
        return 0
    import pytest

    from drm.plugin_entry import arguments_for_plugin

    asks = "dry-run" if "--dry-run" in given else "yes"
    given = [argument for argument in given if argument != "--dry-run"]
    return int(pytest.main([*arguments_for_plugin(), "--drm", f"--drm-plan={asks}", *given]))
