"""What could start now, in the room that a worker has and beside what is held of the run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from drm.model.resources import Resources
from drm.resource_optimizer.holdings import Holdings
from drm.resource_optimizer.kinds import Kind, Room
from drm.resource_optimizer.lanes import Lane


def able_kinds(kinds: Iterable[Kind], holdings: Holdings, room: Room, short_s: float) -> list[Kind]:
    """Return the kinds of which a test could run in this room now.

    Not those that would share what a waiting test wants more of and will have soon (within ``short_s``).
    """
    fitting = [kind for kind in kinds if kind.fits(room)]
    closed: dict[str, int] = {}
    for kind in fitting:
        if kind.requirements.claims and kind.fresh and not kind.is_serial:
            for name, amount in holdings.held_briefly(kind.requirements.claims, short_s):
                closed[name] = max(amount, closed.get(name, 0))
    return [kind for kind in fitting if holdings.admits(kind.requirements.claims) and not kind.wants_less(closed)]


def side_by_side_in(
    free: Resources, kinds: Sequence[Kind], fresh: Iterable[Lane], owned: Iterable[Lane], most: int
) -> int:
    """Return how many tests of these lanes, of these kinds, fit beside each other, as far as ``most``.

    The lanes that are owned (there may be thousands) are looked at only where the fresh ones do not settle it.
    """
    tests = Counter[Kind]()
    for lane in fresh:
        tests[lane.kind] += len(lane.tasks) if lane.group is None else 1
    count = _beside(free, kinds, tests, most)
    if count < most:
        for lane in owned:
            tests[lane.kind] += len(lane.tasks)
        count = _beside(free, kinds, tests, most)
    return count


def _beside(free: Resources, kinds: Sequence[Kind], tests: Mapping[Kind, int], most: int) -> int:
    count = 0
    for kind in kinds:
        for _ in range(min(tests[kind], kind.most, most - count)):
            if not kind.requirements.amounts.fits_in(free):
                break
            free -= kind.requirements.amounts
            count += 1
    return count
