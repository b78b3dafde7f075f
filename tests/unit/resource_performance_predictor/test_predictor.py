"""Which past a forecast rests on, and what bad samples do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model.errors import ConfigError
from drm.model.samples import Sample
from drm.model.work import Outcome, Task, Usage
from drm.past import Attempts
from drm.ports import Forecaster
from drm.resource_performance_predictor import CostSettings, PredictorStatistics, ResourcePerformancePredictor

MIB = 2**20


def task(task_id: str) -> Task:
    return Task(task_id=task_id, scope=task_id.partition("::")[0])


def usage(wall_s: float, memory_mib: int = 100, cpu_s: float = 0.0) -> Usage:
    return Usage(wall_s=wall_s, cpu_s=cpu_s, peak_rss_bytes=memory_mib * MIB)


def trained(**walls: list[float]) -> ResourcePerformancePredictor:
    """Return a predictor that knows tests ``m.py::<name>`` with these wall times."""
    predictor = ResourcePerformancePredictor()
    for name, seconds in walls.items():
        for wall_s in seconds:
            predictor.record_task_execution(f"m.py::{name}", usage(wall_s), Outcome.PASSED)
    return predictor


def test_it_is_a_forecaster() -> None:
    forecaster: Forecaster = ResourcePerformancePredictor()
    assert forecaster.predict_resource_requirements([]) == []


@pytest.mark.parametrize(
    ("walls", "expected"),
    [([2.0], 2.0), ([2.0, 4.0], 4.0), ([50.0, 1.0, 9.0, 2.0], 2.0), ([8.0, 8.0, 1.0, 9.0, 2.0], 2.0)],
)
def test_wall_is_that_of_the_last_attempt_then_the_median_of_three(walls: list[float], expected: float) -> None:
    predictor = trained(a=walls)
    (forecast,) = predictor.predict_resource_requirements([task("m.py::a")])
    assert forecast.wall_s == expected == predictor.expected_wall_s("m.py::a", "m.py")
    assert (forecast.method, forecast.samples) == ("history", len(walls))


def test_memory_is_the_largest_peak_with_a_margin() -> None:
    predictor = ResourcePerformancePredictor()
    for mib in (100, 300, 200):
        predictor.record_task_execution("m.py::a", usage(1.0, mib), Outcome.PASSED)
    (forecast,) = predictor.predict_resource_requirements([task("m.py::a")])
    assert forecast.memory_bytes == pytest.approx(330 * MIB)


def test_a_new_test_is_like_its_module() -> None:
    predictor = trained(a=[1.0], b=[3.0])
    predictor.record_task_execution("other.py::x", usage(100.0, 1000), Outcome.PASSED)
    (forecast,) = predictor.predict_resource_requirements([task("m.py::new")])
    assert (forecast.method, forecast.wall_s, forecast.samples) == ("siblings", 2.0, 2)
    assert forecast.memory_bytes == 256 * MIB, "two tests prove little"
    assert predictor.expected_wall_s("m.py::new", "m.py") == 2.0


def test_few_quick_tests_do_not_make_others_pass_for_quick() -> None:
    predictor = ResourcePerformancePredictor(default_wall_s=0.1)
    teach(predictor, "m.py", 1, 10, wall_s=0.001)
    assert predictor.expected_wall_s("m.py::new", "m.py") > 0.05
    teach(predictor, "m.py", 999, 10, "more", wall_s=0.001)
    assert predictor.expected_wall_s("m.py::new", "m.py") == pytest.approx(0.0011, rel=0.01)


def test_a_new_module_is_like_the_run() -> None:
    predictor = trained(a=[1.0, 2.0], b=[3.0])
    (forecast,) = predictor.predict_resource_requirements([task("new.py::x")])
    assert (forecast.method, forecast.wall_s) == ("run", 2.0)
    assert predictor.expected_wall_s("new.py::x", "new.py") == 2.0


def memory_of(predictor: ResourcePerformancePredictor, task_id: str) -> int:
    (forecast,) = predictor.predict_resource_requirements([task(task_id)])
    return forecast.memory_bytes


def teach(
    predictor: ResourcePerformancePredictor, scope: str, count: int, mib: int, name: str = "t", wall_s: float = 1.0
) -> None:
    for number in range(count):
        predictor.record_task_execution(f"{scope}::{name}{number}", usage(wall_s, mib), Outcome.PASSED)


def test_a_new_test_needs_the_default_until_much_of_its_kind_has_been_seen() -> None:
    predictor = ResourcePerformancePredictor()
    teach(predictor, "m.py", 18, 10)
    assert memory_of(predictor, "m.py::new") == memory_of(predictor, "other.py::new") == 256 * MIB
    teach(predictor, "m.py", 1, 10, "last")
    assert memory_of(predictor, "m.py::new") == 15 * MIB
    assert memory_of(predictor, "other.py::new") == 256 * MIB, "another module can be of another kind"
    for number in range(18):
        teach(predictor, f"m{number}.py", 1, 10)
    assert memory_of(predictor, "other.py::new") == 15 * MIB


def test_one_large_test_raises_its_module_at_once() -> None:
    predictor = ResourcePerformancePredictor()
    teach(predictor, "m.py", 30, 10)
    teach(predictor, "other.py", 30, 10)
    predictor.record_task_execution("m.py::hog", usage(1.0, 1000), Outcome.PASSED)
    assert 300 * MIB < memory_of(predictor, "m.py::new") < 1000 * MIB
    assert memory_of(predictor, "other.py::new") == 15 * MIB
    teach(predictor, "m.py", 1000, 10, "small")
    assert memory_of(predictor, "m.py::new") < 100 * MIB


def test_other_parameters_of_the_same_function_say_most() -> None:
    predictor = ResourcePerformancePredictor()
    teach(predictor, "m.py", 30, 10)
    predictor.record_task_execution("m.py::test_x[1]", usage(1.0, 400), Outcome.PASSED)
    predictor.record_task_execution("m.py::test_y[1]", usage(1.0, 2), Outcome.PASSED)
    assert memory_of(predictor, "m.py::test_x[2]") == 600 * MIB
    assert memory_of(predictor, "m.py::test_y[2]") == 3 * MIB


def test_without_any_past_the_defaults_hold() -> None:
    predictor = ResourcePerformancePredictor(default_wall_s=0.5, default_memory_bytes=7)
    (forecast,) = predictor.predict_resource_requirements([task("m.py::a")])
    assert (forecast.method, forecast.wall_s, forecast.memory_bytes, forecast.samples) == ("default", 0.5, 7, 0)
    assert predictor.expected_wall_s("m.py::a", "m.py") == 0.5


def test_an_attempt_cut_short_teaches_its_memory_and_not_its_duration() -> None:
    predictor = trained(a=[5.0])
    predictor.record_task_execution("m.py::a", usage(0.1, 400), None)
    predictor.record_task_execution("m.py::b", usage(0.1, 800), None)
    known, killed_at_once = predictor.predict_resource_requirements([task("m.py::a"), task("m.py::b")])
    assert (known.wall_s, known.memory_bytes) == (5.0, pytest.approx(440 * MIB))
    assert (killed_at_once.wall_s, killed_at_once.memory_bytes) == (5.0, pytest.approx(880 * MIB))
    assert predictor.get_statistics().censored == 2


def test_a_test_that_did_not_run_teaches_nothing() -> None:
    predictor = trained(a=[5.0])
    predictor.record_task_execution("m.py::a", usage(0.0, 0), Outcome.NOT_RUN)
    assert predictor.expected_wall_s("m.py::a", "m.py") == 5.0


def test_memory_that_was_not_measured_falls_back_to_the_module() -> None:
    predictor = trained(a=[1.0])
    predictor.record_task_execution("m.py::b", usage(2.0, 0), Outcome.PASSED)
    (forecast,) = predictor.predict_resource_requirements([task("m.py::b")])
    assert (forecast.wall_s, forecast.memory_bytes) == (2.0, 256 * MIB)


def test_cores_are_cpu_time_over_wall_time_where_that_means_something() -> None:
    predictor = ResourcePerformancePredictor()
    predictor.record_task_execution("m.py::wide", usage(2.0, cpu_s=5.0), Outcome.PASSED)
    predictor.record_task_execution("m.py::short", usage(0.001, cpu_s=0.01), Outcome.PASSED)
    wide, short = predictor.predict_resource_requirements([task("m.py::wide"), task("m.py::short")])
    assert (wide.cpu_cores, short.cpu_cores) == (2.5, 1.0)


def test_history_teaches_as_attempts_of_the_run_do() -> None:
    rows = {
        "m.py::a": [
            Sample(task_id="m.py::a", usage=usage(wall_s), outcome=Outcome.PASSED) for wall_s in (9.0, 1.0, 2.0, 3.0)
        ]
    }
    predictor = ResourcePerformancePredictor()
    assert predictor.train_models(rows) == 4
    assert predictor.expected_wall_s("m.py::a", "m.py") == 3.0
    predictor.record_task_execution("m.py::a", usage(5.0, 200), Outcome.FAILED)
    assert predictor.expected_wall_s("m.py::a", "m.py") == 3.0, "the median of 2, 3 and 5"
    assert predictor.get_statistics() == PredictorStatistics(
        tests=1, scopes=1, learnt=4, recorded=1, censored=0, mean_wall_s=4.0, peak_rss_bytes=200 * MIB
    )


BAD = [
    Usage(wall_s=math.nan),
    Usage(wall_s=-1.0),
    Usage(wall_s=math.inf),
    Usage(cpu_s=math.nan),
    Usage(cpu_s=-0.1),
    Usage(cpu_s=float("inf")),
    Usage(peak_rss_bytes=float("inf")),  # type: ignore[arg-type]
    Usage(gpu_bytes=float("inf")),  # type: ignore[arg-type]
    Usage(peak_rss_bytes=-1),
    Usage(gpu_bytes=-1),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_samples_are_refused_and_teach_nothing(bad: Usage) -> None:
    predictor = trained(a=[5.0])
    before = predictor.get_statistics()
    with pytest.raises(ConfigError, match=r"m\.py::b"):
        predictor.record_task_execution("m.py::b", bad, Outcome.PASSED)
    good = Sample(task_id="m.py::a", usage=usage(1.0), outcome=Outcome.PASSED)
    with pytest.raises(ConfigError, match=r"m\.py::b"):
        predictor.train_models(
            {"m.py::a": [good], "m.py::b": [Sample(task_id="m.py::b", usage=bad, outcome=Outcome.PASSED)]}
        )
    assert predictor.get_statistics() == before


@pytest.mark.parametrize(
    "options",
    [
        {"default_wall_s": 0.0},
        {"default_wall_s": math.nan},
        {"default_memory_bytes": -1},
        {"memory_margin": 0.9},
        {"sibling_margin": math.inf},
    ],
)
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ResourcePerformancePredictor(**options)  # type: ignore[arg-type]


@given(
    attempts=st.lists(
        st.tuples(
            st.sampled_from(["m.py::a", "m.py::b", "n.py::a", "n.py"]),
            st.floats(0, 1e6),
            st.integers(0, 2**50),
            st.sampled_from([*Outcome, None]),
        )
    )
)
def test_forecasts_stay_within_what_was_seen(attempts: list[tuple[str, float, int, Outcome | None]]) -> None:
    predictor = ResourcePerformancePredictor()
    for task_id, wall_s, memory, outcome in attempts:
        predictor.record_task_execution(task_id, Usage(wall_s=wall_s, peak_rss_bytes=memory), outcome)
    tasks = [task("m.py::a"), task("n.py"), task("new.py::x")]
    forecasts = predictor.predict_resource_requirements(tasks)
    assert forecasts == predictor.predict_resource_requirements(tasks)
    walls = [wall_s for _, wall_s, _, _ in attempts] + [0.1]
    for each, forecast in zip(tasks, forecasts, strict=True):
        assert min(walls) * (1 - 1e-9) <= forecast.wall_s <= max(walls) * (1 + 1e-9)
        assert forecast.memory_bytes >= 0
        assert forecast.wall_s <= predictor.expected_wall_s(each.task_id, each.scope) <= max(walls) * (1 + 1e-9)
        own = [memory for task_id, _, memory, outcome in attempts if task_id == each.task_id and outcome != "not_run"]
        assert forecast.memory_bytes >= (max(own, default=0) if len(own) < 5 else min(filter(None, own), default=0))
        assert forecast.method != "history" or not max(own) or forecast.memory_bytes <= max(2 * max(own), MIB)


def test_what_is_no_setting_or_no_measurement_is_said() -> None:
    wrong: list[tuple[dict[str, float], str]] = [
        ({"default_wall_s": 0.0}, "default_wall_s: 0.0 is not a duration"),
        ({"default_memory_bytes": -1}, "default_memory_bytes: -1 B is not a size"),
        ({"memory_margin": 0.99}, "memory_margin: 0.99 is not a factor of at least 1"),
        ({"sibling_margin": math.inf}, "sibling_margin: inf is not a factor of at least 1"),
    ]
    for options, said in wrong:
        with pytest.raises(ConfigError) as caught:
            ResourcePerformancePredictor(**options)  # type: ignore[arg-type]
        assert str(caught.value) == said
    exact = ResourcePerformancePredictor(memory_margin=1.0, sibling_margin=1.0, default_memory_bytes=0)
    exact.record_task_execution("m.py::a", usage(1.0, 100), Outcome.PASSED)
    assert memory_of(exact, "m.py::a") == 100 * MIB
    with pytest.raises(ConfigError) as caught:
        exact.record_task_execution("m.py::a", Usage(peak_rss_bytes=-1), Outcome.PASSED)
    assert str(caught.value) == "sample of m.py::a: peak_rss_bytes is -1; leave this sample out"


def test_nothing_known_is_nothing_counted() -> None:
    assert ResourcePerformancePredictor().get_statistics() == PredictorStatistics(
        tests=0, scopes=0, learnt=0, recorded=0, censored=0, mean_wall_s=0.0, peak_rss_bytes=0
    )


def test_history_of_a_test_that_this_run_has_seen_is_learnt_too() -> None:
    """An attempt can end before the history has been read."""
    predictor = ResourcePerformancePredictor(machine="")
    predictor.record_task_execution("m.py::a", usage(5.0, 100), Outcome.PASSED)
    read = Attempts("m.py::a", [("passed", 2.0, 1.0, 300 * MIB, 1.0, "", 0, "", 0, 0)])
    assert predictor.train_models({"m.py::a": read}) == 1
    assert memory_of(predictor, "m.py::a") == pytest.approx(330 * MIB)
    assert predictor.expected_wall_s("m.py::a", "m.py") == 2.0


@pytest.mark.parametrize(("wall_s", "cpu_s"), [(float("inf"), 1.0), (1.0, float("inf")), (1.0, -1.0)])
def test_what_is_no_measurement_is_refused_of_a_history_file_too(wall_s: float, cpu_s: float) -> None:
    predictor = ResourcePerformancePredictor()
    read = Attempts("m.py::a", [("passed", wall_s, cpu_s, MIB, 1.0, "", 0, "", 0, 0)])
    with pytest.raises(ConfigError, match=r"m\.py::a"):
        predictor.train_models({"m.py::a": read})


def test_the_slowest_of_the_last_three_is_what_a_test_takes_when_it_is_slow() -> None:
    predictor = trained(a=[9.0, 1.0, 3.0, 2.0])
    assert predictor.slow_wall_s("m.py::a") == 3.0
    assert predictor.slow_wall_s("m.py::never") is None
    predictor.record_task_execution("m.py::cut", usage(7.0), None)
    assert predictor.slow_wall_s("m.py::cut") is None


def test_only_attempts_that_passed_tell_what_a_test_takes() -> None:
    """A slow test that was skipped three times at once would be timed out for good."""
    took = [("passed", 60.0, ""), ("passed", 80.0, ""), *[("skipped", 0.001, "")] * 3, ("failed", 0.002, "")]
    rows = [(outcome, wall_s, wall_s, MIB, 1.0, "", 0, death, 0, 0) for outcome, wall_s, death in took]
    predictor = ResourcePerformancePredictor()
    predictor.train_models({"m.py::a": Attempts("m.py::a", rows), "m.py::b": Attempts("m.py::b", rows[2:])})
    assert predictor.slow_wall_s("m.py::a") == 80.0
    assert predictor.slow_wall_s("m.py::b") is None


def test_what_a_test_takes_when_it_is_slow_is_told_in_seconds_of_this_machine() -> None:
    past = {
        f"m.py::t{n}": [Sample(task_id=f"m.py::t{n}", usage=usage(wall_s), outcome=Outcome.PASSED, machine=machine)]
        for n in range(6)
        for wall_s, machine in ((1.0, "here"), (3.0, "there"))
    }
    for n in range(6):
        past[f"m.py::t{n}"].insert(0, replace(past[f"m.py::t{n}"][0], usage=usage(1.0), machine="here"))
    past["m.py::a"] = [Sample(task_id="m.py::a", usage=usage(9.0), outcome=Outcome.PASSED, machine="there")]
    predictor = ResourcePerformancePredictor(machine="here")
    predictor.train_models(past)
    assert predictor.slow_wall_s("m.py::a") == pytest.approx(3.0)


def test_cpu_time_counts_from_fifty_milliseconds_on() -> None:
    predictor = ResourcePerformancePredictor()
    for wall_s in (0.05, 0.049):
        predictor.record_task_execution(f"m.py::{wall_s}", usage(wall_s, cpu_s=3 * wall_s), Outcome.PASSED)
    read = {f"n.py::{wall_s}": [("passed", wall_s, 3 * wall_s, MIB, 1.0, "", 0, "", 0, 0)] for wall_s in (0.05, 0.049)}
    predictor.train_models({name: Attempts(name, list(rows)) for name, rows in read.items()})
    names = ("m.py::0.05", "m.py::0.049", "n.py::0.05", "n.py::0.049")
    forecasts = predictor.predict_resource_requirements([task(name) for name in names])
    assert [forecast.cpu_cores for forecast in forecasts] == [3.0, 1.0, 3.0, 1.0]


def test_sizes_speak_from_five_attempts_and_64_mib_on() -> None:
    def why(count: int, mib: int, *, vary: bool = True) -> str:
        predictor = ResourcePerformancePredictor(costs=CostSettings(boosted=False))
        for number in range(count):
            name = f"m.py::t[{number + 1 if vary else 1}]"
            predictor.record_task_execution(name, usage(1.0, mib), Outcome.PASSED)
        return predictor.predict_distribution(task("m.py::t[99]")).why

    assert why(5, 64).startswith("by size, from 5 attempts with other parameters; nearest so far: ")
    for nothing in (why(4, 64), why(5, 63), why(5, 64, vary=False)):
        assert nothing.endswith("attempts of its function, fixture or module: it has none of its own")
