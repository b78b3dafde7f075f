"""trends.json: the last runs of a branch, left beside the record of a run.

A report that is made elsewhere, as in CI, has no history: what each run left of it is put together again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from drm.model.errors import DrmError
from drm.model.trends import KEPT_RUNS, FlakyTest, PastRun, Trends
from drm.reporting.codec import decode, encode
from drm.reporting.files import read_json, write_atomic
from drm.reporting.results import check_version

__all__ = ["TRENDS", "merged", "read_trends", "trends_kept_in", "write_trends"]

TRENDS = "trends.json"
SCHEMA_VERSION = 1


def write_trends(trends: Trends, path: Path) -> None:
    """Write the file, whole or not at all. Raises DrmError when it cannot be written."""
    document = {"schema_version": SCHEMA_VERSION, **encode(trends)}
    write_atomic(path, json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n")


def trends_kept_in(folder: Path, say: Callable[[str], None]) -> Callable[[Trends], None]:
    """Return what writes the file into the folder of a record; where that fails, it says so."""

    def keep(trends: Trends) -> None:
        try:
            write_trends(trends, folder / TRENDS)
        except DrmError as error:
            say(str(error))

    return keep


def read_trends(path: Path) -> Trends:
    """Return what ``write_trends`` wrote; ConfigError for damage or a newer format."""
    data = read_json(path)
    check_version(data.pop("schema_version", None), SCHEMA_VERSION, path)
    return decode(Trends, data, str(path))


def merged(branch: str, found: Iterable[Trends]) -> Trends:
    """Return all that is known of the branch, once: its last runs per suite, oldest first, and its flaky tests.

    Of what two say about a run or a test, the first is taken.
    """
    runs: dict[str, PastRun] = {}
    flaky: dict[str, FlakyTest] = {}
    for trends in found:
        if trends.branch == branch:
            for run in trends.runs:
                runs.setdefault(run.run_id, run)
            for test in trends.flaky:
                flaky.setdefault(test.task_id, test)
    suites: dict[str, list[PastRun]] = {}
    for run in sorted(runs.values(), key=lambda run: (run.at, run.run_id)):
        suites.setdefault(run.suite, []).append(run)
    kept = {run.run_id for of_suite in suites.values() for run in of_suite[-KEPT_RUNS:]}
    return Trends(
        branch=branch,
        runs=tuple(run for of_suite in suites.values() for run in of_suite if run.run_id in kept),
        flaky=tuple(sorted(flaky.values(), key=lambda test: (-test.flaky, test.task_id))),
    )
