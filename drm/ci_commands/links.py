"""The pages of the CI provider that a report leads to."""

from __future__ import annotations

from drm.ci_commands.context import current_context
from drm.cicd_integration.context import Context
from drm.reporting.report import Link

__all__ = ["current_links", "links_of"]


def current_links() -> tuple[Link, ...]:
    """Return the links of this process's job; none where it is no CI's."""
    return links_of(current_context())


def links_of(context: Context) -> tuple[Link, ...]:
    """Return the links that are known: run, artifacts, commit, request."""
    request = {"github": "pull request", "gitlab": "merge request"}.get(context.provider, "change request")
    pages = (
        ("run", context.run_url),
        ("artifacts", context.artifacts_url),
        (f"commit {context.sha[:12]}" if context.sha else "commit", context.commit_url),
        (f"{request} {context.request_number}" if context.request_number else request, context.request_url),
    )
    return tuple(Link(title=title, url=url) for title, url in pages if url)
