"""What learning and forecasting cost."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads import suite
from drm.model.work import Outcome, Usage
from drm.ports import Sample
from drm.resource_performance_predictor import ResourcePerformancePredictor

COUNT = 20_000
USAGE = Usage(wall_s=0.2, cpu_s=0.1, peak_rss_bytes=10**8)


def trained() -> ResourcePerformancePredictor:
    predictor = ResourcePerformancePredictor()
    for task in suite(COUNT)[::2]:
        predictor.record_task_execution(task.task_id, USAGE, Outcome.PASSED)
    return predictor


def test_predict_resource_requirements(measure: Any) -> None:
    tasks, predictor = suite(COUNT), trained()
    forecasts = measure(lambda: predictor.predict_resource_requirements(tasks), tasks=COUNT)
    assert [forecast.method for forecast in forecasts[:2]] == ["history", "siblings"]


def test_record_task_execution(measure: Any) -> None:
    predictor = trained()
    task_id = suite(1)[0].task_id
    measure(lambda: predictor.record_task_execution(task_id, USAGE, Outcome.PASSED), iterations=2000)


def test_train_models(measure: Any) -> None:
    samples = {
        task.task_id: [Sample(task_id=task.task_id, usage=USAGE, outcome=Outcome.PASSED)] * 3 for task in suite(COUNT)
    }
    learnt = measure(
        lambda predictor: predictor.train_models(samples), setup=ResourcePerformancePredictor, attempts=3 * COUNT
    )
    assert learnt == 3 * COUNT
