"""The work of a run: tasks (tests as the scheduler sees them), attempts, outcomes."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

from drm.model.resources import Requirements


class Outcome(str, enum.Enum):
    """The final word on a test. Every collected test ends with exactly one."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"
    NOT_RUN = "not_run"

    @property
    def is_bad(self) -> bool:
        return self in (Outcome.FAILED, Outcome.ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What one attempt is expected to need.

    ``wall_s``: expected seconds. ``memory_bytes``: peak to reserve (a high
    quantile, not the mean). ``gpu_bytes``: the most to expect of gpus' memory.
    ``method``: ``history``, ``siblings`` (same function or module), ``run`` (every test seen) or ``default``;
    ``samples``: the attempts it rests on.
    """

    wall_s: float
    memory_bytes: int
    cpu_cores: float = 1.0
    gpu_bytes: int = 0
    method: str = "default"
    samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One collected test, as it is queued and placed.

    ``task_id`` is pytest's nodeid, made unique by ``unique_ids``. ``scope`` is the
    module (the part of the nodeid before ``::``): its tests are kept together, so
    that module- and class-scoped fixtures are set up once per executor.
    ``position`` is the place in collection order; ``fixtures`` are those of the project that it asks for.
    """

    task_id: str
    scope: str
    position: int = 0
    fixtures: tuple[str, ...] = ()
    requirements: Requirements = field(default_factory=Requirements)
    forecast: Forecast | None = None

    @property
    def expected_s(self) -> float:
        """Predicted seconds (0 when nothing was predicted)."""
        return self.forecast.wall_s if self.forecast is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one attempt used: wall and cpu seconds, and peak resident bytes, its children included.

    ``gpu_bytes``: the most that its processes were seen to hold of gpus' memory; 0 where it had no gpu, or NVML
    could not tell.

    ``peak_rss_bytes`` leaves out what its executor held before its first test: a fork shares
    that with the zygote. It is what the attempt adds to the memory of the worker; 0 where it was not measured.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    gpu_bytes: int = 0


def unique_ids(nodeids: Iterable[str]) -> list[str]:
    """Return one id per collected item: the nodeid, and ``nodeid (2)`` where it comes again, or the next number that
    makes it no other item's nodeid.

    The same rule on the controller and on every worker, so that ids agree
    although pytest can collect an item twice (``--keep-duplicates``).
    """
    given = list(nodeids)
    taken = set(given)
    seen: dict[str, int] = {}
    ids = []
    for nodeid in given:
        own = nodeid
        while nodeid in seen and own in taken:
            seen[nodeid] += 1
            own = f"{nodeid} ({seen[nodeid]})"
        seen.setdefault(nodeid, 1)
        taken.add(own)
        ids.append(own)
    return ids
