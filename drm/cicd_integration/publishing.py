"""Whether a job may publish how it came out, where, and with which token; and the publishing itself.

Nothing is published for a fork: its code ran in this job and could have written any result, and the providers keep
their secrets from it (GitHub Docs: "Secure use reference"; GitLab Docs: "Merge request pipelines").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from drm.cicd_integration.answers import TokenError, UnreachableError
from drm.cicd_integration.context import Context
from drm.cicd_integration.http_client import Client, check_token
from drm.model.errors import ConfigError, DrmError

__all__ = ["Notice", "Outcome", "Publisher", "Target", "Withheld", "publish", "target_of"]

_TOKENS = {"github": ("GITHUB_TOKEN",), "gitlab": ("DRM_GITLAB_TOKEN", "GITLAB_TOKEN")}
_SHA = re.compile(r"[0-9a-fA-F]{7,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is to be told. ``state``: ``success``, ``failure`` or ``error``; ``marker``: the comment's first line."""

    name: str
    state: str
    description: str
    comment: str
    marker: str
    target_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where it is told. ``request_number``: None where no request is built, so that there is nothing to comment on.

    ``pipeline_id``: of GitLab, to which the status belongs.
    """

    service: str
    api_url: str
    repository: str
    sha: str
    token_name: str
    token: str
    request_number: int | None = None
    pipeline_id: int | None = None

    def __repr__(self) -> str:
        return f"Target({self.service}, {self.repository}, {self.sha})"  # not the token


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """Nothing is published. ``is_meant``: that is as it should be, so it is no failure even if asked to be strict."""

    why: str
    is_meant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one thing that was to be published, as a line for the log."""

    line: str
    is_good: bool


class Publisher(Protocol):
    """One provider's API. Every method raises DrmError in one line."""

    def set_status(self, notice: Notice) -> None:
        """Set the state of the commit, under the notice's name."""
        ...

    def comment(self, notice: Notice, request_number: int) -> str:
        """Make or update our one comment; return ``made`` or ``updated``."""
        ...


def target_of(context: Context, environ: Mapping[str, str]) -> Target | Withheld:
    """Return where to publish, or why nothing is published. ConfigError for a token that can be none."""
    if context.provider not in _TOKENS:
        return Withheld(why=_NO_API.get(context.provider, _NO_API["generic"]), is_meant=True)
    if context.is_fork:
        return Withheld(why="the request comes from a fork, whose jobs publish nothing", is_meant=True)
    if context.is_pr and context.is_fork is None:
        why = "it is not known whether the request comes from a fork; DRM_CI_IS_FORK=false says that it does not"
        return Withheld(why=why, is_meant=True)
    if context.provider == "github" and environ.get("GITHUB_EVENT_NAME") == "workflow_run":
        why = "another workflow started this one, maybe for a fork, and the commit is not the one that was tested"
        return Withheld(why=why, is_meant=True)
    missing = [name for name in ("api_url", "repository", "sha") if not getattr(context, name)]
    if missing or context.api_url is None or context.repository is None or context.sha is None:
        return Withheld(why=f"not known here: {', '.join(missing)} (see `drm ci context`)", is_meant=False)
    if not _SHA.fullmatch(context.sha):
        return Withheld(why="the commit's sha is none", is_meant=False)
    name = next((name for name in _TOKENS[context.provider] if environ.get(name, "").strip()), None)
    if name is None:
        return Withheld(why=_no_token(context, environ), is_meant=False)
    pipeline = environ.get("CI_PIPELINE_ID", "")
    # The pipeline of merged results is of another commit, and GitLab finds none of that id at ours.
    is_ours = environ.get("CI_COMMIT_SHA") == context.sha and re.fullmatch(r"\d{1,18}", pipeline, re.ASCII)
    return Target(
        service=context.provider,
        api_url=context.api_url,
        repository=context.repository,
        sha=context.sha,
        token_name=name,
        token=check_token(name, environ[name]),
        request_number=context.request_number if context.is_pr else None,
        pipeline_id=int(pipeline) if is_ours else None,
    )


_NO_API = {
    "jenkins": "Jenkins has no commit status or comment of its own; its plugins for GitHub and GitLab set the status",
    "generic": "this is no job of GitHub's or GitLab's",
}


def _no_token(context: Context, environ: Mapping[str, str]) -> str:
    if context.provider == "github":
        return "there is no token; give the step `env: GITHUB_TOKEN: ${{ github.token }}`"
    if environ.get("CI_JOB_TOKEN"):
        limits = "CI_JOB_TOKEN may write neither a commit status nor a comment"
        return f"{limits}; set DRM_GITLAB_TOKEN to a project access token with the scope api"
    return "there is no token; set DRM_GITLAB_TOKEN to a project access token with the scope api"


def publish(target: Target, notice: Notice, connect: Callable[[Target], tuple[Client, Publisher]]) -> Iterator[Outcome]:
    """Publish the status of the commit and, of a request, the comment; yield how each came out.

    A comment can be written where a status cannot, so it is tried all the same, unless the token is no good at all
    or nobody answers.
    """
    try:
        client, publisher = connect(target)
    except DrmError as error:
        yield Outcome(line=str(error), is_good=False)
        return
    try:
        short = target.sha[:12]
        goes_on = True
        try:
            publisher.set_status(notice)
            yield Outcome(line=f"commit status of {short}: {notice.state}", is_good=True)
        except DrmError as error:
            goes_on = not isinstance(error, TokenError | UnreachableError)
            yield Outcome(line=str(error), is_good=False)
        if target.request_number is not None and goes_on:
            try:
                done = publisher.comment(notice, target.request_number)
                yield Outcome(line=f"comment on request {target.request_number}: {done}", is_good=True)
            except DrmError as error:
                yield Outcome(line=str(error), is_good=False)
    finally:
        client.close()


def check_repository(repository: str) -> str:
    """Return the path of a repository; ConfigError unless it is one."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+", repository) or ".." in repository.split("/"):
        raise ConfigError("the repository's name is none", remedy="see `drm ci context`; DRM_CI_REPOSITORY sets it")
    return repository
