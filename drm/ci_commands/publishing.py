"""Puts the commit status and the comment of a report where the job's provider shows them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence

from drm.ci_commands.lines import say
from drm.cicd_integration import github_api, gitlab_api
from drm.cicd_integration.context import Context
from drm.cicd_integration.http_client import Client
from drm.cicd_integration.publishing import Notice, Publisher, Target, Withheld, publish, target_of
from drm.model.errors import DrmError
from drm.reporting.annotations import command
from drm.reporting.comment import comment_marker, render_comment
from drm.reporting.report import Report, State
from drm.reporting.text import one_line
from drm.reporting.verdict import names_left_out
from drm.session import SystemClock

__all__ = ["notice_of", "publish_report"]

_APIS: Mapping[str, tuple[Callable[[str], Mapping[str, str]], Callable[[Client, Target], Publisher]]] = {
    "github": (github_api.headers_of, github_api.GitHub),
    "gitlab": (gitlab_api.headers_of, gitlab_api.GitLab),
}
_FAILURES = (State.FAILING, State.PARTIAL)
_LONGEST_NAME = 100


def publish_report(
    report: Report,
    context: Context,
    environ: Mapping[str, str],
    *,
    name: str,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Publish what there is to publish, say in a line how each came out; tell whether all is as it should be."""
    try:
        target = target_of(context, environ)
    except DrmError as error:
        target = Withheld(why=str(error), is_meant=False)
    if isinstance(target, Withheld):
        say(f"nothing is published: {target.why}")
        return target.is_meant

    def connect(target: Target) -> tuple[Client, Publisher]:
        headers, api = _APIS[target.service]
        client = Client(
            target.api_url,
            headers=headers(target.token),
            secret=target.token,
            pause=pause,
            utc=SystemClock().utc,
        )
        return client, api(client, target)

    is_good = True
    for outcome in publish(target, notice_of(report, context, name), connect):
        is_good = is_good and outcome.is_good
        say(outcome.line if outcome.is_good else f"not published: {outcome.line}")
        if not outcome.is_good and target.service == "github":
            print(command("warning", outcome.line, title="DRM: not published"), flush=True)
    return is_good


def notice_of(report: Report, context: Context, name: str) -> Notice:
    """Return what is told of the report. Only passing is a success: what is missing was not tested.

    The status of a run that was asked to leave something out has that in its name: it takes no other's place, so
    nothing that failed becomes good by leaving it out.
    """
    state = "success" if report.state is State.PASSING else "failure" if report.state in _FAILURES else "error"
    return Notice(
        name=_name_of(name, names_left_out(report.stages)),
        state=state,
        description=one_line(report.headline, 140),
        comment=render_comment(report, name=name, commit=context.sha or ""),
        marker=comment_marker(name),
        target_url=context.run_url,
    )


def _name_of(name: str, left_out: Sequence[str]) -> str:
    """Return the name of a status, of at most 100 characters; what is cut off still makes it another one."""
    full = f"{name} (without {', '.join(left_out)})" if left_out else name
    if len(full) <= _LONGEST_NAME:
        return one_line(full, _LONGEST_NAME)
    mark = hashlib.sha256(full.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{one_line(full, _LONGEST_NAME - len(mark) - 1)} {mark}"
