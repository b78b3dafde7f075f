"""What a provider's API answered, and whether asking again may help. Pure.

GitHub Docs: "Rate limits for the REST API" (a 403 may be a limit), "Best practices for using the REST API".
GitLab Docs: "User and IP rate limits" (429 with ``Retry-After`` and ``RateLimit-Reset``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from drm.model.errors import ConfigError, DrmError, LostError, ThrottledError, UnauthorisedError

__all__ = ["Answer", "TokenError", "UnreachableError", "backoff_s", "refusal", "wait_s"]

_SECONDARY_LIMIT_S = 60.0  # "wait for at least one minute", then exponentially longer
_BACKOFF_S = 1.0
_TROUBLE = (500, 502, 503, 504)
_MOST_CHARACTERS = 200


class TokenError(UnauthorisedError):
    """The token is no good at all (401): nothing else can be done with it either."""


class UnreachableError(LostError):
    """The server gave no answer: it will give none to the next request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``headers``: their names in small letters. ``body``: decoded JSON, None where it was none.

    ``has_next``: the ``Link`` header names a further page.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    has_next: bool = False

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """Return what the server says of an error: text, or GitLab's fields with their errors."""
        body = self.body if isinstance(self.body, dict) else {}
        said = body.get("message") or body.get("error") or ""
        details = [str(item.get("message", "")) for item in _rows(body.get("errors"))]
        return ": ".join(part for part in (str(said), *details) if part)[:_MOST_CHARACTERS]

    @property
    def is_throttled(self) -> bool:
        """Tell whether the server asks to be called less often: 429, or one of GitHub's limits as a 403."""
        if self.status != 403:
            return self.status == 429
        exhausted = self.headers.get("x-ratelimit-remaining") == "0"
        return exhausted or "retry-after" in self.headers or "rate limit" in self.message.lower()


def _rows(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def wait_s(answer: Answer, *, attempt: int, now: datetime) -> float | None:
    """Return after how many seconds to ask again, having asked ``attempt`` times; None: the answer is final."""
    if answer.is_throttled:
        asked = _asked_s(answer.headers, now)
        return asked if asked is not None else _SECONDARY_LIMIT_S * 2.0 ** (attempt - 1)
    if answer.status in _TROUBLE:
        asked = _after_s(answer.headers.get("retry-after"), now)
        return max(asked or 0.0, backoff_s(attempt))
    return None


def backoff_s(attempt: int) -> float:
    """Return how long to wait after attempts that had no answer: 1, 2, 4 ... seconds."""
    return _BACKOFF_S * 2.0 ** (attempt - 1)


def _asked_s(headers: Mapping[str, str], now: datetime) -> float | None:
    after = _after_s(headers.get("retry-after"), now)
    if after is not None:
        return after
    for left, reset in (("x-ratelimit-remaining", "x-ratelimit-reset"), ("ratelimit-remaining", "ratelimit-reset")):
        if headers.get(left) == "0" and headers.get(reset, "").isdecimal():
            return max(0.0, min(float(headers[reset]), 1e11) - now.timestamp()) + 1.0  # the clocks may differ a little
    return None


def _after_s(text: str | None, now: datetime) -> float | None:
    """Return the seconds of a ``Retry-After``: a number, or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(float(text), 1e9)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one without a zone
        return None


def refusal(answer: Answer, *, what: str, service: str, remedies: Mapping[int, str]) -> DrmError:
    """Return the error for an answer that is final: what could not be done, what was answered, what to do."""
    said = f"{answer.status} {answer.message}".strip()
    line = f"{what}: {service} answered {said}"
    if answer.is_throttled:
        return ThrottledError(line, remedy="it asks to be called less often: run the job again later")
    if answer.status >= 500:
        return LostError(line, remedy="it has trouble of its own: run the job again later")
    kinds = {401: TokenError, 403: UnauthorisedError}
    return kinds.get(answer.status, ConfigError)(line, remedy=remedies.get(answer.status, ""))
