"""What the history costs: recording, and the first predictions from a large file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drm.history.database import Database
from drm.model.samples import Sample
from drm.model.work import Outcome, Task, Usage
from drm.resource_performance_predictor import ResourcePerformancePredictor

QUICK, FULL = 50_000, 1_000_000  # attempts
PER_TEST = 50


@pytest.fixture(scope="module")
def attempts(request: pytest.FixtureRequest) -> list[list[Sample]]:
    """Runs of one suite; the whole million only without --quick."""
    count = QUICK if request.config.getoption("--quick") else FULL
    usage = Usage(wall_s=0.2, cpu_s=0.1, peak_rss_bytes=10**8)
    ids = [f"tests/test_{number // 25}.py::test_{number}" for number in range(count // PER_TEST)]
    return [
        [Sample(task_id=task_id, usage=usage, outcome=Outcome.PASSED, at=1e9 + run, machine="m") for task_id in ids]
        for run in range(PER_TEST)
    ]


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="drm-bench-"))
    yield path
    shutil.rmtree(path)


def record(path: Path, runs: list[list[Sample]]) -> None:
    store = Database(path)
    for number, rows in enumerate(runs):
        store.record(f"run-{number}", rows)
    store.abandon()


def test_record_attempts(benchmark: Any, attempts: list[list[Sample]], folder: Path) -> None:
    benchmark.extra_info["attempts"] = PER_TEST * len(attempts[0])
    benchmark.pedantic(lambda path: record(path, attempts), setup=lambda: ((_fresh(folder),), {}), rounds=1)


def test_first_predictions(measure: Any, attempts: list[list[Sample]], folder: Path) -> None:
    path = _fresh(folder)
    record(path, attempts)
    tasks = [Task(task_id=row.task_id, scope=row.task_id.partition("::")[0]) for row in attempts[0]]

    def predict() -> int:
        store, predictor = Database(path), ResourcePerformancePredictor()
        predictor.train_models(store.samples([task.task_id for task in tasks], last=3))
        forecasts = predictor.predict_resource_requirements(tasks)
        store.abandon()
        return sum(forecast.method == "history" for forecast in forecasts)

    assert measure(predict, attempts=PER_TEST * len(tasks), tests=len(tasks)) == len(tasks)


def _fresh(folder: Path) -> Path:
    return folder / f"{len(list(folder.iterdir()))}.db"
