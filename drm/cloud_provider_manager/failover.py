"""Where to ask next when a provider has none: zone, then type, then market, then region, then provider. Pure.

A refusal blocks the place it came from for three minutes, twice as long each time it is refused again, up to
``longest_s``. (Three minutes is how long Karpenter leaves an offering of EC2 alone after
InsufficientInstanceCapacity: ``UnavailableOfferingsTTL`` of aws/karpenter-provider-aws.)
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from drm.model.cluster import WorkerType
from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    LostError,
    QuotaError,
    ThrottledError,
    UnauthorisedError,
)

__all__ = [
    "Blocks",
    "Candidate",
    "ErrorClass",
    "Place",
    "candidates",
    "classify",
    "exhausted",
    "region_of",
    "ways_by_name",
]

_ANY = ""


class ErrorClass(str, enum.Enum):
    """What an error of a provider says to do."""

    CAPACITY = "capacity"  # ask elsewhere
    QUOTA = "quota"  # ask elsewhere: the region has a limit of its own for each type and market
    THROTTLED = "throttled"  # leave the provider alone for a while
    UNAUTHORISED = "unauthorised"  # a person must look
    CONFIG = "config"  # a person must look
    UNKNOWN = "unknown"  # find out what came of it, before anything else


def classify(error: DrmError) -> ErrorClass:
    """Return the class of an error that ``create`` raised; what is not typed is of unknown fate."""
    for kind, meaning in (
        (CapacityError, ErrorClass.CAPACITY),
        (QuotaError, ErrorClass.QUOTA),
        (ThrottledError, ErrorClass.THROTTLED),
        (UnauthorisedError, ErrorClass.UNAUTHORISED),
        (ConfigError, ErrorClass.CONFIG),
        (LostError, ErrorClass.THROTTLED),  # it could not be reached, and was not asked: the same is to be done
    ):
        if isinstance(error, kind):
            return meaning
    return ErrorClass.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a refusal holds. An empty part stands for all: of a provider that throttles, everything is blocked."""

    provider: str
    region: str = _ANY
    zone: str = _ANY
    type_name: str = _ANY
    market: str = _ANY

    def covers(self, worker_type: WorkerType) -> bool:
        """Tell whether what is refused there cannot be had as this type, zone and market."""
        offered = (
            worker_type.provider,
            region_of(worker_type.zone),
            worker_type.zone,
            worker_type.name,
            worker_type.market,
        )
        mine = (self.provider, self.region, self.zone, self.type_name, self.market)
        return all(part in (_ANY, other) for part, other in zip(mine, offered, strict=True))

    def describe(self) -> str:
        where = self.zone or self.region
        return " ".join(filter(None, (self.provider, where, self.type_name, self.market)))


