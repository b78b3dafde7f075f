"""Quantiles, confidence and reasons; other machines; tests that have changed."""

from __future__ import annotations

import random
import statistics

import pytest

from drm.model.samples import Sample
from drm.model.work import Outcome, Task, Usage
from drm.resource_performance_predictor import ResourcePerformancePredictor, assess
from drm.resource_performance_predictor.distributions import Prediction, Spread, together
from drm.resource_performance_predictor.drift import since_change, speeds
from drm.sources import sources_of

MIB = 2**20


def row(task_id: str, wall_s: float, mib: int = 100, machine: str = "here", source: int = 0) -> Sample:
    usage = Usage(wall_s=wall_s, cpu_s=2 * wall_s, peak_rss_bytes=mib * MIB)
    return Sample(task_id=task_id, usage=usage, outcome=Outcome.PASSED, machine=machine, source=source)


def task(task_id: str) -> Task:
    return Task(task_id=task_id, scope=task_id.partition("::")[0])


def test_a_prediction_says_how_much_how_surely_and_why() -> None:
    chance = random.Random(4)
    samples = {
        f"m.py::t{number}": [row(f"m.py::t{number}", chance.lognormvariate(0, 0.2)) for _ in range(20)]
        for number in range(50)
    }
    predictor = ResourcePerformancePredictor()
    predictor.train_models(samples)
    known, fresh = (predictor.predict_distribution(task(name)) for name in ("m.py::t1", "new.py::t"))
    assert known.wall_s.p50 < known.wall_s.p90 < known.wall_s.p99
    walls = [predictor.predict_distribution(task(name)).wall_s for name in samples]
    assert 1.2 < statistics.fmean(wall.p90 / wall.p50 for wall in walls) < 1.6, "e ** (1.28 * 0.2 * 1.2) is 1.36"
    assert known.cpu_cores.p50 == pytest.approx(2.0)
    assert 0 <= fresh.confidence < known.confidence <= 1
    assert "largest of its 20 attempts" in known.why
    assert "nothing is known of its module" in fresh.why
    module = predictor.predict_together("m.py", [task(name) for name in samples])
    assert module.samples == 50 * 20
    assert len(known.sentences()) == 3


def test_a_size_never_tried_is_foreseen_from_others() -> None:
    predictor = ResourcePerformancePredictor()
    sizes = random.Random(2).sample(range(100, 1000), 20)
    predictor.train_models({f"m.py::t[{n}]": [row(f"m.py::t[{n}]", 1.0, 50 + n)] for n in (*sizes, 1000)})
    prediction = predictor.predict_distribution(task("m.py::t[500]"))
    assert 550 * MIB <= prediction.reserved_bytes <= 620 * MIB
    assert "by size" in prediction.why
    assert predictor.get_resource_scaling_factor("m.py::t", 100, 1000) == pytest.approx(7, rel=0.2)
    assert predictor.get_resource_scaling_factor("m.py::unknown", 100, 1000) == 1.0


def test_a_steady_test_comes_to_reserve_less_than_a_tenth_too_much() -> None:
    predictor = ResourcePerformancePredictor()
    for _ in range(10):
        predictor.record_task_execution("m.py::t", row("", 1.0).usage, Outcome.PASSED)
    (forecast,) = predictor.predict_resource_requirements([task("m.py::t")])
    assert forecast.memory_bytes == pytest.approx(102 * MIB, rel=0.001)


def test_seconds_of_another_machine_are_told_in_ours() -> None:
    samples = {f"m.py::t{n}": [row("x", 1.0 + n), row("x", 2.0 + 2 * n, machine="slow")] for n in range(6)}
    samples["m.py::only there"] = [row("x", 8.0, machine="slow")]
    assert speeds(samples, "here") == {"slow": pytest.approx(0.5)}
    predictor = ResourcePerformancePredictor(machine="here")
    predictor.train_models(samples)
    assert predictor.expected_wall_s("m.py::only there", "m.py") == pytest.approx(4.0)
    assert speeds(dict(list(samples.items())[:3]), "here") == {}, "three tests in common prove little"


