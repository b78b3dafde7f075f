"""What ``drm simulate`` prints of a result. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from drm.model.units import format_duration
from drm.simulator.tally import Result

__all__ = ["result_lines"]

_MOST_SAID = 10


def result_lines(result: Result) -> Iterator[str]:
    """Yield the lines for a person."""
    counts = ", ".join(f"{number:,} {name}" for name, number in result.counts)
    yield f"{result.name} (seed {result.seed}): {result.tests:,} tests: {counts or 'none'}"
    yield f"makespan     {_against(result.makespan_s, result.bound_s)}"
    if len(result.arrivals) > 1:
        mean_s = sum(seconds for _, seconds in result.arrivals) / len(result.arrivals)
        longest_s = max(seconds for _, seconds in result.arrivals)
        yield (
            f"arrivals     {len(result.arrivals):,}; until all of one had ended {format_duration(mean_s)} on average, "
            f"{format_duration(longest_s)} at most"
        )
    if result.cost_usd or result.cost_bound_usd:
        bound, ratio = result.cost_bound_usd, ""
        if bound > 0:
            ratio = f"; the work alone costs at least {bound:,.4f} USD: ratio {result.cost_usd / bound:.4f}"
        yield f"cost         {result.cost_usd:,.4f} USD{ratio}"
    yield f"reserved     {_shares(result.reserved)}"
    yield f"used         {_shares(result.used)}"
    lost = f"; {result.workers_lost} lost" if result.workers_lost else ""
    yield f"workers      {', '.join(f'{count:,} {name}' for name, count in result.workers) or 'none'}{lost}"
    again = f"; {format_duration(result.extra_s)} of it more than once" if result.extra_s > 0.0005 else ""
    yield f"work         {format_duration(result.work_s)} in {result.attempts:,} attempts{again}"
    for line in result.said[:_MOST_SAID]:
        yield f"said         {line}"
    if len(result.said) > _MOST_SAID:
        yield f"             and {len(result.said) - _MOST_SAID} lines more"
    if result.problem:
        yield f"given up     {result.problem}"


def _against(makespan_s: float, bound_s: float) -> str:
    if bound_s <= 0:
        return format_duration(makespan_s)
    return (
        f"{format_duration(makespan_s)}; no plan can take less than {format_duration(bound_s)}: "
        f"ratio {makespan_s / bound_s:.4f}"
    )


def _shares(rows: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in rows) or "nothing"
