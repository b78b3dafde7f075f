"""Learning of thousands of tests when a run starts: all attempts of a test at once, where each counts as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from drm.model.work import Outcome
from drm.past import Attempts
from drm.ports import Sample
from drm.resource_performance_predictor.neighbours import Neighbours
from drm.resource_performance_predictor.statistics import TestRecord

Columns = tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]  # wall_s, cpu_s, peak_rss_bytes
_NOT_RUN = Outcome.NOT_RUN.value


def parted(
    samples: Mapping[str, Sequence[Sample]], machine: str, sources: Mapping[str, int]
) -> tuple[dict[str, Columns], dict[str, Sequence[Sample]]]:
    """Return the tests of which every attempt counts as it is, as columns, and all others.

    Every attempt does that was made on this machine, ended by itself, and was of the test as it is now.
    """
    plain: dict[str, Columns] = {}
    others: dict[str, Sequence[Sample]] = {}
    for task_id, rows in samples.items():
        if type(rows) is not Attempts:
            others[task_id] = rows
            continue
        outcomes, walls, cpus, peaks, _, machines, made_of, deaths, _, on_gpus, *_ = zip(*rows.rows, strict=True)
        count, source = len(walls), sources.get(task_id, 0)
        if (
            machines.count(machine) == count
            and deaths.count("") == count
            and on_gpus.count(0) == count
            and (not source or made_of.count(source) == count)
            and None not in outcomes
            and _NOT_RUN not in outcomes
            and min(walls) > 0
            and max(walls) < math.inf
            and min(cpus) >= 0
            and max(cpus) < math.inf
            and min(peaks) >= 0
        ):
            plain[task_id] = walls, cpus, peaks
        else:
            others[task_id] = list(rows)
    return plain, others


def learn_columns(
    plain: Mapping[str, Columns], records: dict[str, TestRecord], neighbours: Neighbours, cpu_from_s: float
) -> None:
    """Learn of tests that are new here."""
    in_scope: dict[str, tuple[list[float], list[int]]] = {}
    for task_id, (walls, cpus, peaks) in plain.items():
        record = records[task_id] = TestRecord()
        record.begin(walls, cpus, peaks, cpu_from_s)
        scope = task_id.partition("::")[0]
        columns = in_scope.get(scope)
        if columns is None:
            columns = in_scope[scope] = ([], [])
        columns[0].extend(walls)
        columns[1].extend(peaks)
        if "[" in task_id:
            neighbours.learn_parameters(task_id, walls, peaks)
    for scope, (all_walls, all_peaks) in in_scope.items():
        neighbours.learn_scope(scope, all_walls, all_peaks)
