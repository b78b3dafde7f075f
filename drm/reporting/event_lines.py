"""An event as a line of events.ndjson, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

from drm.model.death import DeathKind
from drm.model.errors import ConfigError
from drm.model.events import EVENT_TYPES, Event
from drm.model.plan import Refusal, ScalingAction, ScalingDecision, Trigger
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage

__all__ = ["event_of", "line_of"]

# -- writing

_getters: dict[type, tuple[tuple[str, ...], Callable[[Any], Any]]] = {}


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    kind = type(value)
    if kind not in _getters:
        names = tuple(field.name for field in fields(value))
        _getters[kind] = names, attrgetter(*names)  # two fields or more, always: a tuple comes back
    names, getter = _getters[kind]
    return dict(zip(names, getter(value), strict=True))


# Enums of the model are strings, tuples become lists and nested values go through ``_plain``. This is the run's hot
# loop: a function that walks through the values takes three times as long.
_encode = json.JSONEncoder(separators=(",", ":"), default=_plain, check_circular=False).encode


def line_of(event: Event) -> str:
    """Return the event as JSON, its type's name under ``event``, without the end of the line."""
    return _encode({"event": type(event).__name__, **_plain(event)})


# -- reading


def event_of(data: dict[str, Any]) -> Event:
    """Return the event that a line held; ConfigError names what does not fit.

    Fields this version does not know are ignored, so that a newer file can be read.
    """
    cls = EVENT_TYPES.get(str(data.get("event")))
    if cls is None:
        raise ConfigError(f"event {data.get('event')!r} is not known", remedy="use the drm version that wrote it")
    names, rebuilt = _readers(cls)
    known = {**data}
    del known["event"]
    if not known.keys() <= names:
        known = {name: value for name, value in known.items() if name in names}
    for name, read in rebuilt:
        if name in known:
            try:
                known[name] = read(known[name])
            except (TypeError, ValueError, KeyError) as error:
                raise ConfigError(f"event field {name!r} is damaged ({error})") from error
    try:
        return cls(**known)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"event {cls.__name__} number {data.get('seq')} is damaged ({error})") from error


_Reader = Callable[[Any], Any]
_readers_by_class: dict[type[Event], tuple[frozenset[str], tuple[tuple[str, _Reader], ...]]] = {}


def _readers(cls: type[Event]) -> tuple[frozenset[str], tuple[tuple[str, _Reader], ...]]:
    """Return the names of the fields, and those that JSON does not hold as they are, each with how to rebuild it."""
    known = _readers_by_class.get(cls)
    if known is None:
        kinds = {field.name: str(field.type) for field in fields(cls)}
        rebuilt = tuple((name, _reader(name, kind)) for name, kind in kinds.items() if kind not in _PLAIN)
        known = _readers_by_class[cls] = (frozenset(kinds), rebuilt)
    return known


def _reader(name: str, kind: str) -> _Reader:
    return _known_amounts if name == "reserved" else _BY_TYPE.get(kind, _tuples)


def _known_amounts(value: Any) -> Resources:
    return _resources(**value)


@lru_cache(maxsize=4096)  # what is reserved repeats from event to event
def _resources(**amounts: Any) -> Resources:
    return Resources(**amounts)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return value


def _decision(value: dict[str, Any]) -> ScalingDecision:
    known = {field.name: _tuples(value[field.name]) for field in fields(ScalingDecision) if field.name in value}
    known["action"] = ScalingAction(known["action"])
    known["trigger"] = Trigger(**known["trigger"])
    return ScalingDecision(**known)


_PLAIN = frozenset(("str", "int", "float", "bool", "float | None"))
_BY_TYPE: dict[str, _Reader] = {
    "Resources": lambda value: Resources(**value),
    "Usage": lambda value: Usage(**value),
    "Outcome": Outcome,
    "Outcome | None": lambda value: None if value is None else Outcome(value),
    "DeathKind | None": lambda value: None if value is None else DeathKind(value),
    "tuple[Refusal, ...]": lambda value: tuple(Refusal(**item) for item in value),
    "ScalingDecision": _decision,
}
