"""What people and machines read of a run: one format, one module.

Everything here is made from the events (``ndjson``), folded by ``drm.summary``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drm.reporting.collect import build_report
    from drm.reporting.formats import write_reports

__all__ = ["build_report", "write_reports"]


def __getattr__(name: str) -> Any:
    """Load the doors when they are used: a run needs only ``ndjson``, and has no time for the rest."""
    if name == "build_report":
        from drm.reporting.collect import build_report

        return build_report
    if name == "write_reports":
        from drm.reporting.formats import write_reports

        return write_reports
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
