"""What is read from a history file, test by test, teaches what its samples would have taught one by one."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from drm.model.work import Outcome, Task
from drm.past import Attempts, Row
from drm.resource_performance_predictor import ResourcePerformancePredictor

HERE = "here"
# Times are powers of two, so that sums are the same in any order.
rows = st.lists(
    st.tuples(
        st.sampled_from([*(["passed"] * 6), "failed", "not_run", None]),
        st.sampled_from([0.0, 2**-12, 0.25, 4.0]),
        st.sampled_from([0.0, 2**-13, 0.125, 2.0]),
        st.sampled_from([0, 2**19, 2**25, 2**26, 2**27]),
        st.just(1.0),
        st.sampled_from([*([HERE] * 8), "elsewhere"]),
        st.sampled_from([*([7] * 8), 8, 0]),
        st.sampled_from([*([""] * 8), "memory"]),
        st.just(2**26),
        st.sampled_from([*([0] * 8), 2**30]),
        st.just("whatever else was read"),
    ),
    min_size=1,
    max_size=8,
)


def of_memory(*mib: int) -> list[Row]:
    return [("passed", 1.0, 0.5, size * 2**20, 1.0, HERE, 7, "", 2**26, 0, "") for size in mib]


@given(st.dictionaries(st.sampled_from(["a.py::t", "a.py::u", "a.py::p[1]", "b.py::t"]), rows), st.booleans())
def test_columns_teach_what_samples_teach(found: dict[str, list[Row]], knows_sources: bool) -> None:
    sources = dict.fromkeys(found, 7) if knows_sources else {}
    read: dict[str, Sequence[object]] = {task_id: Attempts(task_id, list(known)) for task_id, known in found.items()}
    predictors = []
    for samples in (read, {task_id: list(known) for task_id, known in read.items()}):
        predictor = ResourcePerformancePredictor(machine=HERE)
        assert predictor.train_models(samples, sources=sources) == sum(map(len, found.values()))  # type: ignore[arg-type]
        predictors.append(predictor)
    at_once, one_by_one = predictors
    tasks = [Task(task_id=name, scope=name[:4]) for name in ("a.py::t", "a.py::u", "a.py::p[1]", "b.py::t", "c.py::t")]
    assert at_once.get_statistics() == one_by_one.get_statistics()
    assert at_once.predict_resource_requirements(tasks) == one_by_one.predict_resource_requirements(tasks)
    assert [at_once.predict_distribution(task) for task in tasks] == [
        one_by_one.predict_distribution(task) for task in tasks
    ]


def test_a_sample_is_made_where_one_is_asked_for() -> None:
    attempts = Attempts("a.py::t", [("passed", 1.0, 0.5, 100, 2.0, HERE, 7, "", 200, 2**30)])
    (sample,) = attempts
    assert (sample.task_id, sample.outcome, sample.usage.wall_s) == ("a.py::t", Outcome.PASSED, 1.0)
    assert (sample.reserved_bytes, sample.usage.gpu_bytes) == (200, 2**30)
    assert (attempts[-1], attempts[:1]) == (sample, [sample])


@given(st.lists(st.sampled_from([16, 20, 60, 63, 64, 70, 100, 110, 150, 300, 800]), min_size=1, max_size=12))
def test_history_teaches_what_attempts_of_this_run_would(mib: list[int]) -> None:
    """What margins and constants would have cost counts from the third attempt on, whoever tells of it."""
    attempts = Attempts("a.py::t", of_memory(*mib))
    read, recorded = (ResourcePerformancePredictor(machine=HERE) for _ in range(2))
    read.train_models({"a.py::t": attempts}, sources={"a.py::t": 7})
    for attempt in attempts:
        recorded.record_task_execution("a.py::t", attempt.usage, attempt.outcome)
    task = [Task(task_id="a.py::t", scope="a.py")]
    assert read.predict_resource_requirements(task) == recorded.predict_resource_requirements(task)
