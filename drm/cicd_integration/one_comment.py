"""One comment, however often a job runs: found and updated, made where there is none."""

from __future__ import annotations

from collections.abc import Callable

from drm.cicd_integration.answers import Answer
from drm.model.errors import LostError

__all__ = ["make_or_update"]

_TRIES = 3
_GONE = (404, 410)


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
