"""What each provider calls what we want to know, and the page of its documentation that says so.

The first row of a field that has a value counts. ``value`` is a variable's name, ``event.a.b`` in GitHub's
event, or a template: names in capitals are variables, others are fields of this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["OVERRIDES", "PROVIDERS", "Provider", "Row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Where one field comes from.

    ``pattern``: the whole value must match; its group is taken. ``only_if``: another name and the value that it must
    have. ``means``: that there is a value means yes. ``differs_from``: yes when the two values differ.
    """

    field: str
    value: str
    documented: str
    pattern: str = ""
    only_if: tuple[str, str] | None = None
    means: bool = False
    differs_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """``sign``: the variable by which it is recognised, and its value (empty: any)."""

    name: str
    title: str
    rows: tuple[Row, ...]
    sign: tuple[str, str] = ("", "")

    def is_here(self, environ: Mapping[str, str]) -> bool:
        """Tell whether its sign is in the environment."""
        name, value = self.sign
        found = environ.get(name, "")
        return found == value if value else bool(found)


_DIGITS = r"(\d{1,18})"
_SHA = r"[0-9a-fA-F]{7,64}"

_DRM = "DRM, docs/analyze.md: Where the run happens"
OVERRIDES: tuple[Row, ...] = (
    Row(field="branch", value="DRM_CI_BRANCH", documented=_DRM),
    Row(field="target_branch", value="DRM_CI_TARGET_BRANCH", documented=_DRM),
    Row(field="default_branch", value="DRM_CI_DEFAULT_BRANCH", documented=_DRM),
    Row(field="sha", value="DRM_CI_SHA", documented=_DRM, pattern=_SHA),
    Row(field="request_number", value="DRM_CI_REQUEST_NUMBER", documented=_DRM, pattern=_DIGITS),
    Row(field="is_fork", value="DRM_CI_IS_FORK", documented=_DRM, pattern="(?i:true|false|yes|no|1|0)"),
    Row(field="actor", value="DRM_CI_ACTOR", documented=_DRM),
    Row(field="repository", value="DRM_CI_REPOSITORY", documented=_DRM),
    Row(field="run_url", value="DRM_CI_RUN_URL", documented=_DRM),
    Row(field="artifacts_url", value="DRM_CI_ARTIFACTS_URL", documented=_DRM),
    Row(field="commit_url", value="DRM_CI_COMMIT_URL", documented=_DRM),
)

_VARIABLES = (
    "GitHub Docs: Variables reference, https://docs.github.com/en/actions/reference/workflows-and-actions/variables"
)
_EVENTS = "GitHub Docs: Webhook events and payloads, https://docs.github.com/en/webhooks/webhook-events-and-payloads"
_REPO = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}"
_GITHUB = (
    Row(field="branch", value="GITHUB_HEAD_REF", documented=_VARIABLES),
    Row(field="branch", value="GITHUB_REF_NAME", documented=_VARIABLES, only_if=("GITHUB_REF_TYPE", "branch")),
    Row(field="target_branch", value="GITHUB_BASE_REF", documented=_VARIABLES),
    Row(field="default_branch", value="event.repository.default_branch", documented=_EVENTS),
    Row(field="tag", value="GITHUB_REF_NAME", documented=_VARIABLES, only_if=("GITHUB_REF_TYPE", "tag")),
    # GITHUB_SHA of a pull request is a merge commit that is in no branch.
    Row(field="sha", value="event.pull_request.head.sha", documented=_EVENTS, pattern=_SHA),
    Row(field="sha", value="GITHUB_SHA", documented=_VARIABLES, pattern=_SHA),
    Row(field="is_pr", value="GITHUB_EVENT_NAME", documented=_VARIABLES, pattern=r"pull_request\w*", means=True),
    Row(
        field="is_fork",
        value="event.pull_request.head.repo.full_name",
        documented=_EVENTS,
        differs_from="event.pull_request.base.repo.full_name",
    ),
    Row(field="request_number", value="event.pull_request.number", documented=_EVENTS, pattern=_DIGITS),
    Row(field="request_number", value="GITHUB_REF", documented=_VARIABLES, pattern=rf"refs/pull/{_DIGITS}/\w+"),
    Row(field="actor", value="GITHUB_ACTOR", documented=_VARIABLES),
    Row(field="repository", value="GITHUB_REPOSITORY", documented=_VARIABLES),
    Row(field="api_url", value="GITHUB_API_URL", documented=_VARIABLES),
    Row(field="run_url", value=f"{_REPO}/actions/runs/{{GITHUB_RUN_ID}}", documented=_VARIABLES),
    Row(field="artifacts_url", value=f"{_REPO}/actions/runs/{{GITHUB_RUN_ID}}#artifacts", documented=_VARIABLES),
    Row(field="commit_url", value=f"{_REPO}/commit/{{sha}}", documented=_VARIABLES),
    Row(field="request_url", value=f"{_REPO}/pull/{{request_number}}", documented=_VARIABLES),
)

