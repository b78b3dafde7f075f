"""GitHub's REST API, version 2022-11-28: "Commit statuses" and "Issue comments" in GitHub Docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drm.cicd_integration.answers import Answer, refusal
from drm.cicd_integration.http_client import Client
from drm.cicd_integration.one_comment import find_ours, make_or_update
from drm.cicd_integration.publishing import Notice, Target, check_repository

__all__ = ["GitHub", "headers_of"]

_DESCRIPTION = 140  # characters; more is a 422
_OURS = ("OWNER", "MEMBER", "COLLABORATOR")


def headers_of(token: str) -> Mapping[str, str]:
    """Return the headers of every request."""
    return {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "drm-testing",
    }


class GitHub:
    """Implements ``Publisher``."""

    def __init__(self, client: Client, target: Target) -> None:
        self._client = client
        self._target = target
        self._at = f"/repos/{check_repository(target.repository)}"

    def set_status(self, notice: Notice) -> None:
        """Needs ``permissions: statuses: write``."""
        content: dict[str, Any] = {"state": notice.state, "context": notice.name}
        content["description"] = _cut(notice.description, _DESCRIPTION)
        if notice.target_url:
            content["target_url"] = notice.target_url
        answer = self._client.send("POST", f"{self._at}/statuses/{self._target.sha}", json=content)
        self._check(answer, "the commit status was not set", "statuses")

    def comment(self, notice: Notice, request_number: int) -> str:
        """Needs ``permissions: pull-requests: write``."""
        what = "the comment was not written"
        comments = f"{self._at}/issues/{request_number}/comments"

        def page(number: int) -> Answer:
            answer = self._client.send("GET", comments, params={"per_page": 100, "page": number})
            self._check(answer, "the comments of the request were not read", "pull-requests")
            return answer

        def find() -> str | None:
            return find_ours(page, notice.marker, _may_push)

        def update(number: str) -> Answer:
            return self._client.send("PATCH", f"{self._at}/issues/comments/{number}", json={"body": notice.comment})

        def create() -> Answer:
            return self._client.send("POST", comments, json={"body": notice.comment}, repeatable=False)

        answer, done = make_or_update(find, update, create)
        self._check(answer, what, "pull-requests")
        return done

    def _check(self, answer: Answer, what: str, permission: str) -> None:
        if answer.is_good:
            return
        name = self._target.token_name
        remedies = {
            301: "the repository has moved: set DRM_CI_REPOSITORY",
            401: f"{name} is wrong or has expired: set it anew",
            403: f"give the job `permissions: {permission}: write`",
            404: f"see whether {self._target.repository} and the commit are there, and whether {name} may see them",
            422: "see whether the commit is pushed and still there",
        }
        raise refusal(answer, what=what, service="GitHub", remedies=remedies)


def _may_push(comment: Mapping[str, Any]) -> bool:
    """Tell whether a bot, or one who may push, wrote it; no other is an author of ours."""
    user = comment.get("user") or {}
    return user.get("type") == "Bot" or comment.get("author_association") in _OURS


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
