"""Ids, clocks and numbers of tests that nobody expects: they are kept, or cost no more than others."""

from __future__ import annotations

from pathlib import Path

from drm.history import open_history
from drm.model.samples import Sample
from drm.model.work import Outcome, Task, Usage
from drm.resource_performance_predictor import ResourcePerformancePredictor

MIB = 2**20


def sample(task_id: str, *, wall_s: float = 1.0, at: float = 0.0, attempt: int = 1) -> Sample:
    usage = Usage(wall_s=wall_s, cpu_s=wall_s, peak_rss_bytes=100 * MIB)
    return Sample(task_id=task_id, usage=usage, outcome=Outcome.PASSED, at=at, attempt=attempt)


def test_an_id_of_ten_kilobytes_is_kept_and_predicted(tmp_path: Path) -> None:
    long = f"m.py::test_it[{'ä' * 5000}]"
    store = open_history(tmp_path / "history.db", warn=print)
    store.record("run", [sample(long, wall_s=3.0), sample("m.py::test_short")])
    found = store.samples([long, "m.py::test_short"])
    store.close()
    assert list(found) == [long, "m.py::test_short"]
    predictor = ResourcePerformancePredictor()
    predictor.train_models(found)
    (forecast,) = predictor.predict_resource_requirements([Task(task_id=long, scope="m.py")])
    assert (forecast.method, forecast.wall_s) == ("history", 3.0)


def test_after_a_clock_that_went_back_the_newest_is_still_what_was_recorded_last(tmp_path: Path) -> None:
    warnings: list[str] = []
    store = open_history(tmp_path / "history.db", warn=warnings.append)
    year_s = 366 * 86400.0
    for number, at in enumerate([3 * year_s, 3 * year_s + 60, year_s], start=1):
        store.record(f"run-{number}", [sample("m.py::t", wall_s=float(number), at=at)])
    assert [row.usage.wall_s for row in store.samples(["m.py::t"], last=2)["m.py::t"]] == [2.0, 3.0]
    store.close()  # it prunes by age
    again = open_history(tmp_path / "history.db", warn=warnings.append)
    kept = [row.usage.wall_s for row in again.samples(["m.py::t"])["m.py::t"]]
    again.close()
    assert kept[:2] == [1.0, 2.0], "a run with a wrong clock takes nothing away from those before it"
    assert warnings == []


def test_a_test_told_of_twice_counts_as_two_attempts_and_takes_no_other_place(tmp_path: Path) -> None:
    store = open_history(tmp_path / "history.db", warn=print)
    twice = [sample("m.py::t", wall_s=1.0), sample("m.py::t", wall_s=2.0, attempt=2)]
    store.record("run", [*twice, sample("m.py::u")])
    store.record("run", twice)
    found = store.samples(["m.py::t", "m.py::u", "m.py::t"])
    store.close()
    assert [row.usage.wall_s for row in found["m.py::t"]] == [1.0, 2.0, 1.0, 2.0]
    assert len(found["m.py::u"]) == 1
    predictor = ResourcePerformancePredictor()
    assert predictor.train_models(found) == 5
    assert predictor.get_statistics().tests == 2


def test_of_a_function_with_very_many_parameters_the_newest_are_held() -> None:
    predictor = ResourcePerformancePredictor()
    for number in range(1_500):
        usage = Usage(wall_s=0.5, cpu_s=0.5, peak_rss_bytes=(100 + number % 7) * MIB)
        predictor.record_task_execution(f"m.py::t[{number}-x]", usage, Outcome.PASSED)
    new = [Task(task_id=f"m.py::t[{number}-y]", scope="m.py") for number in range(1_500, 3_000)]
    forecasts = predictor.predict_resource_requirements(new)
    assert {forecast.method for forecast in forecasts} == {"siblings"}
    assert all(100 * MIB <= forecast.memory_bytes <= 8 * 106 * MIB for forecast in forecasts)
    assert len(predictor._neighbours._functions["m.py::t"].unsorted) <= 256
