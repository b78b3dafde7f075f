"""Lines for a job's log."""

from __future__ import annotations

from drm.reporting.text import one_line

__all__ = ["say"]


def say(text: str) -> None:
    """Print a line of ours. It begins with ``drm:``, so GitHub's runner takes it for no command."""
    print(f"drm: {one_line(text, 1000)}", flush=True)
