"""Slower, faster, unchanged or inconclusive: found where something changed, silent where nothing did."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.bench_commands.changed import Function, functions_at, parse_hunks
from drm.bench_commands.compare import lines_of
from drm.bench_commands.verdicts import Comparison, Verdict, compare_all, confirm, judge, suspects


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.0] * 7, Verdict.UNCHANGED),
        ([1.04] * 7, Verdict.UNCHANGED),
        ([1.06] * 7, Verdict.SLOWER),
        ([1.3, 1.31, 1.29, 1.3, 1.33, 1.28, 1.3], Verdict.SLOWER),
        ([0.9] * 7, Verdict.FASTER),
        ([1.2, 1.0, 0.9, 1.2, 1.0, 1.3, 0.95], Verdict.INCONCLUSIVE),
        ([1.10, 1.10, 1.10, 1.10, 1.01, 1.01, 1.01], Verdict.INCONCLUSIVE),
    ],
)
def test_the_verdict_follows_the_rules(ratios: list[float], verdict: Verdict) -> None:
    assert judge(ratios)[0] is verdict


def test_more_noise_hides_more_and_is_said() -> None:
    quiet, noisy = judge([1.0, 1.001, 0.999] * 3)[1], judge([1.0, 1.2, 0.85] * 3)[1]
    assert quiet.detectable == pytest.approx(0.05)
    assert noisy.detectable > 0.1


def runs(chance: Random, slowdown: float, *, pairs: int = 7) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Pairs of runs on a noisy machine: the least of a few rounds, each with a delay that only adds, on top of
    spells that fall on both."""

    def least(seconds: float, spell: float) -> float:
        return min(seconds * spell * (1 + abs(chance.gauss(0.0, 0.1))) for _ in range(15))

    spells = [1 + abs(chance.gauss(0.0, 0.15)) for _ in range(pairs)]
    drift = [math.exp(chance.gauss(0.0, 0.02)) for _ in range(pairs)]
    return [
        ({"x": least(1.0, spell)}, {"x": least(1.0 + slowdown, spell * wobble)})
        for spell, wobble in zip(spells, drift, strict=True)
    ]


def found(chance: Random, slowdown: float) -> bool:
    rows = compare_all(runs(chance, slowdown))
    return bool(suspects(confirm(rows, compare_all(runs(chance, slowdown))))) if suspects(rows) else False


def test_no_false_alarm_in_many_and_a_third_more_is_found() -> None:
    chance = Random(1)
    assert sum(found(chance, 0.0) for _ in range(80)) == 0
    assert sum(found(chance, 0.3) for _ in range(40)) >= 39
    assert sum(found(chance, 0.15) for _ in range(40)) >= 31


@given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=15), st.randoms())
def test_the_order_of_pairs_does_not_matter_to_the_median(ratios: list[float], chance: Random) -> None:
    shuffled = ratios.copy()
    chance.shuffle(shuffled)
    first, second = judge(ratios)[1], judge(shuffled)[1]
    assert first.median == second.median
    assert first.lower <= first.median <= first.upper
    assert first.detectable >= 0.05


def test_what_only_one_version_has_is_not_compared() -> None:
    pairs = [({"a": 1.0, "old": 1.0, "nil": 0.0}, {"a": 1.0, "new": 1.0, "nil": 0.0})] * 3
    rows = {row.name: (row.verdict, row.why) for row in compare_all(pairs)}
    assert rows["a"][0] is Verdict.UNCHANGED
    assert rows["new"] == (Verdict.NOT_COMPARED, "only head has it")
    assert rows["old"] == (Verdict.NOT_COMPARED, "only base has it")
    assert "no time" in rows["nil"][1]


def test_a_suspicion_that_is_not_confirmed_is_none() -> None:
    slow, same = [({"x": 1.0}, {"x": 1.3})] * 7, [({"x": 1.0}, {"x": 1.01})] * 7
    first = compare_all(slow)
    assert suspects(first) == ["x"]
    (kept,) = confirm(first, compare_all(slow))
    assert kept.verdict is Verdict.SLOWER
    (dropped,) = confirm(first, compare_all(same))
    assert (dropped.verdict, dropped.why) == (Verdict.INCONCLUSIVE, "a second comparison found +1.0%")
    (missing,) = confirm(first, [])
    assert missing.verdict is Verdict.INCONCLUSIVE


def test_the_lines_name_what_is_slower_and_what_could_have_been_found() -> None:
    verdict, ratios = judge([1.3] * 7)
    rows = [
        Comparison(name="b.py::x", verdict=verdict, ratios=ratios, base_s=1e-3, head_s=1.3e-3),
        Comparison(name="b.py::y", verdict=Verdict.NOT_COMPARED, why="only head has it"),
    ]
    text = "\n".join(lines_of(rows, {"b.py::x": ["app.py: work"]}, names=("main", "working tree")))
    assert "b.py::x is 30% slower; changed of what it calls: app.py: work" in text
    assert "+30.0%  +30.0% to +30.0%" in text
    assert "working tree against main: 1 slower, 1 not compared" in text
    assert "a slowdown of 5% would have been found" in text
    assert "nothing that it calls" in "\n".join(lines_of(rows, {}, names=("a", "b")))


DIFF = """\
diff --git a/app/a.py b/app/a.py
--- a/app/a.py
+++ b/app/a.py
@@ -2 +2 @@ def f():
-    return 1
+    return 2
@@ -9,2 +8,0 @@ class C:
-    x = 1
diff --git a/gone.py b/gone.py
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-x
"""
SOURCE = """\
def f():
    return 2

class C:
    @staticmethod
    def g():
        y = 1
        return y
    def h(self):
        def inner():
            return 3
        return inner
"""


def test_changed_lines_are_found_in_their_innermost_functions() -> None:
    assert parse_hunks(DIFF) == {"app/a.py": {2, 8, 9}}
    names = [each.name for each in functions_at("app/a.py", SOURCE, {2, 8, 9})]
    assert names == ["f", "C.g", "C.h"]
    (inner,) = functions_at("app/a.py", SOURCE, {11})
    assert (inner.name, inner.line) == ("C.h.inner", 10)


def test_a_function_is_known_by_place_line_and_name() -> None:
    function = Function(file="src/app/a.py", name="C.g", line=5)
    assert function.is_called(["app/a.py:5(g)"])
    assert not function.is_called(["app/a.py:6(g)", "other/a.py:5(g)", "app/a.py:5(h)"])
