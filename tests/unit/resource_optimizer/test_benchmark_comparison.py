"""Verdicts of the performance stage: found when slower, silent when not; across machines only what is far slower."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    """``benchmarks/compare.py``, by its path: it is no part of the distribution."""
    path = Path(__file__).parents[3] / "benchmarks" / "compare.py"
    spec = importlib.util.spec_from_file_location("benchmarks_compare", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def measurement(compare: ModuleType, min_s: float, name: str = "test_x"):  # type: ignore[no-untyped-def]
    return compare.Measurement(
        name=name,
        component="resource_optimizer",
        min_s=min_s,
        median_s=min_s * 1.1,
        mean_s=min_s * 1.2,
        stddev_s=0.0,
        rounds=15,
        extra={"tasks": 100},
    )


def runs(**past: Sequence[float]) -> list[dict[str, float]]:
    """Return past runs from the times per benchmark."""
    longest = max(map(len, past.values()), default=0)
    return [{name: times[at] for name, times in past.items() if at < len(times)} for at in range(longest)]


def test_a_change_comes_with_its_noise_once_enough_runs_are_stored(compare: ModuleType) -> None:
    past = [1.0, 1.1, 0.9, 1.05, 0.95]
    (few,) = compare.compare([measurement(compare, 1.2)], runs(test_x=past[:4]))
    assert (few.low, few.high, few.past_s) == (None, None, tuple(past[:4]))
    (compared,) = compare.compare([measurement(compare, 1.2)], runs(test_x=past))
    assert compared.past_s == tuple(past)
    assert compared.low < compared.change < compared.high
    spread = 1.4826 * 0.05
    assert compared.high - compared.low == pytest.approx(2 * 1.96 * spread * (1 + 3.14159 / 10) ** 0.5, rel=1e-4)
    (steady,) = compare.compare([measurement(compare, 1.2)], runs(test_x=[1.0] * 9))
    assert (steady.low, steady.high) == (steady.change, steady.change)


@pytest.mark.parametrize(
    ("past", "now", "verdict"),
    [
        ([], 1.0, "no baseline for this machine"),
        ([1.0], 1.29, "unchanged"),
        ([1.0], 1.31, "regressed"),
        ([1.0], 0.69, "improved"),
        ([1.0, 1.01, 0.99, 1.0, 1.0], 1.07, "unchanged"),
        ([1.0, 1.01, 0.99, 1.0, 1.0], 1.09, "regressed"),
        ([1.0, 1.1, 0.9, 1.05, 0.95], 1.25, "unchanged"),
        ([1.0, 1.1, 0.9, 1.05, 0.95], 1.35, "regressed"),
    ],
)
def test_the_verdict_knows_the_noise_of_the_machine(
    compare: ModuleType, past: list[float], now: float, verdict: str
) -> None:
    (compared,) = compare.compare([measurement(compare, now)], runs(test_x=past))
    assert compared.verdict == verdict
    assert verdict in compared.describe()
    assert "test_x" in compared.describe()


def test_a_quick_run_is_judged_less_strictly(compare: ModuleType) -> None:
    (compared,) = compare.compare([measurement(compare, 1.25)], runs(test_x=[1.0] * 9), quick=True)
    assert compared.verdict == "unchanged"


def test_what_all_are_slower_by_is_the_machine_s(compare: ModuleType) -> None:
    names = [f"test_{number}" for number in range(24)]
    past = [dict.fromkeys(names, value) for value in (1.0, 1.01, 0.99, 1.0, 1.0)]
    measured = [measurement(compare, 1.2, name) for name in names]
    measured[3] = measurement(compare, 1.4, "test_3")
    compared = compare.compare(measured, past)
    assert [each.name for each in compared if each.verdict == "regressed"] == ["test_3"]
    assert compare.describe_all(compared, compare.slowed_together(measured, past)) == (
        "24 of 24 benchmarks compared (half of them by +20% or more: the machine is), 1 slower: test_3 (+40%)"
    )
    few = compare.compare(measured[:11], past)
    assert {each.verdict for each in few} == {"regressed"}, "of a few it may well be the code"
    faster = compare.compare([measurement(compare, 0.7, name) for name in names], past)
    assert {each.verdict for each in faster} == {"improved"}


def test_runs_on_a_faster_or_slower_day_add_no_noise(compare: ModuleType) -> None:
    names = [f"test_{number}" for number in range(24)]
    days = [1.0, 1.4, 0.8, 1.3, 1.1]
    past = [dict.fromkeys(names, day) for day in days]
    measured = [measurement(compare, 1.4, name) for name in names]
    measured[3] = measurement(compare, 1.4 * 1.15, "test_3")
    compared = compare.compare(measured, past)
    assert [each.name for each in compared if each.verdict == "regressed"] == ["test_3"]
    assert set(compared[0].past_s) == {1.1}, "as long as on a usual day"
    (alone,) = compare.compare([measured[3]], past)
    assert alone.verdict == "unchanged", "one benchmark does not tell the day"
    assert alone.past_s == tuple(days)


def test_what_is_stored_is_what_is_loaded_and_thirty_runs_are_kept(compare: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "baselines" / "m.json"
    facts = {"cpu": "A CPU @ 2GHz", "cores": 2, "python": "CPython 3.11"}
    assert compare.load_baseline(path) == []
    for number in range(1, 36):
        compare.store_baseline(path, facts, compare.load_baseline(path), [measurement(compare, float(number))])
    compare.store_baseline(path, facts, compare.load_baseline(path), [measurement(compare, 1.0, "test_other")])
    loaded = compare.load_baseline(path)
    assert loaded == [*({"test_x": float(number)} for number in range(6, 36)), {"test_other": 1.0}]
    assert [file.name for file in path.parent.iterdir()] == ["m.json"]


def test_another_format_is_an_error_and_not_a_baseline(compare: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"schema_version": 99}')
    with pytest.raises(ValueError, match="99"):
        compare.load_baseline(tmp_path / "m.json")


def test_the_machine_is_a_file_name(compare: ModuleType) -> None:
    facts = {"cpu": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores": 4, "python": "CPython 3.12.1", "numpy": "2.0"}
    name = compare.fingerprint(facts)
    assert name.startswith("intel-r-xeon-r-cpu-2.20ghz-4cores-cpython-3.12.1-")
    assert name != compare.fingerprint({**facts, "numpy": "2.1"}), "every fact counts, shown or not"
    mine = compare.machine()
    assert mine["cores"] >= 1
    assert set(mine) == {"cpu", "cores", "quota", "python", "build", "numpy"}
    assert compare.fingerprint(mine) == compare.fingerprint(compare.machine())


def test_the_change_is_told_in_deviations_too(compare: ModuleType) -> None:
    past = runs(test_x=[1.0, 1.1, 0.9, 1.05, 0.95], test_y=[1.0] * 5)
    noisy, steady = compare.compare([measurement(compare, 1.2), measurement(compare, 1.2, "test_y")], past)
    assert noisy.z == pytest.approx(0.2 / (1.4826 * 0.05))
    assert steady.z is None


def test_the_report_holds_one_flat_row_per_benchmark(compare: ModuleType) -> None:
    measured = [measurement(compare, 2.0)]
    facts = {"cpu": "x", "cores": 1, "python": "CPython 3.11"}
    data = compare.report(measured, compare.compare(measured, runs(test_x=[1.0])), facts, quick=True)
    (row,) = json.loads(json.dumps(data))["benchmarks"]
    assert (row["name"], row["min_s"], row["median_s"], row["rounds"]) == ("test_x", 2.0, 2.2, 15)
    assert (row["baseline_s"], row["change"], row["verdict"]) == (1.0, 1.0, "regressed")
    assert row["extra"] == {"tasks": 100}


def test_another_machine_s_times_tell_what_is_far_slower_than_the_others(compare: ModuleType) -> None:
    names = [f"test_{number}" for number in range(24)]
    past = [{name: value * (number + 1) for number, name in enumerate(names)} for value in (1.0, 1.02, 0.98)]
    measured = [measurement(compare, 0.4 * (number + 1), name) for number, name in enumerate(names)]
    measured[3] = measurement(compare, 0.4 * 4 * 2.6, "test_3")
    measured[4] = measurement(compare, 0.4 * 5 * 2.4, "test_4")
    measured[5] = measurement(compare, 0.4 * 6 * 0.2, "test_5")
    compared = compare.compare([*measured, measurement(compare, 1.0, "test_new")], past, stored_on="a-xeon")
    assert [each.name for each in compared if each.verdict == "regressed"] == ["test_3"]
    assert [each.name for each in compared if each.is_gross] == ["test_3"]
    assert {each.verdict for each in compared[:3] + compared[4:24]} == {"unchanged"}, "nothing finer is told"
    assert compared[24].verdict == "no baseline for this machine"
    assert compared[0].baseline_s == pytest.approx(0.4)
    assert compare.describe_all(compared) == (
        "24 of 25 benchmarks compared with a-xeon, each relative to the others, 1 slower: test_3 (+160%)"
    )
    few = compare.compare(measured[:19], past, stored_on="a-xeon")
    assert {each.verdict for each in few} == {"no baseline for this machine"}, "of a few the others do not tell"


def test_what_is_far_slower_is_so_on_its_own_machine_too(compare: ModuleType) -> None:
    past = runs(test_x=[1.0] * 9, test_y=[1.0] * 9)
    compared = compare.compare([measurement(compare, 2.4), measurement(compare, 2.6, "test_y")], past)
    assert [(each.verdict, each.is_gross) for each in compared] == [("regressed", False), ("regressed", True)]


def test_the_nearest_baseline_has_most_of_the_benchmarks(compare: ModuleType, tmp_path: Path) -> None:
    assert compare.nearest(tmp_path, "own", ["test_x"]) == "own"
    facts = {"cpu": "x"}
    compare.store_baseline(tmp_path / "a.json", facts, [], [measurement(compare, 1.0)])
    both = [measurement(compare, 1.0), measurement(compare, 1.0, "test_y")]
    compare.store_baseline(tmp_path / "b.json", facts, [], both)
    (tmp_path / "c.json").write_text("{")
    assert compare.nearest(tmp_path, "own", ["test_x", "test_y"]) == "b"
    assert compare.nearest(tmp_path, "own", ["test_other"]) == "own"
    compare.store_baseline(tmp_path / "own.json", facts, [], [])
    assert compare.nearest(tmp_path, "own", ["test_x", "test_y"]) == "own"


@pytest.mark.parametrize("stage", ["reports/performance-resource_optimizer", ""])
def test_figures_go_to_the_folder_of_the_stage(
    compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """And nowhere where there is none: what the stage has left may be of all benchmarks."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    monkeypatch.setenv("DRM_STAGE_FOLDER", str(tmp_path / stage) if stage else "")
    write = importlib.import_module("benchmarks.conftest")._write
    config = SimpleNamespace(rootpath=tmp_path, getoption=lambda _: False)
    measured = [measurement(compare, 1.0)]
    facts = {"cpu": "x", "cores": 1, "python": "CPython 3.11"}
    lines = write(config, facts, [], measured, compare.compare(measured, []))
    written = [f"{stage}/benchmark.json"] if stage else []
    assert lines == [f"figures: {path}" for path in written]
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")] == written


