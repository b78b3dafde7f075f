"""What the user can set about scaling."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from drm.model.errors import ConfigError
from drm.model.units import parse_duration, shown

# What a policy starts from where nothing else is said.
_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "makespan": {},
    "utilization": {"window_s": 300.0, "up_cooldown_s": 300.0, "down_cooldown_s": 600.0, "votes": 1},
}
_SHARES = ("target", "up_above", "down_below")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSettings:
    """The scaling policy and its numbers, in seconds and shares.

    ``policy``: "makespan" (waiting work should be cleared in ``target_queue_s``) or "utilization" (the fullest
    resource should be reserved to ``target``; decisions above ``up_above`` and below ``down_below``).
    ``idle_s``: a worker without a reservation for longer may go.
    ``up_cooldown_s`` / ``down_cooldown_s``: the least time between two decisions of
    the same direction for one worker type. ``default_task_s``: counted for a waiting
    test of unknown duration. ``window_s``: utilization is averaged over it.
    ``value_of_time``: what an hour that the run ends sooner is worth, in USD: a worker of policy "makespan" is added
    only if the time that it saves is worth what it costs. ``boot_s``: from asking for a worker until it has joined,
    as long as none has shown it. ``votes``: so many decisions in a row must find a worker superfluous before it goes.
    """

    policy: str = "makespan"
    target_queue_s: float = 5.0
    idle_s: float = 3.0
    up_cooldown_s: float = 1.0
    down_cooldown_s: float = 1.0
    default_task_s: float = 0.1
    window_s: float = 60.0
    target: float = 0.7
    up_above: float = 0.8
    down_below: float = 0.3
    value_of_time: float = 50.0
    boot_s: float = 1.0
    votes: int = 3

    def __post_init__(self) -> None:
        if self.policy not in _DEFAULTS:
            raise ConfigError(
                f"policy: {shown(self.policy)} is no scaling policy", remedy=f"write {' or '.join(_DEFAULTS)}"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if not field.name.endswith("_s"):
                continue
            least_is_zero = field.name in ("idle_s", "up_cooldown_s", "down_cooldown_s", "boot_s")
            if not math.isfinite(value) or value < 0 or (value == 0 and not least_is_zero):
                raise ConfigError(
                    f"{field.name}: {value!r} is not a {'duration' if least_is_zero else 'positive duration'}",
                    remedy="give seconds, for example 5",
                )
        if not 0 < self.value_of_time < math.inf:
            raise ConfigError(
                f"value_of_time: {self.value_of_time!r} is no price", remedy="give USD an hour, for example 50"
            )
        if self.votes not in range(1, 1001):
            raise ConfigError(f"votes: {self.votes!r} is no number of decisions", remedy="give a whole number from 1")
        if not 0 <= self.down_below < self.target < self.up_above <= 1:
            raise ConfigError(
                f"scaling: not down_below < target < up_above: {self.down_below!r}, {self.target!r}, {self.up_above!r}",
                remedy="give shares from 0 to 1, such as 0.3, 0.7 and 0.8",
            )

    @classmethod
    def of_policy(cls, policy: str, **numbers: float) -> ScalingSettings:
        """Return the policy with its own defaults: utilization looks over 300 s and waits 300 s (up), 600 s (down)."""
        given: dict[str, Any] = {**_DEFAULTS.get(policy, {}), **numbers}
        return cls(policy=policy, **given)


def parse_scaling(value: Any, *, where: str) -> ScalingSettings:
    """Return the settings that ``"utilization"`` or ``"utilization,target=0.6,idle=30s"`` asks for, or a mapping of
    the same; ``_s`` is left out of names. ConfigError names ``where``."""
    if isinstance(value, Mapping):
        pairs = {str(key): each for key, each in value.items()}
    else:
        words = [word.strip() for word in str(value).split(",")]
        pairs = {"policy": words[0]}
        for word in words[1:]:
            name, equals, number = word.partition("=")
            if not equals or name.strip() in pairs:
                raise ConfigError(
                    f"{where}: {shown(word)} is not NAME=NUMBER, once", remedy='write "utilization,target=0.6"'
                )
            pairs[name.strip()] = number.strip()
    policy = str(pairs.pop("policy", "makespan"))
    if policy not in _DEFAULTS:
        raise ConfigError(f"{where}: {shown(policy)} is no scaling policy", remedy=f"write {' or '.join(_DEFAULTS)}")
    known = {field.name.removesuffix("_s"): field.name for field in fields(ScalingSettings) if field.name != "policy"}
    numbers: dict[str, float] = {}
    for name, each in pairs.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {name!r}", remedy=remedy)
        numbers[known[name]] = _number(each, f"{where}: {name}", name)
    try:
        return ScalingSettings.of_policy(policy, **numbers)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", remedy=error.remedy) from None


def parse_value_of_time(value: Any, *, where: str) -> float:
    """Return USD an hour; ConfigError names ``where``."""
    amount = _plain(value, where, "a price", "50")
    if not 0 < amount < math.inf:
        raise ConfigError(f"{where}: {shown(value)} is no price", remedy="give USD an hour, for example 50")
    return amount


def _number(value: Any, what: str, name: str) -> float:
    if name == "value_of_time":
        return parse_value_of_time(value, where=what)
    if name == "votes":
        number = _plain(value, what, "a number of decisions", "3")
        return int(number) if number in range(1, 1001) else math.nan  # which is refused where all are checked
    return _plain(value, what, "a share", "0.7") if name in _SHARES else parse_duration(value, what=what)


def _plain(value: Any, what: str, kind: str, such_as: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number) or isinstance(value, bool):
        raise ConfigError(f"{what}: {shown(value)} is not {kind}", remedy=f"give a number such as {such_as}")
    return number
