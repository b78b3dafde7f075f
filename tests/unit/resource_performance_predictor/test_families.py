"""Memory by size: which expert leads, what bounds it, and how sizes are read from ids."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drm.resource_performance_predictor.boosting import Booster
from drm.resource_performance_predictor.costs import CostSettings, next_reservation
from drm.resource_performance_predictor.experts import SizedMemory
from drm.resource_performance_predictor.families import Family, Scaling, size_in

MIB = 2.0**20
LIMIT = 64 * 2.0**30


def learnt(pairs: list[tuple[float, float]], costs: CostSettings | None = None) -> Family:
    family = Family(costs)
    for size, peak in pairs:
        family.learn(size, peak, 1.0)
    return family


@pytest.mark.parametrize(
    ("task_id", "size"),
    [
        ("m.py::t[1000]", 1000.0),
        ("m.py::t[32-float64-1000]", 32000.0),
        ("m.py::t[2.5e3]", 2500.0),
        ("m.py::t[utf8]", None),
        ("m.py::t", None),
        ("m.py::t[0]", None),
        (f"m.py::t[{'9' * 400}]", None),
    ],
)
def test_the_size_is_the_product_of_the_numbers_among_the_parameters(task_id: str, size: float | None) -> None:
    assert size_in(task_id) == size


def test_memory_that_grows_with_size_is_foreseen_for_a_size_never_seen() -> None:
    sizes = random.Random(8).sample(range(100, 1000), 30)
    family = learnt([(size, 40 * MIB + size * MIB) for size in (*sizes, 999)])
    reserved, rule = family.predict(725.0, LIMIT)
    assert 765 * MIB <= reserved <= 820 * MIB, "a tenth above the largest would be 1,100 MiB"
    assert "linear" in rule


def test_memory_that_size_does_not_explain_is_not_explained_by_it() -> None:
    chance = random.Random(5)
    pairs = [(chance.uniform(1, 1000), 500 * MIB + chance.choice((0, 1)) * 300 * MIB) for _ in range(60)]
    family = learnt(pairs)
    assert 700 * MIB < family.predict(500.0, LIMIT)[0] < 960 * MIB
    assert not family.scaling().trusted
    assert family.scaling().factor(10, 1000) == 1.0


def test_the_scaling_factor_is_the_slope_of_the_logarithms() -> None:
    scaling = learnt([(n, MIB * n**0.5) for n in (1.0, 4.0, 9.0, 100.0, 16.0, 400.0)]).scaling()
    assert scaling.trusted
    assert scaling.exponent == pytest.approx(0.5)
    assert scaling.factor(1.0, 100.0) == pytest.approx(10.0)


def test_few_attempts_get_the_largest_and_a_tenth() -> None:
    family = learnt([(1.0, 100 * MIB), (2.0, 300 * MIB)])
    assert family.predict(1000.0, LIMIT)[0] == pytest.approx(330 * MIB)


def test_caution_reserves_no_less() -> None:
    chance = random.Random(3)
    pairs = [(chance.uniform(1, 100), chance.uniform(100, 900) * MIB) for _ in range(40)]
    bold, cautious = learnt(pairs), learnt(pairs, CostSettings(failure_penalty=4.0, cautious=True))
    assert cautious.predict(50.0, LIMIT)[0] >= bold.predict(50.0, LIMIT)[0]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e12), st.floats(1, 1e12)), min_size=1, max_size=30),
    st.floats(0, 1e15),
)
def test_no_prediction_leaves_its_bounds(pairs: list[tuple[float, float]], size: float) -> None:
    family = learnt(pairs)
    peaks = [peak for _, peak in pairs]
    reserved = family.predict(size, LIMIT)[0]
    least = CostSettings().least_bytes
    assert min(min(peaks) / 2, LIMIT) * 0.999 <= reserved <= max(min(2 * max(peaks), LIMIT), least) * 1.001


def test_only_the_newest_are_kept() -> None:
    memory = SizedMemory()
    for number in range(300):
        memory.learn(float(number), 100 * MIB + number, 1.0, LIMIT)
    assert len(memory._x) == 256
    assert memory.samples == 300


def test_a_kill_for_memory_is_followed_by_twice_as_much_then_by_all_there_is() -> None:
    assert next_reservation(100.0, 300.0, 1, 1000.0) == pytest.approx(315.0)
    assert next_reservation(200.0, 300.0, 1, 1000.0) == 400.0
    assert next_reservation(900.0, 300.0, 1, 1000.0) == 1000.0
    assert next_reservation(400.0, 300.0, 2, 1000.0) == 1000.0


def test_lightgbm_is_one_more_expert_where_it_is_installed() -> None:
    pytest.importorskip("lightgbm")
    chance = random.Random(6)
    family = Family()
    for _ in range(60):  # steps, which no line follows
        size = chance.uniform(0, 100)
        family.learn(size, (100 + 400 * (size > 50)) * chance.uniform(0.95, 1.05) * MIB, 1.0)
    booster = family.catch_up(LIMIT)._booster
    assert booster is not None
    assert not booster.leads, "three neighbours know as much of steps"

    def cost(offers: list[float]) -> Any:
        return [abs(offer - 525 * MIB) for offer in offers]

    for _ in range(60):
        booster.judge(80.0, 600 * MIB, cost)
    assert booster.leads
    assert booster.offer(80.0) == pytest.approx(525 * MIB, rel=0.05)
    for _ in range(60):
        booster.judge(80.0, 3000 * MIB, lambda offers: [abs(offer - 3000 * MIB) for offer in offers])
    assert not booster.leads, "the others have been better of late"
    assert booster.offer(80.0) == math.inf


def test_lightgbm_is_followed_only_while_it_has_cost_less_than_the_others() -> None:
    pytest.importorskip("lightgbm")
    chance = random.Random(3)
    sizes = [chance.uniform(10, 100) for _ in range(80)]
    pairs = [(size, (20 + size) * MIB) for size in sizes]  # a line, which the others know to the byte
    boosted, plain = (learnt(pairs, CostSettings(boosted=yes)) for yes in (True, False))
    assert boosted.predict(55.0, LIMIT) == plain.predict(55.0, LIMIT)
    assert "LightGBM" not in boosted.predict(55.0, LIMIT)[1]


def test_without_lightgbm_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    pairs = [(float(n), (100 + n) * MIB) for n in range(1, 60)]
    assert "LightGBM" not in learnt(pairs).predict(30.0, LIMIT)[1]


@pytest.mark.parametrize(
    ("parameters", "size"),
    [("0.5", 0.5), ("1", 1.0), ("-3", 3.0), ("1e17-9", 9e17), ("1e17-10", None), ("1" + "0" * 9, 1e9)],
)
def test_sizes_have_bounds(parameters: str, size: float | None) -> None:
    assert size_in(f"m.py::t[{parameters}]") == size
    assert size_in(f"m.py::t[{'x' * 198}-2]") is None, "so long a parameter is text"
    assert size_in(f"m.py::t[{'x' * 197}-2]") == 2.0


def test_a_slope_is_trusted_from_five_attempts_that_it_explains() -> None:
    pairs = [(1.0, 10.0), (2.0, 20.0), (4.0, 40.0), (8.0, 80.0), (16.0, 160.0)]
    assert learnt(pairs).scaling() == Scaling(exponent=pytest.approx(1.0), samples=5, trusted=True)
    assert not learnt(pairs[:4]).scaling().trusted
    assert learnt([]).scaling() == Scaling(exponent=0.0, samples=0, trusted=False)
    same = learnt([(4.0, 100.0)] * 6).scaling()
    assert (same.exponent, same.trusted) == (0.0, False)
    assert learnt([*pairs, (32.0, 0.0)]).scaling().samples == 5, "what was not measured says nothing"
    third = [(0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.6), (4.0, 1.3)]  # which the median of two foresees better
    assert not learnt([(math.exp(size), math.exp(peak)) for size, peak in third]).scaling().trusted
    trusted = Scaling(exponent=2.0, samples=9, trusted=True)
    assert (trusted.factor(2, 6), trusted.factor(0, 6), trusted.factor(2, 0)) == (9.0, 1.0, 1.0)
    assert (trusted.factor(0.5, 0.25), trusted.factor(1, 1)) == (0.25, 1.0)


def test_before_five_attempts_nobody_gets_less_than_the_least_or_more_than_there_is() -> None:
    assert Family().predict(5.0, LIMIT) == (32 * MIB, "the largest seen, and a tenth")
    assert Family().expect(5.0, LIMIT) == 0.0
    assert learnt([(1.0, MIB)]).predict(5.0, LIMIT)[0] == 32 * MIB
    assert learnt([(1.0, 100 * MIB)]).predict(5.0, 105 * MIB)[0] == 105 * MIB
    assert learnt([(1.0, 100 * MIB)] * 5).predict(1.0, LIMIT)[0] < 110 * MIB


def test_lightgbm_is_trained_at_thirty_attempts_and_when_a_third_more_are_known() -> None:
    pytest.importorskip("lightgbm")
    booster = Booster(0.5)

    def model(count: int) -> Any:
        sizes = np.arange(1.0, count + 1)
        booster.learn(sizes, sizes * MIB)
        return booster._model

    assert model(29) is None
    booster.learn(np.ones(30), np.ones(30) * MIB)
    assert booster._model is None, "all of one size"
    first = model(30)
    assert first is not None
    assert model(38) is first
    assert model(39) is not first


def test_lightgbm_bids_its_quantile_times_the_factor_that_has_cost_least_of_late() -> None:
    pytest.importorskip("lightgbm")
    booster = Booster(0.5)
    booster.judge(5.0, 1.0, lambda offers: pytest.fail("there is no model"))
    sizes = np.arange(1.0, 41.0)
    booster.learn(sizes, 100 * MIB + sizes * MIB)
    guess = booster._guess(20.0)
    assert 110 * MIB < guess < 141 * MIB

    def prefer(factor: float) -> Any:
        return lambda offers: [abs(offer - factor * guess) for offer in offers]

    for count in range(1, 11):
        booster.judge(20.0, 3 * guess, prefer(1.2))
        assert booster.leads is (count == 10), "it is followed from ten guesses on"
    assert booster.offer(20.0) == 1.2 * guess
    for factor in (0.9, 1.0, 1.05, 1.1, 1.2, 1.35, 1.5):
        for _ in range(8):
            booster.judge(20.0, 9 * guess, prefer(factor))
        assert booster.offer(20.0) == factor * guess
