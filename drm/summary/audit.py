"""Whether the account of a run adds up. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from drm.model.events import RunFinished
from drm.model.work import Outcome

__all__ = ["doubts"]


def doubts(
    counted: Mapping[Outcome, int], told: RunFinished | None, *, twice: tuple[str, ...] = (), reason: str = ""
) -> tuple[str, ...]:
    """Return what does not add up, a sentence each.

    ``counted`` are the outcomes as the tests' own events have them, ``told`` is what the coordinator's accounts
    came to; both were kept apart all along. ``twice``: tests that ended twice. A run that nothing cut short
    has no test that did not run.
    """
    found = [f"{task_id} ended twice" for task_id in twice[:3]]
    if told is None:  # the run did not finish: there is no account yet
        return tuple(found)
    tests = sum(counted.values())
    if told.collected != tests:
        found.append(f"{tests} tests were discovered, and {told.collected} were kept account of")
    if sum(number for _, number in told.counts) != told.collected:
        found.append(f"of {told.collected} tests, {sum(number for _, number in told.counts)} have an outcome")
    ours = {outcome.value: number for outcome, number in counted.items() if number}
    theirs = {name: number for name, number in told.counts if number}
    if ours != theirs:
        found.append(f"the accounts have {theirs}, the events {ours}")
    if counted.get(Outcome.NOT_RUN) and not reason:
        found.append(f"{counted[Outcome.NOT_RUN]} tests did not run, though nothing cut the run short")
    return tuple(found)
