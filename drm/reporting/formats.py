"""Writes a report in the formats asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from drm.model.errors import ConfigError
from drm.reporting.collect import build_report
from drm.reporting.files import check_folder, write_atomic
from drm.reporting.html import render_html
from drm.reporting.json_report import render_json
from drm.reporting.markdown import render_markdown
from drm.reporting.report import Link, Report

__all__ = ["FORMATS", "write_reports"]

FORMATS: dict[str, Callable[..., str]] = {"json": render_json, "md": render_markdown, "html": render_html}


def write_reports(
    reports_dir: Path,
    *,
    out_dir: Path | None = None,
    formats: Sequence[str] = tuple(FORMATS),
    report: Report | None = None,
    links: Sequence[Link] = (),
) -> dict[str, Path]:
    """Write ``report.<format>`` from what lies in ``reports_dir`` (into it, unless told); return where.

    ``links``: where in CI it is made; a ``report`` that is given has its own.

    Raises ConfigError for an unknown format and for a folder that is not there, DrmError when a file cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ConfigError(f"report format {unknown[0]!r} is not known", remedy=f"choose from {', '.join(FORMATS)}")
    source = Path(reports_dir)
    target = Path(out_dir) if out_dir is not None else source
    if report is None:
        check_folder(source)
        report = build_report(source, links=links)
    written = {}
    for name in formats:
        path = target / f"report.{name}"
        if name == "html":
            text = render_html(report, files_at="" if target == source else _way(source, target))
        else:
            text = FORMATS[name](report)
        write_atomic(path, text)
        written[name] = path
    return written


def _way(source: Path, target: Path) -> str:
    return Path(os.path.relpath(source, target)).as_posix()