def test_what_was_before_a_change_counts_until_there_is_something_after_it() -> None:
    old, new = row("t", 1.0, 100, source=1), row("t", 5.0, 300, source=2)
    assert since_change([old, new], 2) == ([new], False)
    assert since_change([old], 2) == ([old], True)
    assert since_change([row("t", 1.0), old], 1)[1] is False
    predictor = ResourcePerformancePredictor()
    predictor.train_models({"m.py::t": [old] * 5}, sources={"m.py::t": 2})
    (forecast,) = predictor.predict_resource_requirements([task("m.py::t")])
    assert forecast.memory_bytes == 150 * MIB
    predictor.record_task_execution("m.py::t", row("t", 9.0, 40).usage, Outcome.PASSED)
    (forecast,) = predictor.predict_resource_requirements([task("m.py::t")])
    assert (forecast.wall_s, forecast.memory_bytes) == (9.0, pytest.approx(44 * MIB))


class Item:
    def __init__(self, obj: object) -> None:
        self.obj = obj


def sum_one(size: int) -> None:
    total = sum(range(10))
    assert total == 45
    assert size


def sum_again(size: int) -> None:
    total = sum(range(10))
    assert total == 45
    assert size


def sum_otherwise(size: int) -> None:
    total = sum(range(11))
    assert total == 55
    assert size


def test_the_source_is_what_the_function_does_not_what_it_is_called() -> None:
    functions = {"a": sum_one, "b": sum_again, "c": sum_otherwise, "d[1]": sum_one, "e": len}
    found = sources_of({name: Item(function) for name, function in functions.items()})
    assert found["a"] == found["b"]
    assert len({found["a"], found["c"], found["d[1]"]}) == 3
    assert "e" not in found
    assert all(0 < value < 2**63 for value in found.values())


def test_what_was_killed_for_memory_gets_twice_as_much_and_its_duration_says_nothing() -> None:
    usage = Usage(wall_s=0.1, peak_rss_bytes=300 * MIB)
    killed = Sample(
        task_id="m.py::t", usage=usage, outcome=Outcome.FAILED, death="memory", reserved_bytes=256 * MIB, machine="here"
    )
    predictor = ResourcePerformancePredictor()
    predictor.train_models({"m.py::t": [row("m.py::t", 5.0, 100), killed]})
    (forecast,) = predictor.predict_resource_requirements([task("m.py::t")])
    assert (forecast.wall_s, forecast.memory_bytes) == (5.0, 512 * MIB)
    predictor.record_task_execution("m.py::t", row("m.py::t", 5.0, 400).usage, Outcome.PASSED)
    (forecast,) = predictor.predict_resource_requirements([task("m.py::t")])
    assert forecast.memory_bytes == pytest.approx(440 * MIB)


def test_a_run_is_assessed_by_what_was_known_before_it() -> None:
    before = {"m.py::a": [row("m.py::a", 2.0)], "m.py::b": [row("m.py::b", 1.0)] * 3}
    usage = Usage(wall_s=2.5, peak_rss_bytes=2**29)
    run = [
        Sample(task_id="m.py::a", usage=usage, outcome=Outcome.PASSED, reserved_bytes=2**30),
        Sample(task_id="m.py::b", usage=usage, outcome=Outcome.FAILED, reserved_bytes=2**28, death="memory"),
        Sample(task_id="m.py::new", usage=usage, outcome=Outcome.PASSED),
    ]
    made = assess(before, run)
    assert (made.predicted, made.median_error, made.too_small) == (1, pytest.approx(0.2), 1)
    assert made.unused_gib_hours == pytest.approx(0.5 * 2.5 / 3600)
    assert made.reserved_gib_hours == pytest.approx(1.25 * 2.5 / 3600)
    assert assess({}, []).median_error is None