@pytest.mark.parametrize(
    ("now", "asked", "status", "said"),
    [
        (1.3, True, 1, "1 of 2 benchmarks compared, 1 slower: test_x (+30%)"),
        (1.3, False, 0, "1 of 2 benchmarks compared, 1 slower: test_x (+30%)"),
        (1.05, True, 0, "1 of 2 benchmarks compared, 0 slower"),
        (2.6, False, 1, "far slower, whatever the machine: test_x"),
    ],
)
def test_a_slower_benchmark_fails_where_that_is_asked_for(
    compare: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    now: float,
    asked: bool,
    status: int,
    said: str,
) -> None:
    lines, exit_status = finished(compare, tmp_path, monkeypatch, now, asked=asked, stored_for=compare.machine())
    assert exit_status == status
    assert lines[-1] == said
    assert lines[0].endswith("; tasks 100"), "the figures are printed too"
    assert lines[1].startswith("test_new: 1 s, no baseline for this machine")


@pytest.mark.parametrize(("second", "status"), [(1.02, 0), (1.4, 1), (None, 1)])
def test_what_seems_slower_is_measured_again_before_it_is_said(
    compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: float | None, status: int
) -> None:
    again = {"test_x": lambda: second if second is not None else 1 / 0, "test_new": lambda: 1 / 0}
    facts = compare.machine()
    lines, exit_status = finished(compare, tmp_path, monkeypatch, 1.3, asked=True, stored_for=facts, again=again)
    assert exit_status == status
    assert lines[0] == "measured again at the end: test_x"
    assert lines[1].startswith(f"test_x: {min(1.3, second or 9):.3g} s against 1 s")