_PREDEFINED = (
    "GitLab Docs: Predefined CI/CD variables reference, https://docs.gitlab.com/ci/variables/predefined_variables/"
)
_GITLAB = (
    Row(field="branch", value="CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", documented=_PREDEFINED),
    Row(field="branch", value="CI_COMMIT_BRANCH", documented=_PREDEFINED),
    Row(field="target_branch", value="CI_MERGE_REQUEST_TARGET_BRANCH_NAME", documented=_PREDEFINED),
    Row(field="default_branch", value="CI_DEFAULT_BRANCH", documented=_PREDEFINED),
    Row(field="tag", value="CI_COMMIT_TAG", documented=_PREDEFINED),
    # Only a pipeline of merged results has it: CI_COMMIT_SHA is then a merge commit that is in no branch.
    Row(field="sha", value="CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", documented=_PREDEFINED, pattern=_SHA),
    Row(field="sha", value="CI_COMMIT_SHA", documented=_PREDEFINED, pattern=_SHA),
    Row(field="is_pr", value="CI_MERGE_REQUEST_IID", documented=_PREDEFINED, pattern=_DIGITS, means=True),
    Row(
        field="is_fork",
        value="CI_MERGE_REQUEST_SOURCE_PROJECT_ID",
        documented=_PREDEFINED,
        differs_from="CI_MERGE_REQUEST_PROJECT_ID",
    ),
    Row(field="request_number", value="CI_MERGE_REQUEST_IID", documented=_PREDEFINED, pattern=_DIGITS),
    Row(field="actor", value="GITLAB_USER_LOGIN", documented=_PREDEFINED),
    Row(field="repository", value="CI_MERGE_REQUEST_PROJECT_PATH", documented=_PREDEFINED),
    Row(field="repository", value="CI_PROJECT_PATH", documented=_PREDEFINED),
    Row(field="api_url", value="CI_API_V4_URL", documented=_PREDEFINED),
    Row(field="run_url", value="CI_PIPELINE_URL", documented=_PREDEFINED),
    Row(field="artifacts_url", value="{CI_JOB_URL}/artifacts/browse", documented=_PREDEFINED),
    Row(field="commit_url", value="{CI_PROJECT_URL}/-/commit/{sha}", documented=_PREDEFINED),
    Row(
        field="request_url",
        value="{CI_MERGE_REQUEST_PROJECT_URL}/-/merge_requests/{request_number}",
        documented=_PREDEFINED,
    ),
)

_JENKINSFILE = "Jenkins User Documentation: Using a Jenkinsfile, https://www.jenkins.io/doc/book/pipeline/jenkinsfile/"
_GLOBALS = "Jenkins: Global Variable Reference (at JENKINS_URL/pipeline-syntax/globals)"
_GIT_PLUGIN = "Jenkins plugins: Git, https://plugins.jenkins.io/git/"
# https://host/owner/name.git, ssh://git@host:22/owner/name and git@host:owner/name, credentials left out.
_SCHEME, _PORT, _PATH = r"(?:https?://(?:[^/@]*@)?|ssh://(?:[^/@]*@)?|[\w.-]+@)", r"(?::\d+)?[:/]", r"[^:]+?"
_REPOSITORY = rf"{_SCHEME}[\w.-]+{_PORT}({_PATH})(?:\.git)?/?"
_GITHUB_HOST = rf"{_SCHEME}([\w.-]*github[\w.-]*){_PORT}{_PATH}"
_GITLAB_HOST = rf"{_SCHEME}([\w.-]*gitlab[\w.-]*){_PORT}{_PATH}"
_JENKINS = (
    Row(field="branch", value="CHANGE_BRANCH", documented=_GLOBALS),
    # BRANCH_NAME of a change request is generally arbitrary, such as PR-7; of a tag it is the tag's.
    Row(field="branch", value="BRANCH_NAME", documented=_GLOBALS, pattern=r"(?!(?:PR|MR)-\d+).+"),
    Row(field="branch", value="GIT_BRANCH", documented=_GIT_PLUGIN, pattern=r"(?:origin/)?((?!(?:PR|MR)-\d+).+)"),
    Row(field="target_branch", value="CHANGE_TARGET", documented=_GLOBALS),
    Row(field="default_branch", value="BRANCH_NAME", documented=_GLOBALS, only_if=("BRANCH_IS_PRIMARY", "true")),
    Row(field="tag", value="TAG_NAME", documented=_GLOBALS),
    Row(field="sha", value="GIT_COMMIT", documented=_GIT_PLUGIN, pattern=_SHA),
    Row(field="is_pr", value="CHANGE_ID", documented=_GLOBALS, means=True),
    # Unset where it is no fork, but also where the branch source does not support it: so it can only say yes.
    Row(field="is_fork", value="CHANGE_FORK", documented=_GLOBALS, means=True),
    Row(field="request_number", value="CHANGE_ID", documented=_GLOBALS, pattern=_DIGITS),
    Row(field="actor", value="CHANGE_AUTHOR", documented=_GLOBALS),
    Row(field="repository", value="GIT_URL", documented=_GIT_PLUGIN, pattern=_REPOSITORY),
    Row(field="run_url", value="BUILD_URL", documented=_JENKINSFILE),
    Row(field="artifacts_url", value="{BUILD_URL}/artifact/", documented=_JENKINSFILE),
    Row(field="github_host", value="GIT_URL", documented=_GIT_PLUGIN, pattern=_GITHUB_HOST),
    Row(field="gitlab_host", value="GIT_URL", documented=_GIT_PLUGIN, pattern=_GITLAB_HOST),
    Row(field="commit_url", value="https://{github_host}/{repository}/commit/{sha}", documented=_GIT_PLUGIN),
    Row(field="commit_url", value="https://{gitlab_host}/{repository}/-/commit/{sha}", documented=_GIT_PLUGIN),
    Row(field="request_url", value="CHANGE_URL", documented=_GLOBALS),
)

PROVIDERS: tuple[Provider, ...] = (
    Provider(name="github", title="GitHub Actions", sign=("GITHUB_ACTIONS", "true"), rows=_GITHUB),
    Provider(name="gitlab", title="GitLab CI", sign=("GITLAB_CI", "true"), rows=_GITLAB),
    Provider(name="jenkins", title="Jenkins", sign=("JENKINS_URL", ""), rows=_JENKINS),
    Provider(name="generic", title="no provider that is known", rows=()),
)
