"""Frozen dataclasses to plain JSON values and back, checked on the way in.

Annotations are the schema: a value of the wrong type raises ConfigError that
names its place (``tests[3].wall_s``). Unknown fields are ignored; missing ones
take their default. A tuple of values whose class has ``AS_COLUMNS`` is one list per
field: a third of the size, and what charts and data frames want.
"""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from drm.model.errors import ConfigError, DrmError

__all__ = ["columns_of", "decode", "encode"]

_Encoder = Callable[[Any], Any]
_Decoder = Callable[[Any, str], Any]
_Value = TypeVar("_Value")


def encode(value: Any) -> Any:
    """Return the value as JSON knows it; numbers that JSON lacks (NaN, infinity) become null."""
    kind: Any = type(value)
    return _encoder(kind)(value)


def _same(value: Any) -> Any:
    return value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@cache
def _encoder(kind: Any) -> _Encoder:
    """Return what turns a value of the annotated type into JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = _encoder(next(item for item in arguments if item is not types.NoneType))
        return _same if inner is _same else lambda value: None if value is None else inner(value)
    if origin is tuple:
        columnar = columns_of(kind)
        if columnar is not None:
            return _columns_encoder(columnar)
        if Ellipsis not in arguments:
            inners = [_encoder(item) for item in arguments]
            return lambda value: [each(item) for each, item in zip(inners, value, strict=True)]
        return _list_encoder(_encoder(arguments[0]))
    if kind is float:
        return _finite
    if kind in (int, str, bool):
        return _same
    if issubclass(kind, enum.Enum):
        return lambda value: value.value
    return _object_encoder(kind)


def _list_encoder(inner: _Encoder) -> Callable[[Iterable[Any]], list[Any]]:
    if inner is _same:
        return list
    if inner is _finite:  # of many numbers it is quicker to see that all are finite
        return lambda values: list(values) if all(map(math.isfinite, values)) else list(map(_finite, values))
    return lambda values: list(map(inner, values))


def _columns_encoder(cls: type) -> _Encoder:
    hints = get_type_hints(cls)
    columns = [(name, attrgetter(name), _list_encoder(_encoder(hints[name]))) for name in _names(cls)]
    return lambda values: {name: as_list([get(value) for value in values]) for name, get, as_list in columns}


def _object_encoder(cls: type) -> _Encoder:
    hints = get_type_hints(cls)
    inners: list[tuple[str, _Encoder]] = []  # filled at first use: a run holds runs

    def encoder(value: Any) -> dict[str, Any]:
        if not inners:
            inners.extend((name, _encoder(hints[name])) for name in _names(cls))
        return {name: inner(getattr(value, name)) for name, inner in inners}

    return encoder


@cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


def _needed(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING)


def columns_of(kind: Any) -> type | None:
    """Return the class of a tuple's values where they are written as columns, else None."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple and Ellipsis in arguments and getattr(arguments[0], "AS_COLUMNS", False):
        cls: type = arguments[0]
        return cls
    return None


def decode(cls: type[_Value], data: Any, where: str = "") -> _Value:
    """Return the ``cls`` that ``encode`` gave ``data`` for; ConfigError names what does not fit."""
    kind: Any = cls
    try:
        value: _Value = _decoder(kind)(data, where)
    except RecursionError as error:
        raise ConfigError(f"{where or 'the value'} is nested too deeply") from error
    return value


@cache
def _decoder(kind: Any) -> _Decoder:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional(_decoder(next(item for item in arguments if item is not types.NoneType)))
    columnar = columns_of(kind)
    if columnar is not None:
        return _many_in_columns(columnar)
    if origin is tuple:
        return _row(arguments) if Ellipsis not in arguments else _many(_decoder(arguments[0]))
    if kind is float:
        return _number
    if kind in (int, str, bool):
        return _scalar(kind, {int: "a whole number", str: "text", bool: "true or false"}[kind])
    if issubclass(kind, enum.Enum):
        return _enum(kind)
    return _dataclass(kind)


def _wrong(where: str, wanted: str, value: Any) -> ConfigError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ConfigError(f"{where or 'the value'} should be {wanted}, not {shown}")


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(where, "a number", value)
    return float(value)


def _scalar(kind: type, wanted: str) -> _Decoder:
    def decoder(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise _wrong(where, wanted, value)
        return value

    return decoder


def _optional(inner: _Decoder) -> _Decoder:
    return lambda value, where: None if value is None else inner(value, where)


def _many(inner: _Decoder) -> _Decoder:
    def decoder(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        return tuple([inner(item, f"{where}[{place}]") for place, item in enumerate(value)])

    return decoder


def _many_in_columns(cls: type) -> _Decoder:
    hints = get_type_hints(cls)
    inners = {name: _decoder(hints[name]) for name in _names(cls)}
    needed = _needed(cls)

    def decoder(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, dict):
            raise _wrong(where, "an object of columns", value)
        names = [name for name in inners if name in value or name in needed]  # an older drm may not know all of them
        for name in names:
            if not isinstance(value.get(name), list):
                raise _wrong(f"{where}.{name}", "a list", value.get(name))
            if len(value[name]) != len(value[names[0]]):
                raise ConfigError(f"{where}.{name} is not as long as the columns beside it")
        columns = [_column(inners[name], value[name], f"{where}.{name}") for name in names]
        return tuple([cls(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)])

    return decoder


def _column(inner: _Decoder, values: list[Any], where: str) -> list[Any]:
    try:
        return [inner(item, where) for item in values]
    except ConfigError:
        for place, item in enumerate(values):  # again, for the place
            inner(item, f"{where}[{place}]")
        raise


def _row(kinds: tuple[Any, ...]) -> _Decoder:
    inners = [_decoder(kind) for kind in kinds]

    def decoder(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(inners):
            raise _wrong(where, f"a list of {len(inners)}", value)
        return tuple([inner(item, where) for inner, item in zip(inners, value, strict=True)])

    return decoder


def _enum(kind: type[enum.Enum]) -> _Decoder:
    members = {member.value: member for member in kind}

    def decoder(value: Any, where: str) -> Any:
        if not isinstance(value, str) or value not in members:
            raise _wrong(where, "one of " + ", ".join(members), value)
        return members[value]

    return decoder


def _dataclass(cls: type) -> _Decoder:
    hints = get_type_hints(cls)
    inners: dict[str, _Decoder] = {}  # filled at first use: a run holds runs
    needed = _needed(cls)

    def decoder(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        if not inners:
            inners.update({name: _decoder(hints[name]) for name in _names(cls)})
        for name in needed:
            if name not in value:
                raise ConfigError(f"{where + '.' if where else ''}{name} is missing")
        prefix = f"{where}." if where else ""
        known = {name: inner(value[name], prefix + name) for name, inner in inners.items() if name in value}
        try:
            return cls(**known)
        except DrmError as error:
            raise ConfigError(f"{where}: {error}") from error

    return decoder
