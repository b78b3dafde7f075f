"""What is reserved, tier by tier: nothing known, few attempts, many; after kills; within what a worker has."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model.errors import ConfigError
from drm.model.samples import Sample
from drm.model.work import Outcome, Task, Usage
from drm.resource_performance_predictor import SAFE, CostSettings, ResourcePerformancePredictor
from drm.resource_performance_predictor.statistics import Totals, cost_of
from drm.resource_performance_predictor.surplus import Surplus

MIB = 2**20
GIB = 2**30


def task(task_id: str, *fixtures: str) -> Task:
    return Task(task_id=task_id, scope=task_id.partition("::")[0], fixtures=fixtures)


def row(task_id: str, mib: int, *, killed_at: int = 0, gpu_mib: int = 0) -> Sample:
    """Return an attempt that used so much; ``killed_at``: for memory, with so many MiB reserved."""
    return Sample(
        task_id=task_id,
        usage=Usage(wall_s=1.0, cpu_s=1.0, peak_rss_bytes=mib * MIB, gpu_bytes=gpu_mib * MIB),
        outcome=Outcome.FAILED if killed_at else Outcome.PASSED,
        death="memory" if killed_at else "",
        reserved_bytes=killed_at * MIB,
    )


def reserved_mib(predictor: ResourcePerformancePredictor, task_id: str, *fixtures: str) -> float:
    (forecast,) = predictor.predict_resource_requirements([task(task_id, *fixtures)])
    return forecast.memory_bytes / MIB


def after(*rows: Sample, largest_mib: int = 0, costs: CostSettings | None = None) -> ResourcePerformancePredictor:
    predictor = ResourcePerformancePredictor(largest_bytes=largest_mib * MIB, costs=costs)
    samples: dict[str, list[Sample]] = {}
    for each in rows:
        samples.setdefault(each.task_id, []).append(each)
    predictor.train_models(samples)
    return predictor


def test_a_test_never_seen_gets_half_as_much_again_as_its_module_in_the_median() -> None:
    peaks = [100, 101, 102, 103] * 5
    predictor = after(*(row(f"m.py::t{number}", mib) for number, mib in enumerate(peaks)))
    assert reserved_mib(predictor, "m.py::new") == pytest.approx(1.5 * 101.5, abs=0.1)
    skewed = after(*(row(f"m.py::t{number}", mib) for number, mib in enumerate([*peaks, 4000])))
    assert reserved_mib(skewed, "m.py::new") > 1500, "the deviations say that the median is not all"


def test_who_shares_a_fixture_with_large_tests_is_taken_to_be_large() -> None:
    rows = [row(f"big/test_a.py::t{number}", 2000 + number) for number in range(5)]
    rows += [row(f"test_{number}.py::t", 20) for number in range(40)]
    predictor = ResourcePerformancePredictor()
    samples = {each.task_id: [each] for each in rows}
    predictor.train_models(samples, fixtures={name: ("model",) for name in samples if name.startswith("big")})
    assert reserved_mib(predictor, "test_3.py::new", "model") == pytest.approx(1.5 * 2002, rel=0.01)
    assert reserved_mib(predictor, "test_3.py::new", "unknown") == reserved_mib(predictor, "test_3.py::new") < 300


@pytest.mark.parametrize(
    ("rows", "largest_mib", "expected"),
    [
        ([row("m.py::t", 300, killed_at=256)], 0, 512),
        ([row("m.py::t", 900), row("m.py::t", 250, killed_at=256)], 0, 990),  # its largest and a tenth are more
        ([row("m.py::t", 300, killed_at=256), row("m.py::t", 600, killed_at=512)], 16384, 16384),
        ([row("m.py::t", 300, killed_at=256), row("m.py::t", 600, killed_at=512)], 0, 1024),
        ([row("m.py::t", 300, killed_at=256), row("m.py::t", 600), row("m.py::t", 600)], 16384, 660),
        ([row("m.py::t", 300, killed_at=256)], 400, 400),
        ([row("m.py::t", 600)], 512, 512),
    ],
)
def test_after_a_kill_it_gets_more_than_ever_then_all_there_is(
    rows: list[Sample], largest_mib: int, expected: float
) -> None:
    assert reserved_mib(after(*rows, largest_mib=largest_mib), "m.py::t") == pytest.approx(expected)


def test_it_says_that_a_test_was_killed() -> None:
    predictor = after(*[row("m.py::t", 600, killed_at=512)] * 2, largest_mib=8192)
    assert "killed for memory 2 times in a row" in predictor.predict_distribution(task("m.py::t")).why


def test_what_needed_much_once_and_never_again_comes_to_get_less() -> None:
    once = [row("m.py::t", mib) for mib in (3000, *[200, 201, 199, 200, 202] * 4)]
    predictor = after(*once)
    assert reserved_mib(predictor, "m.py::t") < 250
    assert "constant" in predictor.predict_distribution(task("m.py::t")).why
    steady = after(*(row("m.py::t", mib) for mib in (3000, 2990, 3010, 3005, 2995, 3001)))
    assert 3010 < reserved_mib(steady, "m.py::t") < 3320


def test_what_all_tests_of_this_run_use_beyond_their_past_is_added_to_those_that_wait() -> None:
    names = [f"m.py::t{number}" for number in range(40)]
    predictor = after(*(row(name, 100) for name in names))
    assert reserved_mib(predictor, names[-1]) == pytest.approx(110)
    for name in names[:30]:
        predictor.record_task_execution(name, Usage(wall_s=1.0, peak_rss_bytes=160 * MIB), Outcome.PASSED)
    assert reserved_mib(predictor, names[-1]) == pytest.approx(160)
    assert reserved_mib(predictor, names[0]) == pytest.approx(176), "its own largest is of this run already"


def test_who_wants_to_be_safe_reserves_more() -> None:
    rows = [row("m.py::t", mib) for mib in (500, 400, 400, 420, 400, 520, 400, 400)]
    assert reserved_mib(after(*rows, costs=SAFE), "m.py::t") >= 1.02 * 520
    with pytest.raises(ConfigError, match="failure_penalty"):
        CostSettings(failure_penalty=-1.0)


def test_memory_of_gpus_is_learnt_and_foreseen() -> None:
    predictor = after(*(row("m.py::t", 100, gpu_mib=mib) for mib in (4000, 6000, 5000)), row("n.py::u", 100))
    (known, fresh, other) = predictor.predict_resource_requirements(
        [task(name) for name in ("m.py::t", "m.py::new", "n.py::u")]
    )
    assert (known.gpu_bytes, fresh.gpu_bytes, other.gpu_bytes) == (pytest.approx(6600 * MIB), 6000 * MIB, 0)
    prediction = predictor.predict_distribution(task("m.py::t"))
    assert (prediction.gpu_bytes.p50, prediction.gpu_bytes.p99) == (5000 * MIB, 6000 * MIB)
    assert any(line.startswith("gpu memory: 4.9 GiB, at most 5.9 GiB") for line in prediction.sentences())


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.sampled_from([0, 0, 0, 64, 4096])), min_size=1, max_size=40),
    st.sampled_from([128, 1024, 2**20]),
)
def test_no_reservation_leaves_its_bounds(attempts: list[tuple[int, int]], largest_mib: int) -> None:
    predictor = after(*(row("m.py::t", mib, killed_at=killed) for mib, killed in attempts), largest_mib=largest_mib)
    peaks = [mib for mib, _ in attempts]
    reserved = reserved_mib(predictor, "m.py::t")
    assert min(min(peaks) / 2, largest_mib) <= reserved <= largest_mib
    if not attempts[-1][1]:
        assert reserved <= max(2 * max(peaks), 1)


def test_peaks_are_sorted_anew_only_when_there_are_more_of_them() -> None:
    totals = Totals()
    totals.add_all([1.0] * 3, [30, 10, 20])
    assert totals.memory_quantile(2.0) == 40
    totals.peaks.reverse()  # nobody looks
    assert totals.memory_quantile(2.0) == 40
    assert totals.peaks == [30, 20, 10]
    totals.add(1.0, 40)
    assert totals.memory_quantile(2.0) == pytest.approx(50)
    assert totals.peaks == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("growth", "margin", "words"),
    [
        (1.0, 1.02, "the largest of its 8 attempts and 2%"),
        (1.04, 1.05, "the largest of its 8 attempts and 5%"),
        (1.08, 1.1, "the largest of its 8 attempts and 10%"),
        (1.3, 1.1, "the largest of its 8 attempts and 10%"),
    ],
)
def test_from_five_attempts_on_the_margin_is_the_one_that_would_have_cost_least(
    growth: float, margin: float, words: str
) -> None:
    def grown(count: int) -> list[Sample]:
        usages = [Usage(wall_s=1.0, peak_rss_bytes=int(5 * MIB * growth**number)) for number in range(count)]
        return [Sample(task_id="m.py::t", usage=usage, outcome=Outcome.PASSED) for usage in usages]

    for one_by_one in (False, True):
        for count in (1, 4, 8):
            rows = grown(count)
            predictor = after(*([] if one_by_one else rows))
            for each in rows if one_by_one else ():
                predictor.record_task_execution("m.py::t", each.usage, Outcome.PASSED)
            largest = rows[-1].usage.peak_rss_bytes / MIB
            expected = largest * (margin if count == 8 else 1.1)
            assert reserved_mib(predictor, "m.py::t") == pytest.approx(expected)
            said = {1: "that of its only attempt and 10%", 4: "the largest of its 4 attempts and 10%", 8: words}
            assert predictor.predict_distribution(task("m.py::t")).why.startswith(said[count])


def test_what_an_offer_would_have_cost() -> None:
    assert cost_of(150.0, 100.0, 0.5) == 50.0
    assert cost_of(100.0, 100.0, 0.5) == 0.0, "just enough"
    assert cost_of(99.0, 100.0, 0.5) == 250.0


def test_a_constant_is_tried_only_where_it_can_save_something() -> None:
    """Of one that needed far more once: 64 MiB are worth it, a little less are not."""
    for largest, constant in ((64, True), (63, False)):
        predictor = after(*(row("m.py::t", mib) for mib in (largest, *[4] * 20)))
        assert ("constant" in predictor.predict_distribution(task("m.py::t")).why) is constant
        assert reserved_mib(predictor, "m.py::t") == pytest.approx(4 * 1.02 if constant else largest * 1.02)
    recent = after(*(row("m.py::t", mib) for mib in (3000, *[200] * 30, *[250] * 21)))
    assert reserved_mib(recent, "m.py::t") == pytest.approx(255), "the newest twenty peaks count"


def test_the_surplus_is_what_97_in_100_of_the_newest_attempts_used_beyond_their_own_past() -> None:
    surplus = Surplus()
    for beyond in range(19):
        surplus.see(float(beyond))
        assert surplus.bytes == 0
    surplus.see(19.0)
    assert surplus.bytes == 19
    for beyond in range(100, 110):
        assert surplus.bytes == 19, "looked at again after ten"
        surplus.see(float(beyond))
    assert surplus.bytes == 109
    for _ in range(70):
        surplus.see(-5.0)
    assert surplus.bytes == 107, "the fourth of a hundred"
    for _ in range(100):
        surplus.see(-5.0)
    assert surplus.bytes == 0


def test_the_costs_are_those_of_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "predictions.md").read_text(encoding="utf-8")
    costs = CostSettings()
    assert f"| leaders that are averaged | {costs.leaders} |" in text
    assert f"| penalty of a failure, in what it used | {costs.failure_penalty} |" in text
    assert f"| the least that is reserved | {costs.least_bytes / MIB:g} MiB |" in text
    assert f"| decay of costs | {costs.decay} |" in text
    safe = "the largest" if SAFE.cautious else "the mean"
    assert f"| {SAFE.failure_penalty:g}, {SAFE.leaders}, {safe} |" in text
    assert not costs.cautious
    for name, wrong, least in (("leaders", 0, 1), ("decay", -0.1, 0), ("least_bytes", float("inf"), 0)):
        with pytest.raises(ConfigError) as caught:
            CostSettings(**{name: wrong})  # type: ignore[arg-type]
        assert str(caught.value) == f"{name}: {wrong!r} is not a number of at least {least}"
    CostSettings(failure_penalty=0.0, decay=0.0, leaders=1, least_bytes=0.0)
