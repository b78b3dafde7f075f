"""Going on with a run on the controller: what had ended is told to pytest as it was, and given to the coordinator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest

from drm.coordinator import Coordinator
from drm.model.errors import ConfigError
from drm.model.events import TestFinished
from drm.model.work import Outcome, Task
from drm.ports import Surface
from drm.resuming import InterruptedRun

__all__ = ["take_up"]


def take_up(
    run: InterruptedRun,
    tasks: Sequence[Task],
    items: Mapping[str, pytest.Item],
    coordinator: Coordinator,
    surface: Surface,
) -> list[Task]:
    """Restore what has ended; return the tests that are to run."""
    by_id = {task.task_id: task for task in tasks}
    finished = [task_id for task_id in run.finished if task_id in by_id]
    coordinator.restore([(by_id[task_id], run.outcome(task_id)) for task_id in finished], run.past)
    left = [task for task in tasks if task.task_id not in run.finished]
    surface.say(
        f"run {run.run_id} goes on: {len(finished)} of {len(tasks)} tests had ended and are not run again, "
        f"{len(left)} are left"
    )
    for task_id in finished:
        _tell(run.finished[task_id], run.kept.get(task_id, []), items[task_id], surface)
    return left


def _tell(ended: TestFinished, kept: list[list[Any]], item: pytest.Item, surface: Surface) -> None:
    told = [line for line in kept if line[0] != "late"]
    if told:
        kind, *what = told[-1]
        tell = surface.deliver if kind == "reports" else surface.deliver_failure
        tell(ended.task_id, *what)
    elif ended.outcome is Outcome.PASSED and not ended.flaky:
        surface.deliver(ended.task_id, "", _plain_pass(ended, item), "")
    elif ended.outcome.is_bad:  # what ran in the controller itself, or the disk was full
        surface.deliver_failure(ended.task_id, "", ended.message or ended.outcome.value, ended.wall_s)
    else:
        raise ConfigError(
            f"what {ended.task_id} reported ({ended.outcome.value}) is not in the record", remedy="start the run again"
        )
    for kind, *what in kept:
        if kind == "late":
            surface.deliver_late(ended.task_id, *what)


def _plain_pass(ended: TestFinished, item: pytest.Item) -> list[Any]:
    """Return the reports of a test that passed and said nothing: its time is all that is known of them."""
    began = datetime.fromisoformat(ended.at).timestamp() - ended.wall_s
    return [[0, 0.0, began, list(item.location)], [1, ended.wall_s, began], [2, 0.0, began + ended.wall_s]]
