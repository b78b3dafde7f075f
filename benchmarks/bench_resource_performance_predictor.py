"""What learning and forecasting cost."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads import suite
from drm.model.work import Forecast, Outcome, Task, Usage
from drm.ports import Sample
from drm.resource_performance_predictor import ResourcePerformancePredictor
from drm.resource_performance_predictor.families import Family

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


def test_predict_one(measure: Any) -> None:
    predictor, tasks = trained(), suite(1)
    measure(lambda: predictor.predict_resource_requirements(tasks), iterations=2000)


def family() -> Family:
    """Fifty attempts of a function at sizes that vary: as many as are kept of a test."""
    made = Family()
    for number in range(50):
        size = 1 + number * 7919 % 1000
        made.learn(size, 10**8 + size * 10**5 + number % 7 * 10**6, 1.0)
    made.catch_up(2**36)
    return made


def test_predict_one_by_size(measure: Any) -> None:
    own = family()
    measure(lambda: own.predict(500.0, 2**36), iterations=200)


def test_update_by_size(measure: Any) -> None:
    """Each round on a family as it was: what an update costs depends on what was learnt before."""

    def update(own: Family) -> None:
        for number in range(20):
            size = 1 + number * 104_729 % 1000
            own.learn(size, 10**8 + size * 10**5, 1.0)
            own.catch_up(2**36)

    measure(update, setup=family, updates=20)


def test_a_million_parameters(benchmark: Any, request: Any) -> None:
    """A function with so many parameters is learnt like any other, and of their sizes the newest are held."""
    count = 50_000 if request.config.getoption("--quick") else 1_000_000
    ids = [f"m.py::t[{number}]" for number in range(count)]
    new = [Task(task_id=f"m.py::t[{count + number}]", scope="m.py") for number in range(COUNT)]

    def learn_and_predict() -> list[Forecast]:
        predictor = ResourcePerformancePredictor()
        for task_id in ids:
            predictor.record_task_execution(task_id, USAGE, Outcome.PASSED)
        return predictor.predict_resource_requirements(new)

    forecasts = benchmark.pedantic(learn_and_predict, rounds=1)
    benchmark.extra_info.update(parameters=count, predicted=COUNT)
    assert {forecast.method for forecast in forecasts} == {"siblings"}
    assert all(10**8 <= forecast.memory_bytes <= 2 * 10**8 for forecast in forecasts)