def region_of(zone: str) -> str:
    """Return the region of a zone: ``us-east-1`` of ``us-east-1a``, ``us-central1`` of ``us-central1-a``."""
    return re.sub(r"(?<=\d)-?[a-z]\Z", "", zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    until_s: float
    refusals: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """What was refused of late. Immutable: each change returns another. ``longest_s``: where doubling ends."""

    first_s: float = 180.0
    longest_s: float = 1440.0
    held: Mapping[Place, _Block] = field(default_factory=lambda: MappingProxyType({}))

    def after(self, error: DrmError, worker_type: WorkerType, *, now_s: float) -> Blocks:
        """Return the blocks after this refusal. Classes that are nobody's to go round of (unknown too) block nothing.

        A refusal is counted as repeated until the last block has been over for as long as it held.
        """
        place = _place(classify(error), worker_type)
        if place is None:
            return self
        known = self.held.get(place)
        refusals = 1
        if known is not None and now_s < known.until_s + self._length_s(known.refusals):
            refusals = known.refusals + 1
        block = _Block(until_s=now_s + self._length_s(refusals), refusals=refusals, reason=error.message)
        return replace(self, held=MappingProxyType({**self.held, place: block}))

    def after_success(self, worker_type: WorkerType) -> Blocks:
        """Return the blocks without those that a create has just proved wrong."""
        left = {place: block for place, block in self.held.items() if not place.covers(worker_type)}
        return replace(self, held=MappingProxyType(left))

    def blocking(self, worker_type: WorkerType, *, now_s: float) -> tuple[Place, float, str] | None:
        """Return the place, the time and the reason of the block that holds longest; None when it may be asked for."""
        found = [
            (block.until_s, place, block.reason)
            for place, block in self.held.items()
            if now_s < block.until_s and place.covers(worker_type)
        ]
        if not found:
            return None
        until_s, place, reason = max(found, key=lambda each: each[0])
        return place, until_s, reason

    def _length_s(self, refusals: int) -> float:
        return min(self.longest_s, self.first_s * 2.0 ** min(refusals - 1, 60))


def _place(error: ErrorClass, worker_type: WorkerType) -> Place | None:
    provider, zone = worker_type.provider, worker_type.zone
    if error is ErrorClass.CAPACITY:
        return Place(
            provider=provider, region=region_of(zone), zone=zone, type_name=worker_type.name, market=worker_type.market
        )
    if error is ErrorClass.QUOTA:
        return Place(provider=provider, region=region_of(zone), type_name=worker_type.name, market=worker_type.market)
    if error is ErrorClass.THROTTLED:
        return Place(provider=provider)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to get a worker. ``why_not``: why it is not asked for now, empty if it may be."""

    worker_type: WorkerType
    why_not: str = ""
    free_at_s: float = 0.0

    def closed_by(self, why_not: str) -> Candidate:
        """Return the way with why it was not taken this time, where no block says it."""
        return replace(self, why_not=why_not, free_at_s=math.inf) if why_not and not self.why_not else self


def ways_by_name(types: Sequence[WorkerType]) -> dict[str, tuple[WorkerType, ...]]:
    """Return per name of a type every way to have a worker of it, and after them the types that can stand in.

    A stand-in is as large in every amount, has all the labels, and costs at most what the dearest way of the type
    itself does: what was found worth that price is served, and nothing dearer is bought unasked.
    """
    own: dict[str, list[WorkerType]] = {}
    for each in types:
        own.setdefault(each.name, []).append(each)

    def can_stand_in(other: WorkerType, ways: Sequence[WorkerType]) -> bool:
        return (
            all(way.capacity.fits_in(other.capacity) and way.labels <= other.labels for way in ways)
            and other.usd_per_hour <= max(way.usd_per_hour for way in ways)
            and other.name != ways[0].name
        )

    return {name: (*ways, *(each for each in types if can_stand_in(each, ways))) for name, ways in own.items()}


def candidates(offered: Sequence[WorkerType], blocks: Blocks, *, now_s: float) -> tuple[Candidate, ...]:
    """Return all ways in the order in which to try them, blocked ones with the reason.

    Zones change first, then types, then spot to on-demand, then regions, then providers; within each the given
    order holds, which is the caller's preference.
    """
    ranks: dict[tuple[int, str], int] = {}

    def key(each: WorkerType) -> tuple[int, ...]:
        parts = (each.provider, region_of(each.zone), each.market, each.name, each.zone)
        return tuple(ranks.setdefault((level, part), len(ranks)) for level, part in enumerate(parts))

    keyed = [(key(each), each) for each in offered]
    found = []
    for _, each in sorted(keyed, key=lambda pair: pair[0]):
        blocked = blocks.blocking(each, now_s=now_s)
        if blocked is None:
            found.append(Candidate(worker_type=each))
        else:
            place, until_s, reason = blocked
            why = f"{place.describe()} is left alone for {until_s - now_s:.0f} s more: {reason}"
            found.append(Candidate(worker_type=each, why_not=why, free_at_s=until_s))
    return tuple(found)


def exhausted(tried: Sequence[Candidate], *, now_s: float) -> CapacityError:
    """Return the error that says why nothing is left to try, and when the first way is open again."""
    reasons = list(dict.fromkeys(each.why_not for each in tried if each.why_not))
    opens = min((each.free_at_s for each in tried if each.why_not), default=now_s)
    shown = "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
    when = f"the next opens in {max(0.0, opens - now_s):.0f} s; " if math.isfinite(opens) else ""
    return CapacityError(
        f"none of {len(tried)} ways to get a worker is open ({shown or 'none is offered'})",
        remedy=f"{when}offer more zones or types, or run local workers",
    )
