"""report.html: one self-contained page, from ``templates/report.html.j2`` and the scripts and styles in ``page/``.

The page asks no network for anything, and its own content security policy would not let it. It is whole without its
scripts: where they may not run (Jenkins), its tables and drawings say the same.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from drm.model.units import format_bytes
from drm.reporting import findings_view, page_findings, page_static, view
from drm.reporting.analysis import analyse
from drm.reporting.attention import attention
from drm.reporting.page_data import page_data
from drm.reporting.page_numbers import six_numbers
from drm.reporting.report import Report
from drm.reporting.text import amount, one_line, plural

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render_html"]

_SWITCH = 'if ("DecompressionStream" in self) document.documentElement.classList.add("js");'
_SCRIPTS = ("data", "time", "theme", "plot", "scaling", "gantt", "utilization", "optimization", "tests", "live", "main")
_GLYPHS = {"failed": "✕", "error": "!", "flaky": "~", "passed": "✓", "xfailed": "✓", "xpassed": "?", "skipped": "-"}


def render_html(report: Report, *, files_at: str = "", exports: Sequence[str] = (), live: bool = False) -> str:
    """Return the text of report.html. ``files_at``: the way from the page to the folder of reports.

    ``exports``: the same report in other formats, by the names of the files beside the page.

    ``live``: it is served while the run goes on; it listens to ``events`` beside its address,
    and takes over what is new.
    """
    runs = view.all_runs(report)
    outer = {id(run) for stage in report.sections for run in stage.runs}
    inside = [(run, id(run) not in outer) for run in runs]
    analyses = [analyse(run.name, run.summary) for run in runs]
    style, script = _style(), _script()
    return _template().render(
        report=report,
        files_at=files_at,
        view=view,
        static=page_static,
        glyphs=_GLYPHS,
        numbers=six_numbers(report),
        attention=attention(report),
        metrics=view.metric_rows(runs),
        forecast_columns=findings_view.FORECAST_COLUMNS,
        forecasts=findings_view.forecast_rows(analyses),
        exports=[(name, quote(name)) for name in exports],
        benchmarks=page_findings.benchmark_views(report),
        trends=page_findings.trend_views(report.trends),
        flaky=page_findings.flaky_rows(report.trends.flaky),
        runs=page_static.run_views(inside),
        data=page_data([(*pair, found) for pair, found in zip(inside, analyses, strict=True)]),
        live=live,
        switch=_SWITCH,
        style=style,
        script=script,
        policy=_policy(style, (_SWITCH, script), live=live),
    )


@cache
def _template() -> Template:
    """Return the page's template. It is compiled once: that takes longer than to fill it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context

    environment = Environment(
        loader=PackageLoader("drm.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        line=one_line, plural=plural, seconds=amount, cell=view.cell_text, size=format_bytes, link=pass_context(_link)
    )
    return environment.get_template("report.html.j2")


def _link(context: Mapping[str, Any], path: str) -> str:
    """Return the way from the page to a file of the folder of reports; a name may be no UTF-8."""
    files_at = context["files_at"]
    return quote(os.fsencode(f"{files_at}/{path}" if files_at else path))


@cache
def _style() -> str:
    page = files("drm.reporting") / "page"
    return (page / "uplot" / "uPlot.min.css").read_text("utf-8") + "\n" + (page / "page.css").read_text("utf-8")


@cache
def _script() -> str:
    """Return uPlot and our own parts, which share one scope."""
    page = files("drm.reporting") / "page"
    parts = [(page / f"{name}.js").read_text("utf-8") for name in _SCRIPTS]
    own = '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"
    return (page / "uplot" / "uPlot.iife.min.js").read_text("utf-8") + "\n" + own


def _policy(style: str, scripts: tuple[str, ...], *, live: bool) -> str:
    """Return a content security policy under which nothing runs but what is ours; only a live page may fetch itself."""
    allowed = " ".join(_digest(script) for script in scripts)
    fetched = "connect-src 'self'; " if live else ""
    own = f"script-src {allowed}; style-src {_digest(style)}"
    return f"default-src 'none'; {fetched}{own}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
