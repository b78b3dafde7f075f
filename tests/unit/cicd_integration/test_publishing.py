"""Commit status and comment, published to a server that behaves as the documented APIs do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fake_api import NOT_OURS, SHA, TOKEN, Api, Reply, serving
from recorded import leave_all, suite

from drm.ci_commands.publishing import _name_of, notice_of, publish_report
from drm.cicd_integration.answers import Answer, wait_s
from drm.cicd_integration.context import Context
from drm.cicd_integration.publishing import Target, Withheld, target_of
from drm.model.work import Outcome
from drm.reporting.collect import build_report
from drm.reporting.comment import comment_marker
from drm.reporting.report import Report

pytest.importorskip("httpx", reason="httpx is not installed: pip install httpx")

NAME = "DRM tests"
MARKER = comment_marker(NAME)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROVIDERS = ("github", "gitlab")
LIMITED = {"message": "You have exceeded a secondary rate limit."}


class Job:
    """A job of a provider whose API is the fake one."""

    def __init__(self, provider: str, api: Api, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
        self.api = api
        self.report = report
        self.pauses: list[float] = []
        self._capsys = capsys
        self.environ = {"GITHUB_TOKEN" if provider == "github" else "DRM_GITLAB_TOKEN": TOKEN}
        self.context = Context(
            provider=provider,
            sha=SHA,
            repository=api.repository,
            api_url=api.address + ("" if provider == "github" else "/api/v4"),
            is_pr=True,
            is_fork=False,
            request_number=7,
            run_url="https://ci.example/run/1",
        )

    def publish(self, **changes: Any) -> bool:
        context = replace(self.context, **changes)
        return publish_report(self.report, context, self.environ, name=NAME, pause=self.pauses.append)

    def said(self) -> list[str]:
        captured = self._capsys.readouterr()
        assert TOKEN not in captured.out + captured.err
        assert captured.err == ""
        return [line for line in captured.out.splitlines() if not line.startswith("::warning ")]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving(Api()) as served:
        yield served


@pytest.fixture
def report(tmp_path: Path) -> Report:
    leave_all(tmp_path, unit=suite("unit", {"tests/unit/t.py::@octocat": Outcome.FAILED}, message="boom"))
    return build_report(tmp_path)


@pytest.fixture(params=PROVIDERS)
def job(request: pytest.FixtureRequest, api: Api, report: Report, capsys: pytest.CaptureFixture[str]) -> Job:
    return Job(request.param, api, report, capsys)


@pytest.fixture
def on_github(api: Api, report: Report, capsys: pytest.CaptureFixture[str]) -> Job:
    return Job("github", api, report, capsys)


@pytest.fixture
def on_gitlab(api: Api, report: Report, capsys: pytest.CaptureFixture[str]) -> Job:
    return Job("gitlab", api, report, capsys)


def test_status_and_comment_are_made_then_updated(job: Job, tmp_path: Path) -> None:
    assert job.publish()
    (status,) = job.api.statuses
    failed = "failure" if job.context.provider == "github" else "failed"
    assert (status["state"], status["target_url"]) == (failed, "https://ci.example/run/1")
    assert status["description"] == "Failing: 16 of 17 tests passed in 5 stages; unit: 1 of 1 test did not pass."
    assert status.get("context", status.get("name")) == NAME
    (body,) = job.api.bodies()
    assert body.startswith(f"{MARKER}\n### ❌ DRM tests: failing\n")
    assert "@&#8203;octocat" in body
    assert job.said() == [f"drm: commit status of {SHA[:12]}: failure", "drm: comment on request 7: made"]

    leave_all(tmp_path / "better")
    job.report = build_report(tmp_path / "better")
    assert job.publish()
    (body,) = job.api.bodies()
    assert body.startswith(f"{MARKER}\n### ✅ DRM tests: passing\n")
    assert job.said()[1] == "drm: comment on request 7: updated"
    assert job.pauses == []


def test_our_comment_is_found_on_a_later_page(job: Job) -> None:
    job.api.page_size = 2
    for n in range(4):
        job.api.add_comment(f"comment {n}", **NOT_OURS)
    job.api.add_comment(f"{MARKER}\nof an earlier push")
    job.api.add_comment("the last", **NOT_OURS)
    assert job.publish()
    assert len(job.api.comments) == 6
    assert "earlier push" not in job.api.bodies()[4]
    assert sum(line.startswith("GET") and "user" not in line for line in job.api.requests) == 3


def test_a_comment_that_only_looks_like_ours_is_left_alone(job: Job) -> None:
    job.api.add_comment(f"{MARKER}\nby somebody who may not push", **NOT_OURS)
    job.api.add_comment(f"> {MARKER}\n> quoted")
    job.api.add_comment(f"{comment_marker('other tests')}\nof another pipeline")
    assert job.publish()
    assert [body[-20:] for body in job.api.bodies()[:3]] == [
        "omebody who may not push"[-20:],
        f"> {MARKER}\n> quoted"[-20:],
        "\nof another pipeline"[-20:],
    ]
    assert job.api.bodies()[3].startswith(MARKER)


def test_without_a_request_there_is_no_comment(job: Job) -> None:
    assert job.publish(is_pr=False, request_number=None)
    assert (len(job.api.statuses), job.api.comments) == (1, [])
    assert len(job.api.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "remedy"),
    [
        (401, {"message": "Bad credentials"}, "GITHUB_TOKEN is wrong or has expired: set it anew", ""),
        (403, {"message": "Resource not accessible by integration"}, "give the job `permissions: statuses: write`", ""),
        (404, {"message": "Not Found"}, "see whether octo/app and the commit are there, and whether GITHUB_TOKEN", ""),
        (422, {"message": "No commit found for SHA: abc"}, "see whether the commit is pushed and still there", ""),
        (301, {"message": "Moved Permanently"}, "the repository has moved: set DRM_CI_REPOSITORY", ""),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(
    on_github: Job, status: int, body: dict[str, str], kind: str, remedy: str
) -> None:
    job = on_github
    job.api.trouble("POST .*/statuses/", Reply(status, body, {"Location": f"{job.api.address}/elsewhere"}))
    assert not job.publish()
    lines = job.said()
    said = f"the commit status was not set: GitHub answered {status} {body['message']}; {kind}"
    assert lines[0].startswith(f"drm: not published: {said}")
    assert job.pauses == []
    assert not [line for line in job.api.requests if "elsewhere" in line]
    if status == 401:
        assert len(lines) == len(job.api.requests) == 1, "a token that is no good is not tried twice"
    else:
        assert lines[1] == "drm: comment on request 7: made", "a comment may be written where a status may not"


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "DRM_GITLAB_TOKEN is wrong or has expired: set it anew"),
        (403, "give DRM_GITLAB_TOKEN the scope api and the role Developer"),
        (404, "see whether octo/app and the commit are there"),
        (422, "see what it says of the request"),
    ],
)
def test_a_refusal_of_gitlabs_is_one_line_with_what_to_do(on_gitlab: Job, status: int, remedy: str) -> None:
    on_gitlab.api.trouble("POST .*/statuses/", Reply(status, {"message": {"base": ["no"]}}))
    assert not on_gitlab.publish()
    assert f"GitLab answered {status} {{'base': ['no']}}; {remedy}" in on_gitlab.said()[0]


def test_an_expired_token_is_said_once(job: Job) -> None:
    name = next(iter(job.environ))
    job.environ[name] = "expired"
    assert not job.publish()
    (line,) = job.said()
    assert f"answered 401 {'Bad credentials' if name == 'GITHUB_TOKEN' else '401 Unauthorized'}" in line
    assert line.endswith(f"{name} is wrong or has expired: set it anew")


def test_another_repository_and_another_commit_are_named(job: Job) -> None:
    assert not job.publish(repository="octo/none")
    lines = job.said()
    assert [("404" in line, "octo/none" in line) for line in lines] == [(True, True), (True, True)]


@pytest.mark.parametrize(
    ("reply", "waited"),
    [
        (Reply(429, LIMITED, {"Retry-After": "3"}), [3.0]),
        (Reply(403, LIMITED, {"Retry-After": "4"}), [4.0]),
        (Reply(403, LIMITED), [60.0]),
        (Reply(403, {"message": "API rate limit exceeded"}, {"x-ratelimit-remaining": "0"}), [60.0]),
        (Reply(502, "<html>Bad gateway</html>"), [1.0]),
        (Reply(503, {}, {"Retry-After": "7"}), [7.0]),
        (Reply(0), [1.0]),
    ],
    ids=["429", "403 with retry-after", "secondary limit", "primary limit", "502", "503 with retry-after", "hung up"],
)
def test_what_passes_is_waited_for(job: Job, reply: Reply, waited: list[float]) -> None:
    job.api.trouble("POST .*/statuses/", reply)
    assert job.publish()
    assert job.pauses == waited
    assert len(job.api.statuses) == 1


def test_trouble_that_stays_ends_after_four_attempts(job: Job) -> None:
    job.api.trouble("POST .*/statuses/", *[Reply(500, {"message": "oops"})] * 9)
    assert not job.publish()
    assert job.pauses == [1.0, 2.0, 4.0]
    assert "answered 500 oops; it has trouble of its own: run the job again later" in job.said()[0]


def test_a_limit_that_lasts_longer_than_the_job_should_is_not_waited_for(job: Job) -> None:
    reply = Reply(429, LIMITED, {"Retry-After": "3600"})
    job.api.trouble("POST .*/statuses/", reply)
    job.api.trouble("GET .*/(comments|notes)", Reply(429, LIMITED, {"Retry-After": "soon"}), reply)
    assert not job.publish()
    first, second = job.said()
    assert "asks to wait 3600 s (429 You have exceeded a secondary rate limit.); run the job again later" in first
    assert "asks to wait 3600 s" in second
    assert job.pauses == [60.0], "a Retry-After that is none counts as none"


def test_patience_is_one_for_all_requests(job: Job) -> None:
    job.api.trouble("POST .*/statuses/", *[Reply(429, LIMITED, {"Retry-After": "50"})] * 2)
    job.api.trouble("GET .*/(comments|notes)", Reply(429, LIMITED, {"Retry-After": "50"}))
    assert not job.publish()
    assert job.pauses == [50.0, 50.0]


def test_a_comment_that_was_made_without_an_answer_is_not_made_twice(job: Job) -> None:
    for reply in (Reply(502, {}, is_done=True), Reply(0, is_done=True)):
        job.api.comments.clear()
        job.api.trouble("POST .*/(comments|notes)", reply)
        assert job.publish()
        assert len(job.api.comments) == 1
    job.api.comments.clear()
    job.api.trouble("POST .*/(comments|notes)", Reply(502), Reply(0))
    assert job.publish()
    assert len(job.api.comments) == 1
    job.api.comments.clear()
    job.api.trouble("POST .*/(comments|notes)", *[Reply(502)] * 3)
    assert not job.publish()
    assert job.api.comments == []


def test_a_comment_that_is_deleted_meanwhile_is_made_anew(job: Job) -> None:
    job.api.add_comment(f"{MARKER}\nold")
    job.api.trouble("(PATCH|PUT) ", Reply(404, {"message": "Not Found"}))
    assert job.publish()
    assert len(job.api.comments) == 2
    assert job.said()[1] == "drm: comment on request 7: made"


def test_gitlab_is_told_the_pipeline_only_of_the_same_commit(on_gitlab: Job) -> None:
    on_gitlab.environ |= {"CI_PIPELINE_ID": "55", "CI_COMMIT_SHA": SHA}
    assert on_gitlab.publish()
    assert on_gitlab.api.statuses[0]["pipeline_id"] == 55
    on_gitlab.api.statuses.clear()
    on_gitlab.environ["CI_COMMIT_SHA"] = "f" * 40
    assert on_gitlab.publish()
    assert "pipeline_id" not in on_gitlab.api.statuses[0]


def test_a_status_that_gitlab_has_already_is_no_failure(on_gitlab: Job) -> None:
    assert on_gitlab.publish()
    assert on_gitlab.publish()
    on_gitlab.api.statuses[0]["status"] = "canceled"
    why = {"message": "Cannot transition status via :drop from :canceled"}
    on_gitlab.api.trouble("POST .*/statuses/", Reply(400, why))
    assert not on_gitlab.publish()
    assert "GitLab answered 400 Cannot transition status via :drop from :canceled" in on_gitlab.said()[-2]


def test_no_network_is_one_line(job: Job) -> None:
    assert not job.publish(api_url="http://127.0.0.1:9")
    (line,) = job.said()
    assert line.startswith("drm: not published: 127.0.0.1:9 cannot be reached (ConnectError: ")
    assert line.endswith("; see to the job's network and proxy")
    assert job.pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE"])
def test_a_proxy_that_is_none_is_one_line(job: Job, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/no/such\x01thing")
    assert not job.publish(api_url="https://127.0.0.1:9")
    (line,) = job.said()
    assert line.startswith("drm: not published: the job's proxy or certificates cannot be used (")
    assert job.pauses == []


def test_a_server_that_answers_nonsense_is_one_line(job: Job) -> None:
    job.api.trouble("POST .*/statuses/", Reply(404, "<html>" + "::error::x\n" * 50))
    job.api.trouble("GET .*/(comments|notes)", Reply(200, {"no": "list"}))
    assert not job.publish()
    lines = job.said()
    assert "answered 404; see whether" in lines[0]
    job.api.trouble("POST .*/statuses/", Reply(422, {"message": "\n::error::x\x1b[31m ##[error]y" * 100}))
    job.publish()
    assert all(line.startswith("drm: ") and line.isprintable() and len(line) < 1100 for line in job.said())


def test_a_server_that_repeats_the_token_does_not_get_it_shown(job: Job) -> None:
    job.api.trouble("POST .*/statuses/", Reply(422, {"message": f"bad {TOKEN}", "errors": [{"message": TOKEN}]}))
    assert not job.publish()
    assert "bad ***" in job.said()[0]


@pytest.mark.parametrize("token", ["a b", "a\nb", "ä", "\x01"])
def test_a_token_that_can_be_none_is_not_shown(job: Job, token: str) -> None:
    name = next(iter(job.environ))
    job.environ[name] = f"ghs_{token}_x"
    assert not job.publish()
    assert job.said() == [
        f"drm: nothing is published: {name} holds what no token has (spaces or control characters); set it anew"
    ]
    assert job.api.requests == []
    job.environ[name] = f" {TOKEN}\n"
    assert job.publish(), "a line's end after it is how files end"
    assert TOKEN not in repr(target_of(job.context, job.environ))


@pytest.mark.parametrize(
    ("changes", "environ", "is_meant", "why"),
    [
        ({"is_fork": True}, {}, True, "the request comes from a fork"),
        ({"is_fork": None}, {}, True, "not known whether the request comes from a fork; DRM_CI_IS_FORK=false"),
        ({"is_pr": False}, {"GITHUB_EVENT_NAME": "workflow_run"}, True, "another workflow started this one"),
        ({"sha": None, "repository": None}, {}, False, "not known here: repository, sha"),
        ({"api_url": None}, {}, False, "not known here: api_url"),
        ({"sha": "../../x"}, {}, False, "the commit's sha is none"),
        ({}, {"GITHUB_TOKEN": " "}, False, "there is no token; give the step `env: GITHUB_TOKEN: ${{ github.token }}`"),
        ({"provider": "jenkins"}, {}, True, "Jenkins has no commit status or comment of its own"),
        ({"provider": "generic"}, {}, True, "this is no job of GitHub's or GitLab's"),
        ({"repository": "octo/../x"}, {}, False, "the repository's name is none"),
        ({"repository": "octo/app?x"}, {}, False, "the repository's name is none"),
    ],
)
def test_what_is_not_published_and_why(
    on_github: Job, changes: dict[str, Any], environ: dict[str, str], is_meant: bool, why: str
) -> None:
    on_github.environ |= environ
    assert on_github.publish(**changes) is is_meant
    (line,) = on_github.said()
    assert why in line
    assert on_github.api.requests == []


def test_a_job_token_of_gitlabs_is_known_not_to_do(on_gitlab: Job) -> None:
    on_gitlab.environ = {"CI_JOB_TOKEN": TOKEN}
    assert not on_gitlab.publish()
    (line,) = on_gitlab.said()
    assert "CI_JOB_TOKEN may write neither a commit status nor a comment; set DRM_GITLAB_TOKEN" in line
    on_gitlab.environ["GITLAB_TOKEN"] = TOKEN
    assert on_gitlab.publish()
    assert isinstance(target_of(on_gitlab.context, {"DRM_GITLAB_TOKEN": "first", "GITLAB_TOKEN": TOKEN}), Target)


@given(
    provider=st.sampled_from(["github", "gitlab", "jenkins", "generic"]),
    is_pr=st.booleans(),
    is_fork=st.sampled_from([True, False, None]),
    number=st.sampled_from([None, 7]),
)
def test_no_request_of_a_fork_ever_has_a_target(
    provider: str, is_pr: bool, is_fork: bool | None, number: int | None
) -> None:
    context = Context(
        provider=provider,
        sha=SHA,
        repository="o/r",
        api_url="https://a.example",
        is_pr=is_pr,
        is_fork=is_fork,
        request_number=number,
    )
    found = target_of(context, {"GITHUB_TOKEN": "x", "DRM_GITLAB_TOKEN": "x"})
    if isinstance(found, Target):
        assert is_fork is False or (is_fork is None and not is_pr)
        assert found.request_number == (number if is_pr else None)
    else:
        assert isinstance(found, Withheld)


def test_only_passing_is_a_success(tmp_path: Path) -> None:
    context = Context(provider="github", sha=SHA)
    empty = notice_of(build_report(tmp_path), context, NAME)
    assert (empty.state, empty.description) == ("error", "Nothing has run: there is no result of any stage here.")
    leave_all(tmp_path)
    assert notice_of(build_report(tmp_path), context, NAME).state == "success"
    (tmp_path / "unit" / "events.ndjson").write_text("{")
    assert notice_of(build_report(tmp_path), context, NAME).state == "error"
    long = notice_of(replace(build_report(tmp_path), headline="x" * 5000), context, NAME)
    assert len(long.description) <= 140


def test_statuses_of_which_much_was_left_out_have_names_of_their_own(tmp_path: Path) -> None:
    names = [_name_of(NAME, [*(f"unit-{'x' * 20}{n}" for n in range(9)), last]) for last in ("unit", "e2e", "")]
    assert len(set(names)) == 3
    assert all(len(name) <= 100 and name.startswith(f"{NAME} (without unit-xxx") for name in names)


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, 0.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 20)}, 21.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "0"}, 1.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": str(int(NOW.timestamp()) + 9)}, 10.0),
        ({"x-ratelimit-remaining": "12", "x-ratelimit-reset": "9999999999"}, 60.0),
        ({}, 60.0),
    ],
)
def test_the_wait_is_the_one_asked_for(headers: dict[str, str], waits: float) -> None:
    assert wait_s(Answer(status=429, headers=headers), attempt=1, now=NOW) == waits


@example(status=429, value="\u00b2", attempt=1)  # a digit, and no number
@given(status=st.integers(100, 599), value=st.text(max_size=30), attempt=st.integers(1, 4))
def test_no_header_makes_a_wait_that_is_none(status: int, value: str, attempt: int) -> None:
    names = ("retry-after", "x-ratelimit-reset", "ratelimit-reset")
    headers = {**dict.fromkeys(names, value), "x-ratelimit-remaining": "0"}
    found = wait_s(Answer(status=status, headers=headers, body={"message": value}), attempt=attempt, now=NOW)
    assert found is None or 0.0 <= found < 1e12


def test_a_plain_403_is_final() -> None:
    answer = Answer(status=403, headers={"x-ratelimit-remaining": "4999"}, body={"message": "Resource not accessible"})
    assert wait_s(answer, attempt=1, now=NOW) is None
