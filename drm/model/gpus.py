"""The gpus of one worker, device by device, in thousandths of a device.

A whole gpu is a device that nobody else is on; a share is a part of one device, never of two. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

WHOLE = 1000
Share = tuple[int, int]  # device, thousandths of it


def devices_of(gpus: float) -> list[int]:
    """Return what is left of each device when nothing is reserved: of 2.5 gpus the last device is half a one."""
    whole, rest = divmod(round(gpus * WHOLE), WHOLE)
    return [WHOLE] * whole + ([rest] if rest else [])


def most_left(left: Sequence[int]) -> int:
    """Return the largest request that the devices can still serve: every smaller one fits too.

    That is all untouched devices and the largest rest of another: of n devices and a share,
    n <= untouched, and the share fits the largest rest or an untouched one that remains.
    """
    untouched = sum(milli == WHOLE for milli in left)
    return untouched * WHOLE + max((milli for milli in left if milli < WHOLE), default=0)


def shares_side_by_side(asked: float, gpus: float) -> int:
    """Return how many such requests fit on so many devices together: a share of 0.6 fits each device once."""
    left, milli, count = devices_of(gpus), round(asked * WHOLE), 0
    while milli <= most_left(left):
        for device, taken in assign(left, milli):
            left[device] -= taken
        count += 1
    return count


def assign(left: Sequence[int], milli: int, *, prefer: Collection[int] = ()) -> tuple[Share, ...]:
    """Return the devices for a request of at most ``most_left``, and how much of each.

    Devices in ``prefer`` first (CUDA stays on the device that a process used first); else a share goes where
    least is left, so that whole devices stay whole.
    """
    whole, rest = divmod(milli, WHOLE)
    untouched = sorted((i for i, free in enumerate(left) if free == WHOLE), key=lambda i: (i not in prefer, i))
    taken = [(device, WHOLE) for device in untouched[:whole]]
    if rest:
        roomy = [i for i, free in enumerate(left) if rest <= free < WHOLE] + untouched[whole:]
        device = min(roomy, key=lambda i: (i not in prefer, left[i], i))
        taken.append((device, rest))
    return tuple(sorted(taken))
