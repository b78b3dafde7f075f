"""Writes a report in the formats asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drm.model.errors import ConfigError
from drm.reporting.collect import build_report
from drm.reporting.ctrf import render_ctrf
from drm.reporting.files import check_folder, write_atomic
from drm.reporting.html import render_html
from drm.reporting.json_report import render_json
from drm.reporting.junit import merge_junit
from drm.reporting.markdown import render_markdown
from drm.reporting.openmetrics import render_openmetrics
from drm.reporting.report import Link, Report
from drm.reporting.trace import render_trace

__all__ = ["DEFAULT", "FORMATS", "Around", "Format", "write_reports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """``root``: the folder of reports. ``way``: to it from the file's own folder. ``beside``: the reports there."""

    root: Path
    way: str
    beside: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """``render`` is given the report and where the file and those beside it lie."""

    filename: str
    render: Callable[[Report, Around], str]


FORMATS: dict[str, Format] = {
    "json": Format(filename="report.json", render=lambda report, _: render_json(report)),
    "md": Format(filename="report.md", render=lambda report, _: render_markdown(report)),
    "html": Format(
        filename="report.html",
        render=lambda report, at: render_html(report, files_at=at.way, exports=at.beside),
    ),
    "junit": Format(filename="report.junit.xml", render=lambda report, at: merge_junit(report, at.root).text),
    "ctrf": Format(filename="report.ctrf.json", render=lambda report, _: render_ctrf(report)),
    "trace": Format(filename="report.trace.json", render=lambda report, _: render_trace(report)),
    "openmetrics": Format(filename="report.metrics.txt", render=lambda report, _: render_openmetrics(report)),
}
DEFAULT = ("json", "md", "html")


def write_reports(
    reports_dir: Path,
    *,
    out_dir: Path | None = None,
    formats: Sequence[str] = DEFAULT,
    report: Report | None = None,
    links: Sequence[Link] = (),
) -> dict[str, Path]:
    """Write the files of these formats from what lies in ``reports_dir`` (into it, unless told); return where.

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
    way = "" if target == source else _way(source, target)
    own = FORMATS["html"].filename
    names = [known.filename for name, known in FORMATS.items() if name in formats or (target / known.filename).exists()]
    at = Around(root=source, way=way, beside=tuple(name for name in names if name != own))
    written = {}
    for name in formats:
        path = target / FORMATS[name].filename
        write_atomic(path, FORMATS[name].render(report, at))
        written[name] = path
    return written


def _way(source: Path, target: Path) -> str:
    return Path(os.path.relpath(source, target)).as_posix()