def test_where_nothing_ran_here_the_machine_that_ran_most_is_the_measure() -> None:
    samples = {
        f"m.py::t{n}": [
            row("x", 1.0, machine="aws:big"),
            row("x", 1.0, machine="aws:big"),
            row("x", 3.0, machine="gcp:x"),
        ]
        for n in range(6)
    }
    assert speeds(samples, "here") == {"gcp:x": pytest.approx(1 / 3)}
    samples["m.py::only there"] = [row("x", 9.0, machine="gcp:x")]
    predictor = ResourcePerformancePredictor(machine="here")
    predictor.train_models(samples)
    assert predictor.expected_wall_s("m.py::only there", "m.py") == pytest.approx(3.0)


def spread(p50: float, p90: float, p99: float) -> Spread:
    return Spread(p50=p50, p90=p90, p99=p99)


def prediction(number: int, *, gpu_bytes: float = 0.0) -> Prediction:
    return Prediction(
        task_id=f"m.py::t{number}",
        wall_s=spread(number, 2.0 * number, 3.0 * number),
        memory_bytes=spread(number * MIB, 2 * number * MIB, 4 * number * MIB),
        cpu_cores=spread(1.0, 1.0, 1.0),
        gpu_bytes=spread(gpu_bytes, gpu_bytes, 2 * gpu_bytes),
        reserved_bytes=5 * number * MIB,
        method="history",
        samples=number,
        confidence=0.01 * number,
        why="because",
    )


def test_many_tests_together_are_ranked_by_what_is_expected_of_each() -> None:
    one = together("m.py", [prediction(number) for number in range(1, 101)])
    assert one == Prediction(
        task_id="m.py",
        wall_s=spread(51, 91, 100),
        memory_bytes=spread(51 * MIB, 91 * MIB, 100 * MIB),
        cpu_cores=spread(1.0, 1.0, 1.0),
        gpu_bytes=spread(0.0, 0.0, 0.0),
        reserved_bytes=500 * MIB,
        method="together",
        samples=5050,
        confidence=round(0.505, 2),
        why="over its 100 tests, each as it is predicted by itself",
    )
    assert together("m.py", [prediction(7)]).wall_s == spread(7, 7, 7)
    nothing = together("none.py", [])
    assert (nothing.wall_s, nothing.reserved_bytes, nothing.samples, nothing.confidence) == (spread(0, 0, 0), 0, 0, 0.0)


def test_a_prediction_in_sentences() -> None:
    assert prediction(20).sentences() == [
        "expected: 20 s (nine in ten below 40 s, 99 in 100 below 60 s)",
        "memory: 20 MiB (40 MiB, 80 MiB); 100 MiB are reserved unless a mark says how much",
        "confidence 20%: because",
    ]
    assert prediction(20, gpu_bytes=3 * MIB).sentences()[2] == "gpu memory: 3 MiB, at most 6 MiB"
    plain = prediction(2).as_dict()
    assert (plain["wall_s"], plain["samples"]) == ({"p50": 2, "p90": 4.0, "p99": 6.0}, 2)


def test_cores_and_gpus_are_what_attempts_had_that_were_long_enough() -> None:
    def seen(wall_s: float, cpu_s: float, gpu_mib: int) -> Sample:
        usage = Usage(wall_s=wall_s, cpu_s=cpu_s, peak_rss_bytes=MIB, gpu_bytes=gpu_mib * MIB)
        return Sample(task_id="m.py::t", usage=usage, outcome=Outcome.PASSED)

    predictor = ResourcePerformancePredictor()
    rows = [seen(0.05, 0.05 * cores, cores) for cores in range(1, 11)] + [seen(0.04, 4.0, 5)]
    predictor.train_models({"m.py::t": rows})
    found = predictor.predict_distribution(task("m.py::t"))
    assert (found.cpu_cores.p50, found.cpu_cores.p90, found.cpu_cores.p99) == pytest.approx((6, 10, 10))
    assert (found.gpu_bytes.p50, found.gpu_bytes.p90, found.gpu_bytes.p99) == (5 * MIB, 9 * MIB, 10 * MIB)
    short = ResourcePerformancePredictor()
    short.train_models({"m.py::t": [seen(0.04, 4.0, 0)]})
    assert short.predict_distribution(task("m.py::t")).cpu_cores == spread(1.0, 1.0, 1.0)


