"""What a provider says, fit for one line of ours."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 300
_HIDDEN = "***"


def one_line(said: object, *, secrets: Iterable[str] = ()) -> str:
    """Return a text as one line of at most 300 characters, with each of the secrets hidden wherever it is in it."""
    text = str(said)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    text = "".join(char if char.isprintable() else " " for char in text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
