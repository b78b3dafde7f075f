"""Plain values of a scenario, checked: what is wrong is said with its place and the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from drm.model.errors import ConfigError
from drm.model.markers import check_key
from drm.model.units import parse_count_range, shown

__all__ = ["MOST_WORKERS", "fields_of", "list_of", "number_of", "range_of", "share_of", "table_of", "whole"]

MOST_WORKERS = 100_000
_Value = TypeVar("_Value")


def fields_of(
    kind: Callable[..., _Value],
    data: Any,
    where: str,
    readers: Mapping[str, Callable[[Any, str], Any]],
    *,
    renamed: Mapping[str, str] | None = None,
) -> _Value:
    """Return a value made of a table, each key by its reader. ``renamed``: fields by key, where they differ."""
    rows = table_of(data, where, tuple(readers))
    return kind(
        **{(renamed or {}).get(key, key): readers[key](value, f"{where}: {key}") for key, value in rows.items()}
    )


def table_of(data: Any, where: str, keys: Sequence[str]) -> dict[str, Any]:
    """Return a table that has no key but these."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: {shown(data)} is no table", remedy=f"its keys are {', '.join(keys)}")
    for key in data:
        check_key(str(key), tuple(keys), where=where)
    return {str(key): value for key, value in data.items()}


def list_of(rows: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """Return the list under the key; it has one item at least."""
    value = rows.get(key)
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{where}: {key} is {shown(value)}", remedy="give a list with one item at least")
    return value


def range_of(value: Any, where: str) -> tuple[int, int]:
    """Return least and most of a count such as "2..8"."""
    if isinstance(value, bool) or "auto" in str(value):
        value = "?"
    return parse_count_range(str(value), what=where, auto=1, minimum=0, maximum=MOST_WORKERS)


def whole(value: Any, where: str, *, least: int, most: int) -> int:
    """Return a whole number within limits."""
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(
            f"{where}: {shown(value)} is no number", remedy=f"give a whole number from {least} to {most:,}"
        )
    return value


def number_of(value: Any, where: str) -> float:
    """Return a number that is 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"{where}: {shown(value)} is no amount", remedy="give a number, 0 or more")
    return float(value)


def share_of(value: Any, where: str) -> float:
    """Return a number from 0 to 1."""
    number = number_of(value, where)
    if number > 1:
        raise ConfigError(f"{where}: {number:g} is no share", remedy="give a number from 0 to 1")
    return number