def test_confidence_grows_with_attempts_up_to_twenty() -> None:
    def sure(count: int) -> float:
        predictor = ResourcePerformancePredictor()
        predictor.train_models({"m.py::t": [row("m.py::t", 1.0)] * count, "m.py::u": [row("m.py::u", 1.0)] * 400})
        return predictor.predict_distribution(task("m.py::t")).confidence

    assert sure(1) < sure(10) < sure(19) < sure(20)
    assert sure(20) == pytest.approx(sure(400), abs=0.02), "what is left is how far off predictions were"
    predictor = ResourcePerformancePredictor()
    assert predictor.predict_distribution(task("m.py::t")).confidence == 0.0


def test_an_assessment_counts_each_attempt_once() -> None:
    before = {name: [row(name, 2.0)] * 3 for name in ("m.py::a", "m.py::b", "m.py::c", "m.py::d")}

    def ran(name: str, wall_s: float, used_mib: int, reserved_mib: int, **more: object) -> Sample:
        usage = Usage(wall_s=wall_s, peak_rss_bytes=used_mib * MIB)
        facts = {"outcome": Outcome.PASSED, "at": 100.0, "reserved_bytes": reserved_mib * MIB, **more}
        return Sample(task_id=name, usage=usage, **facts)  # type: ignore[arg-type]

    run = [
        ran("m.py::a", 2.5, 512, 1024),  # 20 % off
        ran("m.py::b", 4.0, 512, 512),  # 50 % off, and all of its memory used
        ran("m.py::c", 1.6, 300, 256),  # 25 % off, and more than it had
        ran("m.py::d", 9.0, 0, 1024, outcome=None),  # cut short
        ran("m.py::d", 0.0, 0, 0),  # not measured
        ran("m.py::new", 50.0, 100, 0),  # nothing was known, and nothing reserved
    ]
    made = assess(before, run)
    assert (made.predicted, made.median_error, made.too_small) == (3, pytest.approx(0.25), 1)
    assert made.reserved_gib_hours == pytest.approx((2.5 + 2.0 + 0.4 + 9.0) / 3600)
    assert made.unused_gib_hours == pytest.approx((1.25 + 9.0) / 3600)
    assert made.covered == pytest.approx(2 / 3), "2.5 s and 1.6 s are near 2 s, 4 s are not"
    nothing = assess(before, [])
    assert (nothing.predicted, nothing.covered, nothing.reserved_gib_hours) == (0, None, 0.0)
    assert (nothing.unused_gib_hours, nothing.too_small) == (0.0, 0)


def test_a_machine_is_at_most_twenty_times_as_fast() -> None:
    def ran(here_s: float, there_s: float, tests: int = 5) -> dict[str, float]:
        rows = {f"t{n}": [row("x", here_s), row("x", there_s, machine="there")] for n in range(tests)}
        return speeds(rows, "here")

    assert ran(100.0, 1.0) == {"there": 20.0}
    assert ran(1.0, 100.0) == {"there": 0.05}
    assert ran(3.0, 2.0) == {"there": 1.5}
    assert ran(3.0, 2.0, tests=4) == {}
    only_there = {"only there": [row("x", 7.0, machine="there")]}
    both = {f"t{n}": [row("x", 3.0), row("x", 2.0, machine="there")] for n in range(5)}
    assert speeds({**only_there, **both}, "here") == {"there": 1.5}
    assert speeds({"t": [row("x", 1.0)]}, "") == {}
    assert since_change([row("t", 1.0, source=1)], 0) == ([row("t", 1.0, source=1)], False), "nobody knows its source"
