"""What providers say of instances, and wait for, in one way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from drm.model.cluster import Instance, InstanceState, WorkerType
from drm.model.errors import DrmError, LostError
from drm.model.resources import Resources, total

__all__ = ["Mine", "left_of", "never_seen", "oldest_first", "seconds_of", "wait_until_gone"]


class Mine(dict[str, Instance]):
    """The instances that this process made, by id. They stay known when they are gone: providers forget them."""

    def close(self, instance_id: str, detail: str) -> None:
        """Note that one is gone; of what another process made there is nothing to note."""
        if instance_id in self:
            self[instance_id] = dataclasses.replace(self[instance_id], state=InstanceState.GONE, detail=detail)

    def there(self, seen: Iterable[Instance]) -> tuple[Instance, ...]:
        """Return those of the instances seen that are there, oldest first.

        One that has ended but was made by another process still takes its place until it is terminated.
        """
        return oldest_first(
            dataclasses.replace(each, state=InstanceState.TERMINATING) if each.state is InstanceState.GONE else each
            for each in seen
            if each.state is not InstanceState.GONE or each.instance_id not in self
        )


def oldest_first(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """Return the instances in the order in which they were made."""
    return tuple(sorted(instances, key=lambda each: (each.created_at or 0.0, each.instance_id)))


def left_of(limit: Resources, types: Sequence[WorkerType], live: Iterable[Instance]) -> Resources:
    """Return what a limit leaves beside the instances that live; one of a type not offered counts as nothing."""
    capacity = {each.name: each.capacity for each in types}
    return limit - total(capacity.get(each.worker_type, Resources()) for each in live)


def never_seen(provider: str, instance_id: str) -> LostError:
    """Return the error for an id that is none of this provider's, or of none of DRM's instances."""
    return LostError(f"provider {provider} has no instance {instance_id!r}")


def wait_until_gone(
    is_gone: Callable[[], bool],
    what: str,
    within_s: float,
    *,
    look_s: float,
    now: Callable[[], float],
    wait: Callable[[float], None],
    remedy: str,
) -> None:
    """Look until what was told to end is gone; DrmError where that takes longer than ``within_s``."""
    deadline = now() + within_s
    while not is_gone():
        if now() >= deadline:
            raise DrmError(f"{what} has not ended {within_s:g} s after it was told to", remedy=remedy)
        wait(look_s)


def seconds_of(text: object) -> float | None:
    """Return a time in RFC 3339 as seconds since the epoch; None where it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