def test_two_benchmarks_are_not_compared_with_another_machine(
    compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**compare.machine(), "cpu": "another"}
    lines, exit_status = finished(compare, tmp_path, monkeypatch, 9.0, asked=True, stored_for=other)
    assert exit_status == 0
    assert lines[0].startswith("test_x: 9 s, no baseline for this machine")
    assert lines[-1] == "2 benchmarks, no baseline for this machine: nothing is compared"


def finished(  # type: ignore[no-untyped-def]
    compare: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    now: float,
    *,
    asked: bool,
    stored_for,
    again=None,
) -> tuple[list[str], int]:
    """End a run of two benchmarks of which one has five stored runs; return the lines and the exit status."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    stage = importlib.import_module("benchmarks.conftest")
    monkeypatch.setattr(stage, "BASELINES", tmp_path)
    monkeypatch.setenv("DRM_STAGE_FOLDER", str(tmp_path))
    path = tmp_path / f"{compare.fingerprint(stored_for)}.json"
    compare.write_json(
        path,
        {
            "schema_version": 2,
            "machine": stored_for,
            "runs": [{"min_s": run} for run in runs(test_x=[1.0, 1.01, 0.99, 1.0, 1.0])],
        },
    )
    measured = [measurement(compare, now), measurement(compare, 1.0, "test_new")]
    config = SimpleNamespace(
        rootpath=tmp_path,
        stash={stage.measured_key: measured, stage.again_key: again or {}},
        getoption=lambda name: asked and name == "--fail-on-regression",
    )
    session = SimpleNamespace(config=config, exitstatus=0)
    stage.pytest_sessionfinish(session)
    return config.stash[stage.lines_key], int(session.exitstatus)
