"""Which running tests are started a second time, because they take far longer than was predicted. Pure.

When nothing waits any more, a worker that is free can do no better than run a straggler again: whichever attempt ends
first counts. Dean and Ghemawat, "MapReduce" (OSDI '04), backup tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STRAGGLES_PAST = 2.0  # times its estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A test that runs since ``started_s``. ``repeatable``: running it twice at once does no harm.

    ``copies``: how often it was started again already.
    """

    task_id: str
    started_s: float
    expected_s: float
    repeatable: bool = False
    copies: int = 0

    @property
    def straggles_from_s(self) -> float:
        return self.started_s + STRAGGLES_PAST * self.expected_s


def stragglers(running: Iterable[Running], now_s: float, *, waiting: int, repeat_any: bool = False) -> list[str]:
    """Return the ids of tests to start once more, the furthest past its estimate first.

    None while tests wait; only those that may be repeated, unless ``repeat_any``; each once;
    never one that nothing was predicted for.
    """
    if waiting:
        return []
    late = [each for each in running if _may_straggle(each, repeat_any) and now_s >= each.straggles_from_s]
    late.sort(key=lambda each: (-(now_s - each.started_s) / each.expected_s, each.task_id))
    return [each.task_id for each in late]


def next_look_s(running: Iterable[Running], now_s: float, *, repeat_any: bool = False) -> float | None:
    """Return when the next of them becomes a straggler, if it has not ended by then; None: none will."""
    later = (each.straggles_from_s for each in running if _may_straggle(each, repeat_any))
    return min((at_s for at_s in later if at_s > now_s), default=None)


def _may_straggle(each: Running, repeat_any: bool) -> bool:
    return (each.repeatable or repeat_any) and not each.copies and each.expected_s > 0
