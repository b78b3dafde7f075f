"""What a test's function is, as a number: equal while its source is, wherever it stands and whatever it is called."""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from hashlib import blake2b
from types import CodeType
from typing import Any

__all__ = ["sources_of"]


def sources_of(items: Mapping[str, Any]) -> dict[str, int]:
    """Return a hash by task id, of the lines of each item's function; a test without Python source has none.

    Decorators and the line that names it are left out: a renamed test, and one with further parameters, is the same.
    """
    known: dict[int, int] = {}
    stripped: dict[str, list[str]] = {}
    found = {}
    for task_id, item in items.items():
        function = getattr(item, "obj", None)
        function = getattr(function, "__func__", function)  # of a method
        code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
        if not isinstance(code, CodeType):
            continue
        value = known.get(id(code))
        if value is None:
            value = known[id(code)] = _hash(code, stripped)
        if value:
            parameters = task_id.partition("[")[2]
            found[task_id] = value ^ _of_text(parameters) if parameters else value
    return found


def _hash(code: CodeType, stripped: dict[str, list[str]]) -> int:
    lines = stripped.get(code.co_filename)
    if lines is None:
        lines = stripped[code.co_filename] = [line.strip() for line in linecache.getlines(code.co_filename)]
    start, end = code.co_firstlineno - 1, _last_line(code)
    while start < min(end, len(lines)) and not lines[start].startswith(("def ", "async def ")):
        start += 1  # a decorator
    if start >= min(end, len(lines)):
        return 0
    _, _, arguments = lines[start].partition("(")  # the name may change
    return _of_text("\n".join([arguments, *lines[start + 1 : end]]))


def _last_line(code: CodeType) -> int:
    last = code.co_firstlineno
    for _, _, line in code.co_lines():
        if line is not None and line > last:
            last = line
    for inner in code.co_consts:
        if type(inner) is CodeType:
            last = max(last, _last_line(inner))
    return last


def _of_text(text: str) -> int:
    """Return 62 bits of a hash, at least 1: SQLite's integers are signed, and 0 stands for unknown."""
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 2) | 1
