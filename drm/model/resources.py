"""Amounts of resources, and what a test requires."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from drm.model.claims import NO_CLAIMS, Claims
from drm.model.errors import ConfigError
from drm.model.units import format_bytes

_MILLI = 3  # cpu and gpu amounts are exact to a thousandth


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """A vector of amounts: cpu cores, memory in bytes, gpus.

    Fractions of a core or a gpu are kept to a thousandth, so that adding and
    taking away the same amounts gives back exactly what was there before.
    """

    cpu_cores: float = 0.0
    memory_bytes: int = 0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cpu_cores) and math.isfinite(self.memory_bytes) and math.isfinite(self.gpus)):
            amounts = {"cpu_cores": self.cpu_cores, "memory_bytes": self.memory_bytes, "gpus": self.gpus}
            name = next(name for name, value in amounts.items() if not math.isfinite(value))
            raise ConfigError(f"{name}: {amounts[name]!r} is not a finite amount")
        object.__setattr__(self, "cpu_cores", round(float(self.cpu_cores), _MILLI))
        object.__setattr__(self, "memory_bytes", int(self.memory_bytes))
        object.__setattr__(self, "gpus", round(float(self.gpus), _MILLI))

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            cpu_cores=self.cpu_cores + other.cpu_cores,
            memory_bytes=self.memory_bytes + other.memory_bytes,
            gpus=self.gpus + other.gpus,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            cpu_cores=self.cpu_cores - other.cpu_cores,
            memory_bytes=self.memory_bytes - other.memory_bytes,
            gpus=self.gpus - other.gpus,
        )

    def fits_in(self, free: Resources) -> bool:
        """Tell whether every amount is at most what is free."""
        return self.cpu_cores <= free.cpu_cores and self.memory_bytes <= free.memory_bytes and self.gpus <= free.gpus

    def lacking(self, free: Resources) -> list[str]:
        """Return a phrase per amount that does not fit: ``"4 cpu of 2"``."""
        phrases = []
        if self.cpu_cores > free.cpu_cores:
            phrases.append(f"{self.cpu_cores:g} cpu of {free.cpu_cores:g}")
        if self.memory_bytes > free.memory_bytes:
            phrases.append(f"{format_bytes(self.memory_bytes)} memory of {format_bytes(free.memory_bytes)}")
        if self.gpus > free.gpus:
            phrases.append(f"{self.gpus:g} gpu of {free.gpus:g}")
        return phrases

    def at_least(self, other: Resources) -> Resources:
        """Return the larger amount in each dimension."""
        return Resources(
            cpu_cores=max(self.cpu_cores, other.cpu_cores),
            memory_bytes=max(self.memory_bytes, other.memory_bytes),
            gpus=max(self.gpus, other.gpus),
        )

    def describe(self) -> str:
        """Return the amounts for people: ``"2 cpu, 4 GiB, 1 gpu"``."""
        parts = [f"{self.cpu_cores:g} cpu", format_bytes(self.memory_bytes)]
        if self.gpus:
            parts.append(f"{self.gpus:g} gpu")
        return ", ".join(parts)


ZERO = Resources()


def total(amounts: Iterable[Resources]) -> Resources:
    """Return the sum of the amounts."""
    cpu, memory, gpus = 0.0, 0, 0.0
    for amount in amounts:
        cpu += amount.cpu_cores
        memory += amount.memory_bytes
        gpus += amount.gpus
    return Resources(cpu_cores=cpu, memory_bytes=memory, gpus=gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What one test asks of the worker that runs it, and of the run.

    ``labels``: the worker must carry all of them. ``claims``: what it holds of the run
    while it runs, wherever that is (see ``drm.model.claims``). ``group``: its tests run on
    one executor, in file order. ``turn``: no process runs it after a test of a later one (0: at any
    time). ``timeout_s``: the attempt is killed after it. ``idempotent``: a second attempt may run beside the first.
    ``sources`` says for each amount where it came from: marker, history, default.
    """

    amounts: Resources = field(default_factory=lambda: Resources(cpu_cores=1.0))
    labels: frozenset[str] = frozenset()
    claims: Claims = NO_CLAIMS
    group: str | None = None
    turn: int = 0
    timeout_s: float | None = None
    idempotent: bool = False
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def states_memory(self) -> bool:
        """Tell whether a marker, the configuration or a retry says how much memory: then no forecast overrides it."""
        return self.source_of("memory") in ("marker", "configuration", "retry")

    @property
    def forecasts_memory(self) -> bool:
        """Tell whether the memory comes from an earlier forecast: then the next may change it."""
        return "memory" in dict(self.sources) and not self.states_memory

    def source_of(self, name: str) -> str:
        """Return where the amount called ``name`` came from (``"default"`` if not said)."""
        return dict(self.sources).get(name, "default")
