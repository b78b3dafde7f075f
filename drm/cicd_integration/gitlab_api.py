"""GitLab's REST API, version 4: "Commits API" (pipeline statuses) and "Notes API" in GitLab Docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from drm.cicd_integration.answers import Answer, refusal
from drm.cicd_integration.http_client import Client
from drm.cicd_integration.one_comment import find_ours, make_or_update
from drm.cicd_integration.publishing import Notice, Target, check_repository

__all__ = ["GitLab", "headers_of"]

_STATES = {"success": "success", "failure": "failed", "error": "failed"}
_DESCRIPTION = 255


def headers_of(token: str) -> Mapping[str, str]:
    """Return the headers of every request."""
    return {"PRIVATE-TOKEN": token, "Accept": "application/json", "User-Agent": "drm-testing"}


class GitLab:
    """Implements ``Publisher``."""

    def __init__(self, client: Client, target: Target) -> None:
        self._client = client
        self._target = target
        self._at = f"/projects/{quote(check_repository(target.repository), safe='')}"

    def set_status(self, notice: Notice) -> None:
        """Needs a token with the scope ``api`` and the role Developer."""
        state = _STATES[notice.state]
        content: dict[str, Any] = {"state": state, "name": notice.name[:_DESCRIPTION]}
        content["description"] = notice.description[:_DESCRIPTION]
        if notice.target_url:
            content["target_url"] = notice.target_url
        if self._target.pipeline_id is not None:
            content["pipeline_id"] = self._target.pipeline_id
        answer = self._client.send("POST", f"{self._at}/statuses/{self._target.sha}", json=content)
        if answer.status == 400 and "Cannot transition status" in answer.message and self._is_set(notice.name, state):
            return  # a job that runs again says what is said already, which GitLab takes for an error
        self._check(answer, "the commit status was not set")

    def _is_set(self, name: str, state: str) -> bool:
        path = f"{self._at}/repository/commits/{self._target.sha}/statuses"
        answer = self._client.send("GET", path, params={"name": name, "per_page": 100})
        found = answer.body if answer.is_good and isinstance(answer.body, list) else []
        return any(item.get("name") == name and item.get("status") == state for item in found)

    def comment(self, notice: Notice, request_number: int) -> str:
        """Needs a token with the scope ``api`` and the role Reporter."""
        notes = f"{self._at}/merge_requests/{request_number}/notes"

        def page(number: int) -> Answer:
            query = {"per_page": 100, "page": number, "sort": "asc", "order_by": "created_at"}
            answer = self._client.send("GET", notes, params=query)
            self._check(answer, "the comments of the request were not read")
            return answer

        def find() -> str | None:
            owner = self._owner()

            def is_ours(note: Mapping[str, Any]) -> bool:
                return owner is not None and (note.get("author") or {}).get("id") == owner

            return find_ours(page, notice.marker, is_ours)

        def update(number: str) -> Answer:
            return self._client.send("PUT", f"{notes}/{number}", json={"body": notice.comment})

        def create() -> Answer:
            return self._client.send("POST", notes, json={"body": notice.comment}, repeatable=False)

        answer, done = make_or_update(find, update, create)
        self._check(answer, "the comment was not written")
        return done

    def _owner(self) -> int | None:
        """Return the id of the user whose token it is."""
        me = self._client.send("GET", "/user")
        self._check(me, "the owner of the token was not told")
        found = me.body.get("id") if isinstance(me.body, dict) else None
        return found if isinstance(found, int) else None

    def _check(self, answer: Answer, what: str) -> None:
        if answer.is_good:
            return
        name = self._target.token_name
        remedies = {
            400: "see what it says of the request",
            401: f"{name} is wrong or has expired: set it anew",
            403: f"give {name} the scope api and the role Developer",
            404: f"see whether {self._target.repository} and the commit are there, and whether {name} may see them",
            422: "see what it says of the request",
        }
        raise refusal(answer, what=what, service="GitLab", remedies=remedies)
