"""The comment on a pull or merge request: the verdict, the stages, the first failures, the links."""

from __future__ import annotations

from drm.reporting.attention import attention
from drm.reporting.markdown import add_matrix
from drm.reporting.markdown_page import Page, escape, links_line, mark_of
from drm.reporting.report import Report

__all__ = ["LIMIT_BYTES", "comment_marker", "render_comment"]

LIMIT_BYTES = 20_000  # GitHub takes 65,536 characters, and people read less
_MOST_ROWS = 10


def comment_marker(name: str) -> str:
    """Return the hidden first line by which our comment of that name is found again."""
    tame = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in " ._") else "_" for letter in name[:80]
    )
    return f"<!-- drm ci status: {tame} -->"


def render_comment(report: Report, *, name: str, commit: str = "") -> str:
    """Return the text. ``name``: what is reported on, such as ``DRM tests``; ``commit``: of the request."""
    page = Page(LIMIT_BYTES)
    title = f"{mark_of(report.state.value)} {escape(name, 80)}: {report.state.words}"
    page.add(comment_marker(name), f"### {title}", "", escape(report.headline, 1000), "")
    found = attention(report)
    if found:
        rows = [(item.kind, item.stage, item.what, item.why) for item in found[:_MOST_ROWS]]
        page.table(f"#### What needs a person ({len(found)})", ("kind", "where", "what", "why"), rows)
        if len(found) > _MOST_ROWS:
            page.add(f"{len(found) - _MOST_ROWS} more are in the report.", "")
    add_matrix(page, report, "####")
    if report.coverage is not None:
        page.add(report.coverage.sentence(), "")
    made = f"commit {commit[:12]}" if commit else f"made {report.created_at}"
    page.add(" · ".join(part for part in (escape(made), links_line(report.links)) if part))
    return page.text()
