"""What was made so lately that its provider need not show it yet: a list can be late."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from drm.model.cluster import Instance

__all__ = ["Young"]

_YOUNG_S = 60.0  # for so long a list may not yet show what has been made (eventual consistency)


class Young:
    """Remembers instances until the provider has shown them, or is late no longer. ``now``: time, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._made: dict[str, tuple[float, Instance]] = {}

    def __bool__(self) -> bool:
        return bool(self._made)

    def made(self, instance: Instance) -> None:
        self._made[instance.instance_id] = (self._now(), instance)

    def seen(self, instance_ids: Iterable[str]) -> None:
        """Forget what the provider has shown, or has ended."""
        for instance_id in instance_ids:
            self._made.pop(instance_id, None)

    def unseen(self) -> list[Instance]:
        """Return what need not be shown yet."""
        now = self._now()
        self._made = {key: (at, each) for key, (at, each) in self._made.items() if now - at < _YOUNG_S}
        return [each for _, each in self._made.values()]
