"""What a test's function is, as a number: equal while its source is, wherever it stands and whatever it is called."""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Mapping
from types import CodeType
from typing import Any

__all__ = ["sources_of"]


def sources_of(items: Mapping[str, Any]) -> dict[str, int]:
    """Return a hash by task id, of the lines of each item's function; a test without Python source has none.

    Decorators and the line that names it are left out: a renamed test, and one with further parameters, is the same.
    """
    known: dict[int, int] = {}
    found = {}
    for task_id, item in items.items():
        function = getattr(item, "function", None)
        code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
        if not isinstance(code, CodeType):
            continue
        value = known.get(id(code))
        if value is None:
            value = known[id(code)] = _hash(code)
        if value:
            parameters = task_id.partition("[")[2]
            found[task_id] = value ^ _of_text(parameters) if parameters else value
    return found


def _hash(code: CodeType) -> int:
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : _last_line(code)]
    body = [line.strip() for line in lines]
    start = next((place for place, line in enumerate(body) if line.startswith(("def ", "async def "))), None)
    if start is None:
        return 0
    name, _, arguments = body[start].partition("(")
    del name  # it may change
    return _of_text("\n".join([arguments, *body[start + 1 :]]))


def _last_line(code: CodeType) -> int:
    last = max((line for _, _, line in code.co_lines() if line is not None), default=code.co_firstlineno)
    return max([last, *(_last_line(inner) for inner in code.co_consts if isinstance(inner, CodeType))])


def _of_text(text: str) -> int:
    """Return 62 bits of a hash, at least 1: SQLite's integers are signed, and 0 stands for unknown."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 2) | 1
