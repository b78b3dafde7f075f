"""Past runs of a branch, as the history remembers them and reports show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["KEPT_RUNS", "FlakyTest", "PastRun", "Trends"]

KEPT_RUNS = 30  # per branch and suite


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run. ``suite``: what kind of run (the name of its folder of reports). ``at``: when it began, UTC.

    ``bad``: tests that failed or had an error. ``slots_busy``: share of the executors' time in which a test ran.
    ``allocation_s``: what half of the tests waited at most until they were given resources.
    """

    AS_COLUMNS: ClassVar[bool] = True  # many of them are written as one list per field
    run_id: str
    suite: str
    at: str
    commit: str = ""
    machine: str = ""
    wall_s: float = 0.0
    tests: int = 0
    bad: int = 0
    flaky: int = 0
    slots_busy: float | None = None
    allocation_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlakyTest:
    """A test that failed and passed in one run.

    ``runs``: how many of the branch's last runs had it; ``flaky``: in how many of them it was; ``rate``: their ratio.
    ``last_at``: when it was last, in seconds since the epoch.
    """

    task_id: str
    runs: int
    flaky: int
    rate: float
    last_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """The last runs of a branch, oldest first, and the tests that were flaky in them, the worst first."""

    branch: str = ""
    runs: tuple[PastRun, ...] = ()
    flaky: tuple[FlakyTest, ...] = ()
