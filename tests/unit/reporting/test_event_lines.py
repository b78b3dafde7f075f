"""Lines of events: what was written is what is read, today's file by tomorrow's version too."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from drm.model import events
from drm.model.death import DeathKind
from drm.model.errors import ConfigError
from drm.model.plan import Refusal, ScalingAction, ScalingDecision, Trigger
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage
from drm.reporting.event_lines import event_of, line_of

AMOUNTS = Resources(cpu_cores=0.5, memory_bytes=3, gpus=1)
DECISION = ScalingDecision(
    action=ScalingAction.UP,
    worker_type="cpu",
    workers=1,
    wanted=3,
    granted=2,
    trigger=Trigger(code="queue_pressure", metric="queue_s", value=9.0, threshold=5.0),
    reason="work waits",
    remove=("w1",),
    inputs=(("waiting", 4.0),),
    alternatives=("by_time: 9",),
    limits_hit=("maximum",),
)
VALUES: dict[str, Any] = {
    "str": "text",
    "int": 3,
    "float": 1.5,
    "bool": True,
    "tuple[str, ...]": ("a", "b"),
    "tuple[tuple[str, int], ...]": (("a", 1), ("b", 2)),
    "Resources": AMOUNTS,
    "Usage": Usage(wall_s=1.0, cpu_s=0.5, peak_rss_bytes=7),
    "Outcome": Outcome.PASSED,
    "DeathKind | None": DeathKind.MEMORY,
    "Outcome | None": Outcome.FAILED,
    "float | None": 1.5,
    "ScalingDecision": DECISION,
    "tuple[Refusal, ...]": (Refusal(task_id="a", reason="too large"),),
}


def example(cls: type[events.Event]) -> events.Event:
    """Return an event with every field set."""
    return cls(**{field.name: VALUES[str(field.type)] for field in dataclasses.fields(cls)})


@pytest.mark.parametrize("cls", events.EVENT_TYPES.values(), ids=lambda cls: cls.__name__)
def test_every_event_survives_the_file(cls: type[events.Event]) -> None:
    event = example(cls)
    assert event_of(json.loads(line_of(event))) == event


@pytest.mark.parametrize("cls", events.EVENT_TYPES.values(), ids=lambda cls: cls.__name__)
def test_a_line_holds_the_type_and_every_field(cls: type[events.Event]) -> None:
    event = example(cls)
    described = json.dumps(dataclasses.asdict(event), default=sorted)
    assert json.loads(line_of(event)) == {"event": cls.__name__, **json.loads(described)}


def test_a_line_is_written_without_blanks() -> None:
    event = events.CancelRequested(seq=1, at="2026-01-01T00:00:00.000Z", elapsed_s=0.5, reason="Ctrl-C")
    assert line_of(event) == (
        '{"event":"CancelRequested","seq":1,"at":"2026-01-01T00:00:00.000Z","elapsed_s":0.5,"reason":"Ctrl-C"}'
    )


def test_an_attempt_without_outcome_survives_too() -> None:
    event = dataclasses.replace(example(events.AttemptFinished), outcome=None)
    assert event_of(json.loads(line_of(event))) == event


def test_fields_of_a_newer_version_are_ignored() -> None:
    data = {**json.loads(line_of(example(events.CancelRequested))), "invented_later": [1]}
    assert event_of(data) == example(events.CancelRequested)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"event": "NoSuchEvent"},
        {"event": "CancelRequested", "seq": 1},
        {"event": "UtilizationSampled", "reserved": {"cpu_cores": "many"}},
        {"event": "ScalingDecided", "decision": {"action": "sideways"}},
        {"event": "ScalingDecided", "decision": 3},
        {"event": "PlanMade", "refusals": [{"no": "task"}]},
    ],
)
def test_damage_is_a_config_error(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        event_of(data)
