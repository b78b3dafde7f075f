from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from recorded import SLUGS, Tape, leave, leave_all, suite

from drm.model.errors import ConfigError
from drm.model.work import Outcome
from drm.reporting.collect import build_report
from drm.reporting.formats import write_reports
from drm.reporting.inputs import Inputs, read_inputs
from drm.reporting.report import Report, State

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    leave_all(tmp_path / "reports")
    write_reports(tmp_path / "reports", formats=["json"], report=build_report(tmp_path / "reports", now=NOW))
    return tmp_path / "reports"


def read(*patterns: object) -> Inputs:
    return read_inputs([str(pattern) for pattern in patterns], now=NOW)


def stage_states(report: Report) -> dict[str, State]:
    return {stage.name: stage.state for stage in report.stages}


def one_test(stage: str, outcome: Outcome = Outcome.PASSED, **facts: str) -> Tape:
    return suite(stage, {f"tests/{stage}/resource_optimizer/test_a.py::t": outcome}, **facts)


def test_all_runs_named_one_by_one_are_what_their_folder_is(reports: Path) -> None:
    assert read(reports / "*" / "results.json") == Inputs(report=build_report(reports, now=NOW))


def test_a_run_is_read_once_however_many_of_its_files_match(reports: Path) -> None:
    """The report.json beside the folders tells of the same runs."""
    found = read(reports / "**" / "*.json", reports / "unit", reports / "unit" / "events.ndjson")
    assert (found.report.state, found.report.tests.ran, found.problems) == (State.PASSING, 20, ())


def test_one_report_is_taken_as_it_is(reports: Path) -> None:
    assert read(reports / "report.json").report == build_report(reports, now=NOW)


def test_a_renamed_file_is_known_by_what_is_in_it(reports: Path, tmp_path: Path) -> None:
    (reports / "report.json").rename(tmp_path / "test_report_1.json")
    leave(tmp_path / "mine", one_test("mine"))
    (tmp_path / "mine" / "results.json").rename(tmp_path / "test_report_2.json")
    found = read(tmp_path / "test_report_*.json")
    assert (found.report.state, found.report.tests.ran, found.problems) == (State.PASSING, 21, ())


@pytest.mark.parametrize(
    ("folder", "stage"),
    [
        ("unit", "unit"),
        ("unit-drm_integration", "unit"),
        ("performance-resource_optimizer", "performance"),
        ("test-results-e2e", "e2e"),
        ("reports-e2e-drm_integration", "e2e"),
        ("reunite", ""),
        ("drm_integration", ""),
    ],
)
def test_stage_of_a_run_is_in_the_name_of_its_folder(tmp_path: Path, folder: str, stage: str) -> None:
    leave(tmp_path / folder, one_test("x"))
    report = read(tmp_path / folder / "results.json").report
    assert [each.name for each in report.stages if each.runs] == ([stage] if stage else [])
    assert (report.own_run is None) == bool(stage)


def test_an_own_run_that_is_named_counts_beside_the_stages(reports: Path, tmp_path: Path) -> None:
    leave(tmp_path / "mine", one_test("mine", Outcome.FAILED), exit_code=1, status="failed")
    found = read(reports / "*" / "results.json", tmp_path / "mine")
    assert (found.report.state, found.report.tests.passed, found.report.tests.ran) == (State.FAILING, 20, 21)


def test_runs_of_different_commits_are_stale(tmp_path: Path) -> None:
    leave_all(tmp_path / "a")
    later = one_test("unit", commit="fff999")
    object.__setattr__(later.events[0], "at", "2026-11-24T00:00:00.000Z")
    leave(tmp_path / "b" / "unit", later)
    assert read(tmp_path / "*" / "*" / "results.json").report.state is State.STALE


def test_damage_in_a_run_is_an_error_of_its_stage(reports: Path) -> None:
    path = reports / "unit" / "results.json"
    path.write_text(path.read_text()[:200])
    found = read(reports / "*" / "results.json")
    (problem,) = found.problems
    assert problem.startswith(f"{path}: is damaged (")
    assert problem.endswith("); run the stage again")
    assert found.report.state is State.ERROR
    assert stage_states(found.report) == dict.fromkeys(stage_states(found.report), State.PASSING) | {
        "unit": State.ERROR
    }


def test_a_damaged_report_may_have_told_of_anything(reports: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text((reports / "report.json").read_text()[:-50])
    found = read(reports / "report.json", tmp_path / "other.json")
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path / 'other.json'}: is damaged (")
    assert found.report.headline.startswith(f"Error: {problem}; 20 of 20 tests passed")
    assert {found.report.state, *stage_states(found.report).values()} == {State.ERROR}
    assert {item.state for item in found.report.components} == {State.ERROR}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema_version": 9}', "[" * 100_000, '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'],
)
def test_what_is_no_report_is_one_short_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    found = read(tmp_path / "a.json")
    (problem,) = found.problems
    assert found.report.state is State.ERROR
    assert problem.startswith(f"{tmp_path / 'a.json'}: ")
    assert "\n" not in problem
    assert len(problem) <= 400


def test_nothing_of_an_xml_bomb_is_read(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(20))
    (tmp_path / "junit.xml").write_text(f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><testsuites>&a20;</testsuites>')
    found = read(tmp_path / "junit.xml")
    assert found.report.state is State.ERROR
    assert "has no record of a run (status.json, results.json, events.ndjson)" in found.problems[0]


def test_a_pattern_that_nothing_matches_leaves_the_rest_partial(reports: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nope" / "*.json"
    found = read(reports / "report.json", nothing)
    assert (found.report.state, found.report.tests.ran) == (State.PARTIAL, 20)
    assert found.problems == (f"{nothing}: no file matches",)
    alone = read(nothing)
    assert (alone.report.state, alone.problems) == (State.MISSING, found.problems)


def test_a_name_of_nothing_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: there is no such file; run `drm report` first$"):
        read(tmp_path / "none.json")
    leave(tmp_path / "unit[1]", suite("unit"))
    assert read(tmp_path / "unit[1]").report.tests.ran == len(SLUGS)  # not taken for a pattern


def test_coverage_and_benchmarks_come_along(reports: Path) -> None:
    totals = {"percent_covered": 81.5, "num_statements": 100, "missing_lines": 7}
    (reports / "coverage.json").write_text(json.dumps({"totals": totals}))
    row = {"name": "a", "min_s": 1.0, "median_s": 1.0, "rounds": 3}
    (reports / "performance" / "benchmark.json").write_text(json.dumps({"benchmarks": [row]}))
    report = read(reports / "*" / "*.json", reports / "coverage.json").report
    assert report.coverage is not None
    assert (report.coverage.percent, [benchmark.name for benchmark in report.benchmarks]) == (81.5, ["a"])


def test_benchmarks_are_counted_once_too(reports: Path) -> None:
    row = {"name": "a", "min_s": 1.0, "median_s": 1.0, "rounds": 3}
    (reports / "performance" / "benchmark.json").write_text(json.dumps({"benchmarks": [row]}))
    write_reports(reports, formats=["json"], report=build_report(reports, now=NOW))
    for patterns in ([reports / "report.json", reports / "*" / "results.json"], [reports / "**" / "*.json"]):
        assert [each.name for each in read(*patterns).report.benchmarks] == ["a"]


def test_a_run_whose_folder_has_another_name_now_is_the_same_run(reports: Path, tmp_path: Path) -> None:
    (reports / "unit").rename(tmp_path / "test-results-unit")
    found = read(reports / "report.json", tmp_path / "test-results-unit" / "results.json")
    assert found.report.tests.ran == 20
