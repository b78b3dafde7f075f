"""Who holds what of the run: locks, counted resources, the run itself. See ``drm.model.claims``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping

from drm.model.claims import NO_CLAIMS, RUN, Claims, is_serial, there_is


class Holdings:
    """What is held of each thing is never more than there is of it. ``declared``: the counted resources.

    Every holder holds one of the run, so that a serial test, which wants all of it, waits for them and they for it.
    """

    def __init__(self, declared: Mapping[str, int]) -> None:
        self.declared = declared
        self._held: Counter[str] = Counter()
        self._holders: dict[Hashable, tuple[Claims, float]] = {}

    def admits(self, claims: Claims) -> bool:
        """Tell whether these claims could be held beside those that are."""
        held = self._held
        return all(held[name] + amount <= there_is(name, self.declared) for name, amount in _whole(claims))

    def take(self, holder: Hashable, claims: Claims, expected_s: float = 0.0) -> None:
        """Hold the claims, which must be admitted, for about so many seconds."""
        self._holders[holder] = claims, expected_s
        for name, amount in _whole(claims):
            self._held[name] += amount

    def release(self, holder: Hashable) -> bool:
        """Give up what the holder holds; tell whether it held anything that others may wait for."""
        claims, _ = self._holders.pop(holder, (None, 0.0))
        if claims is None:
            return False
        for name, amount in _whole(claims):
            self._held[name] -= amount
        return bool(claims)

    def held_briefly(self, claims: Claims, short_s: float) -> Claims:
        """Return what of these claims must not be given to tests that want less of it, so that they are admitted soon.

        Else many readers, each short, could keep a writer out for ever. What somebody holds for longer
        than ``short_s`` is left out: the wait for it costs more than letting others go on.
        """
        if self.admits(claims):
            return NO_CLAIMS
        return tuple((name, amount) for name, amount in claims if self._is_held_briefly(name, short_s))

    def _is_held_briefly(self, name: str, short_s: float) -> bool:
        return all(
            expected_s <= short_s
            for claims, expected_s in self._holders.values()
            if any(name == other for other, _ in claims)
        )


def _whole(claims: Claims) -> Claims:
    """Return the claims with the one of the run that every test has."""
    return claims if is_serial(claims) else (*claims, (RUN, 1))
