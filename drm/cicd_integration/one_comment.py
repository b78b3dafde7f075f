"""One comment, however often a job runs: found and updated, made where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from drm.cicd_integration.answers import Answer
from drm.model.errors import LostError

__all__ = ["find_ours", "make_or_update"]

_MOST_PAGES = 100
_TRIES = 3
_GONE = (404, 410)


def find_ours(page: Callable[[int], Answer], marker: str, is_ours: Callable[[Mapping[str, Any]], bool]) -> str | None:
    """Return the id of our comment: it begins with the marker, and one of us wrote it. Anybody may write the marker.

    ``page``: asks for the comments of a page, from 1 on; they are read until there is no next one.
    """
    for number in range(1, _MOST_PAGES + 1):
        answer = page(number)
        for item in answer.body if isinstance(answer.body, list) else []:
            if is_ours(item) and str(item.get("body", "")).startswith(marker) and isinstance(item.get("id"), int):
                return str(item["id"])
        if not answer.has_next:
            break
    return None


def make_or_update(
    find: Callable[[], str | None], update: Callable[[str], Answer], create: Callable[[], Answer]
) -> tuple[Answer, str]:
    """Return the last answer, and ``updated`` or ``made``.

    Making one is not sent twice: where it had no good answer it may have been made all the same, and is looked for.
    """
    made_unseen = False
    for attempt in range(1, _TRIES + 1):
        number = find()
        if number is not None:
            answer = update(number)
            if answer.status not in _GONE:  # else somebody has deleted it meanwhile
                return answer, "made" if made_unseen else "updated"
        try:
            answer = create()
        except LostError:
            if attempt == _TRIES:
                raise
        else:
            if answer.status < 500 or attempt == _TRIES:
                return answer, "made"
        made_unseen = True
    raise AssertionError("unreachable")
