"""``drm bench``: what benchmarks of a project, with pytest-benchmark, say of two of its versions."""

from __future__ import annotations

from collections.abc import Sequence

from drm.ci_commands import run_command

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run ``drm bench ARGUMENTS``; return the exit code (4 for a usage error)."""
    own = list(arguments)
    place = own.index("--") if "--" in own else len(own)
    return run_command(
        own[:place],
        pytest=own[place + 1 :],
        prog="drm bench",
        description="What the benchmarks of a project say of its versions.",
        modules=("drm.bench_commands.compare",),
    )
