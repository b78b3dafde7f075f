"""What tests hold of the run as a whole while they run: locks, counted resources, the run itself.

All of them are one thing: an amount of something that there is a limited amount of, on all workers
together. Who wants a lock for itself takes all there is of it, who shares it takes one;
a serial test takes all of the run, and every other test takes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from drm.model.errors import ConfigError

Claims = tuple[tuple[str, int], ...]  # names and amounts, by name
NO_CLAIMS: Claims = ()
ALL = 2**30  # of a lock, or of the run; more than there can be tests at once
RUN = "the run"
_LOCK = "lock "


def claims_of(
    *,
    locks: Iterable[str] = (),
    shared_locks: Iterable[str] = (),
    counted: Mapping[str, int] | None = None,
    serial: bool = False,
) -> Claims:
    """Return the claims of a test. A lock that it asks for in both ways it has for itself."""
    wanted = dict(counted or {})
    wanted.update({_LOCK + name: 1 for name in shared_locks})
    wanted.update({_LOCK + name: ALL for name in locks})
    if serial:
        wanted[RUN] = ALL
    return tuple(sorted((name, amount) for name, amount in wanted.items() if amount))


def is_serial(claims: Claims) -> bool:
    """Tell whether nothing else may run meanwhile."""
    return (RUN, ALL) in claims


def there_is(name: str, declared: Mapping[str, int]) -> int:
    """Return how much there is of what is claimed; ``declared`` are the counted resources of the run."""
    if name == RUN or name.startswith(_LOCK):
        return ALL
    if name not in declared:
        raise ConfigError(f"nothing says how much {name!r} there is", remedy=f'write "resources = {name}:1" in [drm]')
    return declared[name]


def most_at_once(claims: Claims, declared: Mapping[str, int]) -> int:
    """Return how many tests with these claims can run side by side."""
    return min((there_is(name, declared) // amount for name, amount in claims), default=ALL)
