"""Learning of thousands of tests when a run starts: all attempts of a test at once, where each counts as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from drm.model.samples import Sample
from drm.model.work import Outcome
from drm.past import Attempts
from drm.resource_performance_predictor.neighbours import Neighbours
from drm.resource_performance_predictor.statistics import TestRecord

Columns = tuple[list[float], list[float], list[int], list[Outcome]]  # wall_s, cpu_s, peak_rss_bytes, outcome
_WHOLE: dict[str, Outcome] = {outcome.value: outcome for outcome in Outcome if outcome is not Outcome.NOT_RUN}


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
        source = sources.get(task_id, 0)
        walls, cpus, peaks = [], [], []
        outcomes: list[Outcome] = []
        for row in rows.rows:
            outcome, wall_s, cpu_s, peak, _, ran_on, made_of, death, _, on_gpu = row[:10]
            if (
                ran_on != machine
                or death
                or on_gpu
                or (source and made_of != source)
                or outcome not in _WHOLE
                or not 0 < wall_s < math.inf
                or not 0 <= cpu_s < math.inf
                or peak < 0
            ):
                others[task_id] = list(rows)
                break
            walls.append(wall_s)
            cpus.append(cpu_s)
            peaks.append(peak)
            outcomes.append(_WHOLE[outcome])
        else:
            plain[task_id] = walls, cpus, peaks, outcomes
    return plain, others


def learn_columns(
    plain: Mapping[str, Columns], records: dict[str, TestRecord], neighbours: Neighbours, cpu_from_s: float
) -> None:
    """Learn of tests that are new here."""
    in_scope: dict[str, tuple[list[float], list[int]]] = {}
    for task_id, (walls, cpus, peaks, outcomes) in plain.items():
        record = records[task_id] = TestRecord()
        record.begin(walls, cpus, peaks, outcomes, cpu_from_s)
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
