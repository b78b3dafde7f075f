"""Which tests are begun before others, where that is not to be the shortest run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from drm.model.samples import Risk
from drm.model.work import Task

__all__ = ["ORDERS", "groups_of"]

# "longest" and "slow-first" are one: the shortest run begins what is slow first.
ORDERS = ("longest", "slow-first", "file", "failed-first", "risk")
_NEVER_SEEN = Risk(chance=1 / 3, failed_last=False)  # as of a test with no past: ``history.flakiness``
_LEAST_S = 0.01  # less does not make a test more urgent


def groups_of(
    tasks: Sequence[Task], order: str, risks: Mapping[str, Risk], seconds: Mapping[str, float]
) -> list[list[Task]]:
    """Return the tests in groups to queue one after another, each in the order in which it is to be begun.

    ``failed-first``: those that failed in their last attempt, then the others. ``risk``: those likely to fail first, by
    chance over ``seconds`` (Smith's rule: the first failure is found soonest), then those that have always passed.
    Positions are numbered anew where the order changes.
    """
    if order == "failed-first":
        first = [task for task in tasks if risks.get(task.task_id, _NEVER_SEEN).failed_last]
    elif order == "risk":

        def urgency(task: Task) -> float:
            chance = risks.get(task.task_id, _NEVER_SEEN).chance
            return -chance / max(seconds.get(task.task_id, _LEAST_S), _LEAST_S)

        tasks = sorted(tasks, key=urgency)  # stable: equals stay as they were collected
        first = [task for task in tasks if risks.get(task.task_id, _NEVER_SEEN).has_failed]
    else:
        return [list(tasks)]
    chosen = {task.task_id for task in first}
    rest = [task for task in tasks if task.task_id not in chosen]
    numbered = [replace(task, position=position) for position, task in enumerate([*first, *rest])]
    return [group for group in (numbered[: len(first)], numbered[len(first) :]) if group]
