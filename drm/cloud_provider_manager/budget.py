"""What may be spent: a cap that is checked before each create, and never passed. Pure.

Committed is what has been spent and what every instance there is can still cost until its lease ends. A cap on that
holds whatever happens later: were the controller to die now, no more than it could be spent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError, QuotaError

__all__ = ["Budget", "BudgetError", "Commitment", "committed_usd"]

_MINUTE_S = 60.0


class BudgetError(QuotaError):
    """A cap of the budget forbids more: the provider was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """An instance that costs from ``since_s`` on, until its lease ends or ``ended_s``. Pending ones cost as well."""

    usd_per_hour: float
    since_s: float
    lease_end_s: float
    ended_s: float | None = None


def committed_usd(held: Sequence[Commitment]) -> float:
    """Return what the instances have cost or can cost at most."""
    return sum(each.usd_per_hour * _hours(each) for each in held)


def _hours(each: Commitment) -> float:
    end_s = each.lease_end_s if each.ended_s is None else each.ended_s
    return max(0.0, end_s - each.since_s) / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Caps. ``usd``: on what is committed (None: only free workers may be made). ``workers``: at a time.
    ``per_minute``: creates in any minute."""

    usd: float | None = None
    workers: int | None = None
    per_minute: int | None = None

    def __post_init__(self) -> None:
        for name in ("usd", "workers", "per_minute"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"budget: {name} = {value!r} is no amount", remedy="give a number from 0 on")

    def check(self, asked: WorkerType, held: Sequence[Commitment], *, now_s: float, lease_s: float) -> None:
        """Raise BudgetError where one more instance of this type, held for ``lease_s``, would pass a cap.

        ConfigError for a price that cannot be: what costs an unknown amount is not bought. ``held``: every
        instance of the budget's time, ended ones included; those that failed to be made have ended when they began.
        """
        price = asked.usd_per_hour
        if not math.isfinite(price) or price < 0 or (price == 0 and asked.provider not in _FREE):
            raise ConfigError(
                f"worker type {asked.name} of provider {asked.provider} has the price {price!r} USD an hour",
                remedy="give its real price, or a catalogue that has it: what costs an unknown amount is not bought",
            )
        live = sum(each.ended_s is None for each in held)
        if self.workers is not None and live >= self.workers:
            raise BudgetError(f"there are {live} workers of at most {self.workers}", remedy="wait for one to end")
        young = sum(now_s - each.since_s < _MINUTE_S for each in held)
        if self.per_minute is not None and young >= self.per_minute:
            raise BudgetError(
                f"{young} workers were made in the last minute, of at most {self.per_minute}", remedy="wait"
            )
        if price > 0:
            self._check_money(asked, committed_usd(held), price * lease_s / 3600)

    def _check_money(self, asked: WorkerType, committed: float, more: float) -> None:
        if self.usd is None:
            raise BudgetError(
                f"worker type {asked.name} costs {asked.usd_per_hour:g} USD an hour, and no budget is set",
                remedy="set one",
            )
        if committed + more > self.usd:
            raise BudgetError(
                f"one more {asked.name} can cost {more:.4f} USD until its lease ends, and {committed:.4f} of"
                f" {self.usd:.4f} USD are committed",
                remedy="raise the budget, shorten the lease, or wait for workers to end",
            )


_FREE = frozenset({"local", "docker", "simulated"})  # this machine's own: nobody sends a bill
