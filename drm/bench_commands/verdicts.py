"""Whether one of two versions is slower, from pairs of runs on a machine that is never quiet. Pure.

Each run gives the least seconds of each benchmark: noise of a machine only adds, so the least is the steadiest
figure (Chen and Revels, "Robust benchmarking in noisy environments", 2016). The runs of the two versions alternate, and
each pair gives one ratio, so a slow spell of the machine falls on both. The median of the ratios is the effect; its
interval is that of the percentile bootstrap (Efron 1979).
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["Comparison", "Ratios", "Verdict", "compare_all", "confirm", "judge", "suspects"]

SLOWER_BY = 0.05  # the median must be above this
SURELY_BY = 0.02  # and the lower limit of its interval above this
_RESAMPLES = 2000
_COVERAGE = 0.95
_SEED = 20  # the same ratios always give the same interval


class Verdict(str, enum.Enum):
    """What is said of one benchmark."""

    SLOWER = "slower"
    FASTER = "faster"
    UNCHANGED = "unchanged"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Of one benchmark: the median of head / base, and its interval; 1.3 is 30 % slower."""

    median: float
    lower: float
    upper: float

    @property
    def detectable(self) -> float:
        """Return the smallest slowdown that would have been found amid this much noise: 0.07 is 7 %."""
        return max(SLOWER_BY, SURELY_BY + (self.median - self.lower) / self.median)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``name``: of the benchmark. ``base_s``, ``head_s``: its least seconds of all runs. ``why``: where nothing
    could be compared, or a suspicion was not confirmed."""

    name: str
    verdict: Verdict
    ratios: Ratios | None = None
    base_s: float = 0.0
    head_s: float = 0.0
    why: str = ""


def judge(ratios: Sequence[float]) -> tuple[Verdict, Ratios]:
    """Return what the ratios of some pairs amount to.

    Slower: the median is above +5 % and the lower limit of its interval above +2 %. Faster: the same the other way
    round. Unchanged: the interval ends below +5 %. Inconclusive: else; more pairs, or a quieter machine, would tell.
    """
    lower, upper = _interval(ratios)
    found = Ratios(median=statistics.median(ratios), lower=lower, upper=upper)
    if found.median > 1 + SLOWER_BY and lower > 1 + SURELY_BY:
        return Verdict.SLOWER, found
    if found.median < 1 / (1 + SLOWER_BY) and upper < 1 / (1 + SURELY_BY):
        return Verdict.FASTER, found
    return (Verdict.UNCHANGED if upper <= 1 + SLOWER_BY else Verdict.INCONCLUSIVE), found


def _interval(ratios: Sequence[float]) -> tuple[float, float]:
    chance = Random(_SEED)  # noqa: S311 - it guards nothing
    count = len(ratios)
    medians = sorted(statistics.median(chance.choices(ratios, k=count)) for _ in range(_RESAMPLES))
    cut = int(_RESAMPLES * (1 - _COVERAGE) / 2)
    return medians[cut], medians[-1 - cut]


Times = Mapping[str, float]
"""The least seconds of each benchmark in one run."""


def compare_all(pairs: Sequence[tuple[Times, Times]]) -> list[Comparison]:
    """Return one row per benchmark of either version, in order of name. ``pairs``: (base, head) of each turn."""
    names = {name for base, head in pairs for name in (*base, *head)}
    return [_compare(name, pairs) for name in sorted(names)]


def _compare(name: str, pairs: Sequence[tuple[Times, Times]]) -> Comparison:
    both = [(base[name], head[name]) for base, head in pairs if name in base and name in head]
    if not both:
        there = "head" if any(name in head for _, head in pairs) else "base"
        return Comparison(name=name, verdict=Verdict.NOT_COMPARED, why=f"only {there} has it")
    if not all(base > 0 and head > 0 for base, head in both):
        return Comparison(name=name, verdict=Verdict.NOT_COMPARED, why="it took no time that can be measured")
    verdict, ratios = judge([head / base for base, head in both])
    base_s, head_s = min(base for base, _ in both), min(head for _, head in both)
    return Comparison(name=name, verdict=verdict, ratios=ratios, base_s=base_s, head_s=head_s)


def suspects(rows: Sequence[Comparison]) -> list[str]:
    """Return the benchmarks that must be run again before anything is said of them."""
    return [row.name for row in rows if row.verdict is Verdict.SLOWER]


def confirm(first: Sequence[Comparison], again: Sequence[Comparison]) -> list[Comparison]:
    """Return the rows of the first comparison; one that is slower stays so only if the second says the same."""
    second = {row.name: row for row in again}
    return [_confirmed(row, second.get(row.name)) if row.verdict is Verdict.SLOWER else row for row in first]


def _confirmed(row: Comparison, again: Comparison | None) -> Comparison:
    if again is not None and again.verdict is Verdict.SLOWER:
        return row
    found = again.ratios if again is not None else None
    told = f"{found.median - 1:+.1%}" if found is not None else "nothing"
    return Comparison(
        name=row.name,
        verdict=Verdict.INCONCLUSIVE,
        ratios=row.ratios,
        base_s=row.base_s,
        head_s=row.head_s,
        why=f"a second comparison found {told}",
    )
