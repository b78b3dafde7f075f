"""How workers are bought, and what follows where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drm.model.cluster import WorkerType
from drm.model.errors import CapacityError, ConfigError

__all__ = ["ExhaustedError", "Policy", "in_order"]

_ON_DEMAND = "on-demand"


class ExhaustedError(CapacityError):
    """Every way to get a worker has been closed for longer than anybody should wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``on_demand_floor``: so many workers are bought on demand before any is bought spot, so that an interruption
    of all spot machines leaves some. ``patience_s``: for so long every way may be closed; then ExhaustedError says
    why. ``local``: types of this machine that are taken instead, as soon as every way is closed.
    """

    on_demand_floor: int = 0
    patience_s: float = 600.0
    local: tuple[WorkerType, ...] = ()

    def __post_init__(self) -> None:
        if self.on_demand_floor < 0 or not self.patience_s >= 0:
            raise ConfigError("on_demand_floor and patience_s must be 0 or more")

    def exhausted(self, error: CapacityError, *, closed_s: float) -> CapacityError:
        """Return the error for ways that have been closed for so long: the same one while there is patience."""
        if closed_s < self.patience_s:
            return error
        return ExhaustedError(
            f"no worker could be had for {closed_s:.0f} s (the deadline is {self.patience_s:g} s): {error.message}",
            remedy=error.remedy,
        )


def in_order(offered: Sequence[WorkerType], policy: Policy, live: Sequence[WorkerType]) -> tuple[WorkerType, ...]:
    """Return the offers with those on demand first while fewer than the floor are live; else as they are. Pure.

    The order within a market is kept. Where nothing is left on demand, a spot machine is better than none.
    """
    if sum(each.market == _ON_DEMAND for each in live) >= policy.on_demand_floor:
        return tuple(offered)
    return tuple(sorted(offered, key=lambda each: each.market != _ON_DEMAND))
