"""What tests need, where the numbers come from, and how they fit workers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.ci_commands.analysis_text import analysis_lines
from drm.ci_commands.analyze import _as_json
from drm.cicd_integration.analysis import Need, needs_of, totals_by_stage
from drm.cicd_integration.discovery import FoundTest
from drm.cicd_integration.fitting import fit_on, recommended
from drm.cicd_integration.hints import HINTS, hints_of
from drm.model.cluster import WorkerType
from drm.model.markers import requirements_of
from drm.model.resources import Resources
from drm.model.samples import Sample
from drm.model.work import Outcome, Usage

GOLDEN = Path(__file__).parents[2] / "golden"
MIB, GIB = 2**20, 2**30


def found(
    name: str = "test_a",
    *,
    file: str = "test_x.py",
    stage: str = "unit",
    fixtures: tuple[str, ...] = (),
    marks: tuple[str, ...] = (),
    defaults: dict[str, Any] | None = None,
    **asked: Any,
) -> FoundTest:
    needs = requirements_of([((), asked)] if asked else [], defaults or {}, where=name, counted={"license": 2})
    return FoundTest(
        task_id=f"{file}::{name}",
        file=file,
        path=f"/p/{file}",
        stage=stage,
        fixtures=fixtures,
        marks=marks,
        requirements=needs,
    )


def attempts(task_id: str, *usages: tuple[float, int]) -> dict[str, list[Sample]]:
    return {
        task_id: [
            Sample(
                task_id=task_id,
                usage=Usage(wall_s=wall_s, cpu_s=wall_s, peak_rss_bytes=peak),
                outcome=Outcome.PASSED,
            )
            for wall_s, peak in usages
        ]
    }


def need(test: FoundTest, samples: dict[str, list[Sample]] | None = None, *libraries: str) -> Need:
    return needs_of([test], samples or {}, {test.path: set(libraries)})[0]


def kind(
    name: str = "std", *, cpu: float = 2, memory: int = GIB, gpu: float = 0, usd: float = 0, labels: str = ""
) -> Any:
    return WorkerType(
        name=name,
        capacity=Resources(cpu_cores=cpu, memory_bytes=memory, gpus=gpu),
        labels=frozenset(labels.split()),
        usd_per_hour=usd,
    )


def test_without_anything_known_all_are_defaults() -> None:
    row = need(found())
    assert {row.cpu_cores.source, row.memory_bytes.source, row.gpus.source, row.wall_s.source} == {"default"}
    assert (row.cpu_cores.value, row.memory_bytes.value, row.gpus.value, row.wall_s.value) == (1, 256 * MIB, 0, 0.1)
    assert row.wall_s.because == "nothing is known"


def test_a_mark_wins_over_history_hints_and_configuration() -> None:
    test = found(memory="1GiB", cpu=2, gpu=1, fixtures=("browser",), defaults={"memory": 5, "cpu": 9})
    row = need(test, attempts(test.task_id, (1, 4 * GIB)), "pyspark")
    assert (row.memory_bytes.value, row.memory_bytes.source, row.memory_bytes.because) == (
        GIB,
        "marker",
        "@pytest.mark.drm",
    )
    assert (row.cpu_cores.value, row.cpu_cores.source) == (2, "marker")
    assert (row.gpus.value, row.gpus.source) == (1, "marker")
    assert row.asks_for(row.memory_bytes)


def test_the_configuration_is_named() -> None:
    row = need(found(defaults={"memory": GIB, "cpu": 0.5}))
    assert (row.memory_bytes.source, row.memory_bytes.because) == ("configuration", "the [drm] section")
    assert (row.cpu_cores.value, row.cpu_cores.source) == (0.5, "configuration")


def test_history_says_of_how_many_attempts_which_quantile() -> None:
    test = found()
    row = need(test, attempts(test.task_id, (1, 100 * MIB), (9, 80 * MIB), (2, 90 * MIB)), "torch")
    assert (row.wall_s.value, row.wall_s.source, row.wall_s.because) == (2, "history", "median of its last 3")
    assert row.memory_bytes.value == 112 * MIB  # 110 on the planner's grid
    assert row.memory_bytes.because == "largest of its last 3, and a tenth more"
    assert need(test, attempts(test.task_id, (1, MIB))).wall_s.because == "its only attempt"


def test_siblings_come_before_hints_and_hints_before_the_run() -> None:
    test, sibling, stranger = found(), found("test_b"), found("test_c", file="test_y.py")
    assert need(test, attempts(sibling.task_id, (1, MIB)), "torch").memory_bytes.source == "siblings"
    row = need(test, attempts(stranger.task_id, (1, MIB)), "torch")
    assert (row.memory_bytes.value, row.memory_bytes.source) == (GIB, "import")
    assert row.memory_bytes.because == "it imports torch: tensors, and on a gpu a CUDA context"
    assert row.wall_s.source == "run"
    assert need(test, attempts(stranger.task_id, (1, MIB))).memory_bytes.source == "run"


@pytest.mark.parametrize(
    ("test", "libraries", "memory_bytes", "gpus", "source"),
    [
        (found(fixtures=("browser", "tmp_path")), (), GIB, 0, "fixture"),
        (found(fixtures=("spark",)), ("selenium",), 2 * GIB, 0, "fixture"),
        (found(), ("selenium",), GIB, 0, "import"),
        (found(), ("cupy",), GIB, 1, "import"),
        (found(marks=("gpu", "slow")), (), 256 * MIB, 1, "default"),
        (found(), ("os", "numpy"), 256 * MIB, 0, "default"),
    ],
)
def test_hints(test: FoundTest, libraries: tuple[str, ...], memory_bytes: int, gpus: float, source: str) -> None:
    row = need(test, None, *libraries)
    assert (row.memory_bytes.value, row.gpus.value, row.memory_bytes.source) == (memory_bytes, gpus, source)
    assert row.task.requirements.amounts == Resources(cpu_cores=1, memory_bytes=memory_bytes, gpus=gpus)


def test_every_hint_gives_something_and_says_why() -> None:
    for hint in HINTS:
        assert hint.memory_bytes or hint.gpus
        assert hint.because
        assert hint.kind in ("import", "fixture", "other_mark")
        for name in hint.names:
            row: dict[str, Sequence[str]] = {"import": (), "fixture": (), "other_mark": ()} | {hint.kind: (name,)}
            assert hints_of(row["fixture"], row["other_mark"], row["import"]) == ((hint, name),)


def test_totals_are_by_stage_in_the_order_of_the_table() -> None:
    tests = [found("t1", stage="other"), found("t2"), found("t3", gpu=1, cpu=4), found("t4", stage="e2e")]
    samples = attempts(tests[1].task_id, (3, 512 * MIB))
    rows = totals_by_stage(needs_of(tests, samples, {}))
    assert [(row.stage, row.tests, row.gpu_tests, row.measured) for row in rows] == [
        ("unit", 2, 1, 2),
        ("e2e", 1, 0, 1),  # of the same module
        ("other", 1, 0, 1),
    ]
    assert (rows[0].wall_s, rows[0].longest_s, rows[0].cpu_core_s) == (6, 3, 15)


def test_what_is_asked_for_does_not_fit_and_what_is_predicted_may_not() -> None:
    asks, seems, hinted, labelled = (
        found("asks", memory="4GiB", file="a.py"),
        found("seems", file="b.py"),
        found("hinted", marks=("gpu",), file="c.py"),
        found("labelled", labels=["ssd"], file="d.py"),
    )
    samples = attempts(seems.task_id, (2, 3 * GIB))
    fit = fit_on(needs_of([asks, seems, hinted, labelled], samples, {}), [(kind(), 1)], {})
    rows = {row.task_id: (row.is_certain, row.lacks, row.reason) for row in fit.misfits}
    assert rows == {
        "a.py::asks": (True, ("memory",), "needs 4 GiB of memory; the largest worker has 1 GiB"),
        "b.py::seems": (False, ("memory",), "needs 3.5 GiB of memory; the largest worker has 1 GiB"),
        "c.py::hinted": (False, ("memory", "gpu"), rows["c.py::hinted"][2]),
        "d.py::labelled": (True, ("labels",), "needs the label ssd; no worker carries it"),
    }
    assert fit.placed == 2


def test_makespan_and_cost() -> None:
    tests = [found(f"t{n}", memory="1MiB") for n in range(8)]
    samples = {key: rows for test in tests for key, rows in attempts(test.task_id, (900, MIB)).items()}
    fit = fit_on(needs_of(tests, samples, {}), [(kind(cpu=2, usd=0.4), 2)], {})
    assert (fit.makespan_s, fit.lower_bound_s, fit.placed) == (1800, 1800, 8)
    assert fit.usd == pytest.approx(2 * 0.4 * 0.5)


def test_counted_resources_hold_in_the_plan() -> None:
    tests = [found(f"t{n}", memory="1MiB", resources={"license": 2}) for n in range(4)]
    samples = {key: rows for test in tests for key, rows in attempts(test.task_id, (10, MIB)).items()}
    assert fit_on(needs_of(tests, samples, {}), [(kind(cpu=4), 1)], {"license": 2}).makespan_s == 40


def test_the_optimizer_recommends_a_mix() -> None:
    others = [found(f"b{number}", memory="1MiB") for number in range(40)]
    needs = needs_of([found("a", gpu=1, memory="1MiB"), *others], {}, {})
    types = [kind("plain", usd=0.1), kind("gpu", gpu=1, usd=1)]
    assert {(row.name, count) for row, count in recommended(needs, types, {}, maximum=2)} == {("plain", 1), ("gpu", 1)}


@given(
    st.lists(
        st.tuples(st.sampled_from([None, "64MiB", "2GiB"]), st.sampled_from([0, 1, 5]), st.sampled_from([None, "ssd"])),
        max_size=12,
    ),
    st.integers(1, 3),
)
def test_every_test_is_placed_or_certainly_does_not_fit(
    asked: list[tuple[str | None, int, str | None]], count: int
) -> None:
    tests = [
        found(f"t{n}", cpu=max(1, cpu), memory=memory, labels=[label] if label else [])
        for n, (memory, cpu, label) in enumerate(asked)
    ]
    fit = fit_on(needs_of(tests, {}, {}), [(kind(cpu=2, labels="ssd"), count)], {})
    assert fit.placed + sum(row.is_certain for row in fit.misfits) == len(tests)
    assert fit.makespan_s >= fit.lower_bound_s - 1e-9


def example() -> tuple[tuple[Need, ...], list[Any]]:
    tests = [
        found("test_join", file="tests/unit/a/test_join.py", memory="2GiB", cpu=2, lock="db"),
        found("test_quick", file="tests/unit/a/test_join.py"),
        found("test_new", file="tests/unit/a/test_join.py"),
        found("test_page", file="tests/e2e/test_page.py", stage="e2e", fixtures=("browser",)),
        found("test_kernel", file="tests/e2e/test_gpu.py", stage="e2e", gpu=1, labels=["cuda"]),
        found("bad\n\x1b[2J]]>" + "x" * 1_000_000, file="tests/e2e/test_\x9b31m.py", stage="e2e", memory="64GiB"),
    ]
    samples = {
        **attempts(tests[0].task_id, (61, MIB), (65, MIB), (70, MIB)),
        **attempts(tests[1].task_id, (0.012, 3 * MIB)),
    }
    needs = needs_of(tests, samples, {})
    types = [kind("small", usd=0.04), kind("large", cpu=8, memory=96 * GIB, gpu=1, usd=1.2, labels="cuda ssd")]
    fits = [fit_on(needs, [(row, 1)], {}) for row in types]
    return needs, [*fits, fit_on(needs, recommended(needs, types, {}, maximum=2), {})]


def test_the_text_is_as_it_was() -> None:
    needs, fits = example()
    text = "\n".join(analysis_lines(needs, totals_by_stage(needs), fits, most=3)) + "\n"
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert text == (GOLDEN / "ci_analysis.txt").read_text(encoding="utf-8")


def test_all_tests_are_shown_when_asked_for() -> None:
    needs, fits = example()
    lines = analysis_lines(needs, totals_by_stage(needs), fits, most=None)
    assert sum("tests/" in line and "(" in line for line in lines[lines.index("every test") :][:7]) == len(needs)


def test_the_json_is_as_it_was() -> None:
    needs, fits = example()
    needs = tuple(
        dataclasses.replace(row, test=dataclasses.replace(row.test, task_id=row.test.task_id[:60])) for row in needs
    )
    fits = [fit_on(needs, fit.workers, {}) for fit in fits]
    data = _as_json("/p", needs, totals_by_stage(needs), fits)
    assert json.loads(json.dumps(data)) == json.loads((GOLDEN / "ci_analysis.json").read_text(encoding="utf-8"))


def test_no_tests_are_said() -> None:
    assert analysis_lines((), (), [], most=5) == ["no tests"]
