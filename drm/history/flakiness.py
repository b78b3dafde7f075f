"""How often tests fail and are flaky, from the attempts that are kept. Errors are ``sqlite3.Error``."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

_Z = 1.959964  # of a normal distribution, 95 % lie within so many deviations

# What ran on one commit counts as one, be it in one run or in several: the code was the same.
_RATES = """
WITH once AS (
    SELECT test, CASE WHEN revision = '' THEN run_id ELSE revision END AS code,
        max(outcome IN ('failed', 'error', 'xfailed')) AS bad, max(outcome IN ('passed', 'xpassed')) AS good,
        max(attempts.id) AS newest
    FROM attempts JOIN runs ON runs.id = attempts.run
    WHERE outcome IN ('failed', 'error', 'passed', 'xfailed', 'xpassed') GROUP BY test, code)
SELECT task_id, seen, flaky, bad, attempts.outcome
FROM (SELECT test, count(*) AS seen, sum(bad AND good) AS flaky, sum(bad) AS bad, max(newest) AS newest
    FROM once GROUP BY test) AS each
JOIN tests ON tests.id = each.test JOIN attempts ON attempts.id = each.newest
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlakyRate:
    """A test on ``seen`` states of the code: on ``bad`` it failed, on ``flaky`` it both failed and passed.

    ``low`` and ``high`` bound the flaky rate with 95 % confidence (Wilson 1927).
    """

    task_id: str
    seen: int
    flaky: int
    bad: int
    failed_last: bool

    @property
    def rate(self) -> float:
        return self.flaky / self.seen

    @property
    def low(self) -> float:
        return wilson(self.flaky, self.seen)[0]

    @property
    def high(self) -> float:
        return wilson(self.flaky, self.seen)[1]

    @property
    def risk(self) -> float:
        """The chance that it fails next, with one failure and two successes seen before any (a Beta(1, 2) prior).

        What failed last is as if it had failed three times more: failures come in rows.
        """
        extra = 3 if self.failed_last else 0
        return (self.bad + extra + 1) / (self.seen + extra + 3)


def wilson(times: int, of: int) -> tuple[float, float]:
    """Return the 95 % score interval of a rate seen ``times`` in ``of``; (0, 1) where nothing was seen."""
    if not of:
        return 0.0, 1.0
    rate, z2 = times / of, _Z * _Z
    middle = (rate + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(rate * (1 - rate) / of + z2 / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def flaky_rates(connection: sqlite3.Connection, task_ids: Collection[str] | None = None) -> list[FlakyRate]:
    """Return one row per test of which an outcome is kept (of these tests), the most flaky first."""
    wanted = None if task_ids is None else set(task_ids)
    rates = [
        FlakyRate(task_id=task_id, seen=seen, flaky=flaky, bad=bad, failed_last=last in ("failed", "error"))
        for task_id, seen, flaky, bad, last in connection.execute(_RATES)
        if wanted is None or task_id in wanted
    ]
    return sorted(rates, key=lambda rate: (-rate.low, -rate.rate, rate.task_id))
