"""What is known of a worker's memory at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLevel:
    """One limit and what is used under it; ``name`` is for people: "the cgroup /ci/job", "the machine"."""

    name: str
    limit_bytes: int
    used_bytes: int

    @property
    def left_bytes(self) -> int:
        return self.limit_bytes - self.used_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """Every limit that the worker stands under, how hard memory is fought for, and who holds how much.

    ``pressure``: the part of the last ten seconds in which some process waited for memory (0 where the
    kernel does not tell). ``resident_bytes``: per executor, its children counted.
    """

    levels: tuple[MemoryLevel, ...]
    pressure: float = 0.0
    resident_bytes: tuple[tuple[str, int], ...] = ()
