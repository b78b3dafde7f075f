"""What is known of the job, from the variables that each provider documents."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cicd_integration.context import Context, detect
from drm.cicd_integration.provider_table import OVERRIDES, PROVIDERS

SHA, HEAD = "a" * 40, "b" * 40
GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_API_URL": "https://api.github.com",
    "GITHUB_REPOSITORY": "octo/app",
    "GITHUB_RUN_ID": "12",
    "GITHUB_ACTOR": "mona",
    "GITHUB_SHA": SHA,
}
GITHUB_PUSH = {
    **GITHUB,
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_REF_NAME": "main",
    "GITHUB_REF_TYPE": "branch",
    "GITHUB_HEAD_REF": "",
    "GITHUB_BASE_REF": "",
}
GITHUB_PULL = {
    **GITHUB,
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_REF": "refs/pull/7/merge",
    "GITHUB_REF_NAME": "7/merge",
    "GITHUB_REF_TYPE": "branch",
    "GITHUB_HEAD_REF": "fix",
    "GITHUB_BASE_REF": "main",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_API_V4_URL": "https://gitlab.com/api/v4",
    "CI_COMMIT_SHA": SHA,
    "CI_DEFAULT_BRANCH": "main",
    "CI_PROJECT_PATH": "group/app",
    "CI_PROJECT_URL": "https://gitlab.com/group/app",
    "CI_PIPELINE_URL": "https://gitlab.com/group/app/-/pipelines/1",
    "CI_JOB_URL": "https://gitlab.com/group/app/-/jobs/2",
    "GITLAB_USER_LOGIN": "tanuki",
}
GITLAB_REQUEST = {
    **GITLAB,
    "CI_MERGE_REQUEST_IID": "3",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "fix",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "10",
    "CI_MERGE_REQUEST_PROJECT_ID": "10",
    "CI_MERGE_REQUEST_PROJECT_PATH": "group/app",
    "CI_MERGE_REQUEST_PROJECT_URL": "https://gitlab.com/group/app",
}
JENKINS = {
    "JENKINS_URL": "https://ci.example/",
    "BUILD_URL": "https://ci.example/job/app/job/main/5/",
    "BRANCH_NAME": "main",
    "GIT_COMMIT": SHA,
    "GIT_URL": "https://user:secret@github.com/octo/app.git",
    "BRANCH_IS_PRIMARY": "true",
}
JENKINS_REQUEST = {
    "JENKINS_URL": "https://ci.example/",
    "BUILD_URL": "https://ci.example/job/app/job/PR-7/5/",
    "BRANCH_NAME": "PR-7",
    "CHANGE_BRANCH": "fix",
    "CHANGE_ID": "7",
    "CHANGE_TARGET": "main",
    "CHANGE_AUTHOR": "mona",
    "CHANGE_URL": "https://github.com/octo/app/pull/7",
    "GIT_COMMIT": SHA,
    "GIT_URL": "git@github.com:octo/app.git",
}


def pull_event(head: str | None) -> dict[str, Any]:
    repo = None if head is None else {"full_name": head}
    return {
        "number": 7,
        "repository": {"default_branch": "main"},
        "pull_request": {"number": 7, "head": {"sha": HEAD, "repo": repo}, "base": {"repo": {"full_name": "octo/app"}}},
    }


def test_a_push_on_github() -> None:
    assert detect(GITHUB_PUSH, {"repository": {"default_branch": "main"}}) == Context(
        provider="github",
        branch="main",
        default_branch="main",
        sha=SHA,
        is_fork=False,
        actor="mona",
        repository="octo/app",
        api_url="https://api.github.com",
        run_url="https://github.com/octo/app/actions/runs/12",
        artifacts_url="https://github.com/octo/app/actions/runs/12#artifacts",
        commit_url=f"https://github.com/octo/app/commit/{SHA}",
    )


def test_a_pull_request_on_github_is_its_head_not_the_merge_commit() -> None:
    found = detect(GITHUB_PULL, pull_event("octo/app"))
    assert (found.is_pr, found.is_fork, found.request_number) == (True, False, 7)
    assert (found.branch, found.target_branch, found.sha) == ("fix", "main", HEAD)
    assert found.request_url == "https://github.com/octo/app/pull/7"
    assert found.commit_url == f"https://github.com/octo/app/commit/{HEAD}"


@pytest.mark.parametrize(
    ("event", "is_fork"),
    [(pull_event("octo/app"), False), (pull_event("eve/app"), True), (pull_event(None), None), ({}, None)],
    ids=["same repository", "fork", "fork that is deleted", "no event"],
)
def test_whether_github_builds_a_fork(event: dict[str, Any], is_fork: bool | None) -> None:
    assert detect(GITHUB_PULL, event).is_fork is is_fork


def test_a_pull_request_target_without_its_event_is_still_a_request() -> None:
    found = detect({**GITHUB_PUSH, "GITHUB_EVENT_NAME": "pull_request_target"})
    assert (found.is_pr, found.is_fork, found.request_number) == (True, None, None)
    assert found.is_default_branch is False


def test_a_tag_is_no_branch() -> None:
    github = {**GITHUB_PUSH, "GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1"}
    gitlab = {**GITLAB, "CI_COMMIT_TAG": "v1"}
    jenkins = {**JENKINS, "BRANCH_NAME": "v1", "TAG_NAME": "v1", "BRANCH_IS_PRIMARY": ""}
    for environ in (github, gitlab, jenkins):
        found = detect(environ)
        assert (found.branch, found.tag, found.is_default_branch) == (None, "v1", False)


def test_a_branch_on_gitlab() -> None:
    assert detect({**GITLAB, "CI_COMMIT_BRANCH": "main"}) == Context(
        provider="gitlab",
        branch="main",
        default_branch="main",
        sha=SHA,
        is_fork=False,
        actor="tanuki",
        repository="group/app",
        api_url="https://gitlab.com/api/v4",
        run_url="https://gitlab.com/group/app/-/pipelines/1",
        artifacts_url="https://gitlab.com/group/app/-/jobs/2/artifacts/browse",
        commit_url=f"https://gitlab.com/group/app/-/commit/{SHA}",
    )


def test_a_merge_request_on_gitlab() -> None:
    found = detect({**GITLAB_REQUEST, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": HEAD})
    assert (found.is_pr, found.is_fork, found.request_number) == (True, False, 3)
    assert (found.branch, found.target_branch, found.sha) == ("fix", "main", HEAD)
    assert found.request_url == "https://gitlab.com/group/app/-/merge_requests/3"
    assert detect({**GITLAB_REQUEST, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "11"}).is_fork is True


def test_a_branch_on_jenkins() -> None:
    assert detect(JENKINS) == Context(
        provider="jenkins",
        branch="main",
        default_branch="main",
        sha=SHA,
        is_fork=False,
        repository="octo/app",
        run_url="https://ci.example/job/app/job/main/5/",
        artifacts_url="https://ci.example/job/app/job/main/5/artifact/",
        commit_url=f"https://github.com/octo/app/commit/{SHA}",
    )


def test_a_request_on_jenkins_is_not_trusted_until_somebody_says_so() -> None:
    found = detect(JENKINS_REQUEST)
    assert (found.is_pr, found.is_fork, found.request_number) == (True, None, 7)
    assert (found.branch, found.target_branch, found.actor) == ("fix", "main", "mona")
    assert found.commit_url == f"https://github.com/octo/app/commit/{SHA}"
    assert detect({**JENKINS_REQUEST, "CHANGE_FORK": "eve"}).is_fork is True
    assert detect({**JENKINS_REQUEST, "DRM_CI_IS_FORK": "false"}).is_fork is False
    assert detect({**JENKINS_REQUEST, "DRM_CI_IS_FORK": "flase"}).is_fork is None


def test_the_name_of_a_request_is_no_branch() -> None:
    without = {name: value for name, value in JENKINS_REQUEST.items() if name != "CHANGE_BRANCH"}
    assert detect(without).branch is None


@pytest.mark.parametrize(
    ("remote", "link"),
    [
        ("git@gitlab.example:group/sub/app.git", f"https://gitlab.example/group/sub/app/-/commit/{SHA}"),
        ("ssh://git@github.example:22/octo/app", f"https://github.example/octo/app/commit/{SHA}"),
        ("https://git.example/app.git", None),  # who knows where this one shows commits
        ("../app.git", None),
    ],
)
def test_where_a_commit_is_shown_is_known_of_hosts_that_say_what_they_are(remote: str, link: str | None) -> None:
    assert detect({**JENKINS, "GIT_URL": remote}).commit_url == link


def test_nothing_is_known_where_nobody_says_anything() -> None:
    assert detect({}) == Context(provider="generic", is_fork=False)


def test_our_own_variables_win() -> None:
    mine = {"DRM_CI_BRANCH": "b", "DRM_CI_SHA": HEAD, "DRM_CI_REQUEST_NUMBER": "9", "DRM_CI_RUN_URL": "http://ci/1"}
    for environ in ({}, GITHUB_PUSH, GITLAB, JENKINS):
        found = detect({**environ, **mine})
        assert (found.branch, found.sha, found.request_number, found.run_url) == ("b", HEAD, 9, "http://ci/1")
        assert found.is_pr


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "file:///etc/passwd", "//host/x", "http://", "http://[", "https://a b/", "x" * 9999, "\n"],
)
def test_an_address_that_is_none_is_not_known(url: str) -> None:
    found = detect({"JENKINS_URL": "x", "BUILD_URL": url})
    assert found.run_url is None


def test_a_link_has_no_credentials_and_ends_no_line() -> None:
    found = detect({"JENKINS_URL": "x", "BUILD_URL": "https://me:token@ci.example:8443/job/a'\")>\r\n<b>/1/"})
    assert found.run_url is not None
    assert found.run_url.startswith("https://ci.example:8443/job/a%27%22%29%3E")
    assert not set(found.run_url) & set("'\"()<> \r\n")


@pytest.mark.parametrize(
    "environ",
    [
        {**GITHUB_PUSH, "GITHUB_SHA": "not a sha"},
        {**GITLAB, "CI_COMMIT_SHA": "a" * 99},
        {**JENKINS, "GIT_COMMIT": "$(id)"},
    ],
)
def test_a_commit_that_is_none_is_not_known(environ: dict[str, str]) -> None:
    found = detect(environ)
    assert (found.sha, found.commit_url) == (None, None)


@given(
    st.dictionaries(
        st.sampled_from(sorted({row.value for provider in PROVIDERS for row in provider.rows if "{" not in row.value})),
        st.text(max_size=40),
    ),
    st.sampled_from([provider.sign[0] for provider in PROVIDERS[:3]]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["pull_request", "head", "base", "repo", "full_name", "sha", "number", "repository"]),
                inner,
                max_size=4,
            )
        ),
    ),
)
def test_whatever_is_there_links_are_links_and_numbers_are_numbers(
    environ: dict[str, str], sign: str, event: object
) -> None:
    found = detect({**environ, sign: "true"}, event if isinstance(event, dict) else {})
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if field.name.endswith("_url") and value is not None:
            assert value.startswith(("http://", "https://"))
            assert value.isascii()
            assert value.isprintable()
            assert not set(value) & set("\"'<>() ")
    assert found.request_number is None or found.request_number >= 0
    assert found.is_pr or found.is_fork is False


def test_every_row_names_a_field_and_the_page_that_documents_it() -> None:
    fields = {field.name for field in dataclasses.fields(Context)} | {"github_host", "gitlab_host"}
    rows = [*OVERRIDES, *(row for provider in PROVIDERS for row in provider.rows)]
    assert {row.field for row in rows} <= fields
    for row in rows:
        assert row.documented.startswith(("GitHub Docs: ", "GitLab Docs: ", "Jenkins", "DRM, docs/analyze.md: "))
