from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from recorded import SLUGS, Tape, leave, leave_all, suite, write_events

from drm.model.work import Outcome
from drm.reporting.collect import build_report
from drm.reporting.report import Report, StageReport, State

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def build(reports: Path) -> Report:
    return build_report(reports, now=NOW)


def stage(report: Report, name: str) -> StageReport:
    return next(stage for stage in report.sections if stage.name == name)


def test_no_folder_and_empty_folder_say_that_nothing_has_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        report = build(folder)
        assert report.state is State.MISSING
        assert report.headline == "Nothing has run: there is no result of any stage here."
        assert all(item.why == "has not run" for item in report.stages)


def test_all_stages_passing(tmp_path: Path) -> None:
    leave_all(tmp_path)
    report = build(tmp_path)
    assert (report.state, report.headline) == (State.PASSING, "Passing: 20 of 20 tests passed in 5 stages.")
    assert (report.created_at, report.commit, report.machine) == ("2026-11-23T12:00:00.000Z", "abc123", "m1")
    tested = {item.slug: (item.state, item.tests.passed) for item in report.components}
    assert tested == {**dict.fromkeys(SLUGS, (State.PASSING, 5)), "drm_integration": (State.NO_TESTS, 0)}
    assert stage(report, "unit").runs[0].files == ("unit/status.json", "unit/results.json", "unit/events.ndjson")


def test_a_record_of_an_earlier_run_than_the_status_does_not_count(tmp_path: Path) -> None:
    leave(tmp_path / "run", suite("unit"), status="failed", exit_code=2, run_id="", reason="no collection")
    (run,) = stage(build(tmp_path), "run").runs
    assert (run.state, run.why) == (State.ERROR, "the session ended before any test ran: no collection")
    leave(tmp_path / "run", suite("unit"), exit_code=5, run_id="")
    assert stage(build(tmp_path), "run").state is State.NO_TESTS
    leave(tmp_path / "run", suite("unit"), run_id=suite("unit").events[0].run_id)
    assert stage(build(tmp_path), "run").state is State.PASSING


def test_a_failure_is_found_in_its_stage_and_component(tmp_path: Path) -> None:
    leave_all(tmp_path, e2e=suite("e2e", {"tests/e2e/test_resource_optimizer.py::t": Outcome.FAILED}))
    report = build(tmp_path)
    assert report.state is State.FAILING
    assert report.headline == "Failing: 16 of 17 tests passed in 5 stages; e2e: 1 of 1 test did not pass."
    states = {item.slug: item.state for item in report.components}
    assert states["resource_optimizer"] is State.FAILING
    assert states["cloud_provider_manager"] is State.PASSING


def test_missing_stage_is_partial_and_named(tmp_path: Path) -> None:
    leave_all(tmp_path)
    shutil.rmtree(tmp_path / "performance")
    report = build(tmp_path)
    assert report.state is State.PARTIAL
    assert report.headline == "Partial: 16 of 16 tests passed in 4 stages; no result from performance."
    shutil.rmtree(tmp_path / "unit")
    assert build(tmp_path).components[0].state is State.PARTIAL


def test_stage_without_a_test_is_not_passing(tmp_path: Path) -> None:
    leave_all(tmp_path, e2e=suite("e2e", {}), distributed=suite("distributed", {"t": Outcome.SKIPPED}))
    report = build(tmp_path)
    assert stage(report, "e2e").state is State.NO_TESTS
    assert stage(report, "distributed").why == "no test ran (1 skipped)"
    assert report.state is State.PARTIAL


@pytest.mark.parametrize("name", ["status.json", "results.json", "events.ndjson"])
@pytest.mark.parametrize("text", ["{", '{"schema_version": 9, "event": 1}\n', '[]\n{"x"\n', ""])
def test_damaged_file_makes_the_stage_an_error_in_one_line(tmp_path: Path, name: str, text: str) -> None:
    leave_all(tmp_path)
    (tmp_path / "unit" / name).write_text(text)
    report = build(tmp_path)
    unit = stage(report, "unit")
    assert (unit.state, report.state) == (State.ERROR, State.ERROR)
    assert "\n" not in unit.why
    assert str(tmp_path) not in unit.why
    if text != "" and name != "events.ndjson":
        assert unit.why.startswith(f"unit/{name}: ")
    assert {item.state for item in report.components if item.slug in SLUGS} == {State.ERROR}


def test_field_of_a_wrong_type_in_the_events_is_damage(tmp_path: Path) -> None:
    leave_all(tmp_path)
    path = tmp_path / "unit" / "events.ndjson"
    path.write_text(path.read_text().replace('"task_ids":["', '"task_ids":[["x"],"'))
    assert stage(build(tmp_path), "unit").state is State.ERROR


def test_two_runs_mixed_in_a_folder_are_an_error_that_names_both(tmp_path: Path) -> None:
    leave_all(tmp_path)
    other = tmp_path / "other"
    leave(other, suite("unit", {"tests/unit/test_old.py::t": Outcome.PASSED}, run_id="r0"))
    shutil.copy(other / "results.json", tmp_path / "unit" / "results.json")
    unit = stage(build(tmp_path), "unit")
    assert unit.state is State.ERROR
    assert unit.why == (
        "unit: two runs are mixed here (events.ndjson is of run r1, results.json of r0);"
        " delete the folder and run the stage again"
    )
    assert unit.tests.collected == 4, "what was recorded is shown all the same"


def test_a_run_that_was_ended_is_not_taken_for_two(tmp_path: Path) -> None:
    leave_all(tmp_path)
    leave(tmp_path / "other", suite("unit", run_id="r0"), exit_code=3)
    shutil.copy(tmp_path / "other" / "results.json", tmp_path / "unit" / "results.json")
    path = tmp_path / "unit" / "events.ndjson"
    path.write_bytes(path.read_bytes()[:-300])
    unit = stage(build(tmp_path), "unit")
    assert unit.why.startswith("the run did not finish (unit/events.ndjson: line ")


def test_truncated_events_are_an_unfinished_run_whose_tests_are_still_shown(tmp_path: Path) -> None:
    leave_all(tmp_path)
    path = tmp_path / "unit" / "events.ndjson"
    path.write_bytes(path.read_bytes()[:-300])
    unit = stage(build(tmp_path), "unit")
    assert unit.state is State.ERROR
    assert unit.why.startswith("the run did not finish (unit/events.ndjson: line ")
    assert unit.tests.collected == 4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"exit_code": 3}, "pytest ended with exit code 3 although no test failed"),
        ({"status": "failed", "reason": "no\nspace"}, "the session ended as failed although no test failed: no space"),
    ],
)
def test_session_that_failed_without_a_failed_test_is_an_error(
    tmp_path: Path, fields: dict[str, object], said: str
) -> None:
    leave_all(tmp_path)
    leave(tmp_path / "unit", suite("unit"), **fields)  # type: ignore[arg-type]
    unit = stage(build(tmp_path), "unit")
    assert (unit.state, unit.why) == (State.ERROR, said)


def test_session_that_ended_before_any_test_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / "status.json").write_text(json.dumps({"status": "failed", "reason": "install failed"}))
    unit = stage(build(tmp_path), "unit")
    assert (unit.state, unit.why) == (State.ERROR, "the session ended before any test ran: install failed")
    (tmp_path / "unit" / "status.json").write_text(json.dumps({"status": "passed"}))
    assert stage(build(tmp_path), "unit").state is State.NO_TESTS


def test_tests_that_did_not_run_are_an_error(tmp_path: Path) -> None:
    leave_all(tmp_path, unit=suite("unit", {"t1": Outcome.PASSED, "t2": Outcome.NOT_RUN}))
    unit = stage(build(tmp_path), "unit")
    assert (unit.state, unit.why) == (State.ERROR, "1 test did not run")


def test_stage_split_by_component_is_one_stage_and_partial_when_one_is_left_out(tmp_path: Path) -> None:
    leave_all(tmp_path)
    shutil.rmtree(tmp_path / "unit")
    for slug in (*SLUGS, "drm_integration"):
        tape = suite("unit", {f"tests/unit/{slug}/test_it.py::t": Outcome.PASSED})
        leave(tmp_path / f"unit-{slug}", tape, components=[slug])
    report = build(tmp_path)
    assert (report.state, stage(report, "unit").tests.passed) == (State.PASSING, 5)
    shutil.rmtree(tmp_path / "unit-resource_optimizer")
    report = build(tmp_path)
    assert (report.state, stage(report, "unit").why) == (State.PARTIAL, "ran without resource_optimizer")


def leave_project(reports: Path, *slugs: str, of: list[str]) -> None:
    """Leave the unit stage of a project with components of its own, split over them, and no other stage."""
    for slug in slugs:
        tape = suite("unit", {f"tests/unit/{slug}/test_it.py::t": Outcome.PASSED})
        leave(reports / f"unit-{slug}", tape, components=[slug], of_components=of)
    for name in ("integration", "performance", "e2e", "distributed"):
        leave_skipped(reports / name, of)


def leave_skipped(folder: Path, of: list[str], **fields: object) -> None:
    known = {"schema_version": 1, "stage": folder.name, "status": "skipped", "reason": "there is no test in x"}
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps(known | {"of_components": of} | fields))


def test_a_project_with_components_of_its_own_has_rows_of_its_own(tmp_path: Path) -> None:
    leave_project(tmp_path, "api", "db", of=["api", "db", "other"])
    leave_skipped(tmp_path / "unit-other", ["api", "db", "other"], components=["other"])
    report = build(tmp_path)
    assert (report.state, report.headline) == (State.PASSING, "Passing: 2 of 2 tests passed.")
    rows = {item.slug: (item.title, item.state, item.tests.passed) for item in report.components}
    assert rows == {
        "api": ("api", State.PASSING, 1),
        "db": ("db", State.PASSING, 1),
        "other": ("other", State.NO_TESTS, 0),
    }


def test_a_component_of_the_project_that_did_not_run_is_missed(tmp_path: Path) -> None:
    leave_project(tmp_path, "api", of=["api", "db", "other"])
    report = build(tmp_path)
    assert (report.state, stage(report, "unit").why) == (State.PARTIAL, "ran without db, other")
    assert {item.slug: item.state for item in report.components}["db"] is State.NO_TESTS


def test_a_project_without_components_has_no_rows_of_them(tmp_path: Path) -> None:
    leave_all(tmp_path)
    leave(tmp_path / "unit", suite("unit"), of_components=[])
    report = build(tmp_path)
    assert (report.state, report.components) == (State.PASSING, ())


def test_a_stage_that_the_project_has_not_is_no_missing_one(tmp_path: Path) -> None:
    leave_all(tmp_path)
    shutil.rmtree(tmp_path / "e2e")
    leave_skipped(tmp_path / "e2e", [])
    report = build(tmp_path)
    assert report.state is State.PASSING
    assert (stage(report, "e2e").state, stage(report, "e2e").why) == (State.NO_TESTS, "there is no test in x")


def test_nothing_but_skipped_stages_is_never_passing(tmp_path: Path) -> None:
    for name in ("unit", "integration", "performance", "e2e", "distributed"):
        leave_skipped(tmp_path / name, [])
    report = build(tmp_path)
    assert (report.state, report.headline) == (State.NO_TESTS, "No test ran, so nothing passed.")


def test_stage_of_another_commit_than_the_newest_is_stale(tmp_path: Path) -> None:
    later = suite("unit", commit="fff999")
    object.__setattr__(later.events[0], "at", "2026-11-24T00:00:00.000Z")
    leave_all(tmp_path, unit=later)
    report = build(tmp_path)
    assert (report.state, report.commit) == (State.STALE, "fff999")
    assert stage(report, "e2e").why == "ran on commit abc123, the newest run on fff999"


def test_own_run_alone_gives_the_verdict_and_does_not_when_stages_ran(tmp_path: Path) -> None:
    leave(tmp_path / "run", suite("run", {"test_a.py::t": Outcome.FAILED}), exit_code=1, status="failed")
    report = build(tmp_path)
    assert (report.state, report.tests.ran) == (State.FAILING, 1)
    assert [item.name for item in report.sections] == ["run"]
    leave_all(tmp_path)
    report = build(tmp_path)
    assert (report.state, report.tests.ran) == (State.PASSING, 20)
    assert report.own_run is not None
    assert report.own_run.state is State.FAILING
    assert [item.name for item in report.sections][-2:] == ["distributed", "run"]


def test_runs_that_tests_made_are_shown_and_do_not_judge(tmp_path: Path) -> None:
    leave_all(tmp_path)
    write_events(tmp_path / "e2e" / "runs" / "killed" / "events.ndjson", Tape(["t"]).events)
    report = build(tmp_path)
    (run,) = stage(report, "e2e").runs
    assert [(inner.name, inner.state) for inner in run.inner] == [("e2e / killed", State.ERROR)]
    assert report.state is State.PASSING


def test_results_stand_in_for_lost_events(tmp_path: Path) -> None:
    leave_all(tmp_path)
    (tmp_path / "unit" / "events.ndjson").unlink()
    assert stage(build(tmp_path), "unit").state is State.PASSING


def test_coverage_and_benchmarks(tmp_path: Path) -> None:
    leave_all(tmp_path)
    totals = {"percent_covered": 93.4, "num_statements": 100, "missing_lines": 7}
    (tmp_path / "coverage.json").write_text(json.dumps({"totals": totals}))
    ours = {"name": "a", "min_s": 0.21, "median_s": 0.22, "rounds": 5, "extra": {"gap": 0.1, "n": 3}}
    ours |= {"baseline_s": 0.2, "change": 0.05, "limit": 0.1, "verdict": "unchanged"}
    theirs = {"name": "b", "stats": {"min": 1.0, "median": 2.0, "rounds": 3, "ops": 1.0}, "extra_info": {}}
    (tmp_path / "performance" / "benchmark.json").write_text(json.dumps({"benchmarks": [ours, theirs]}))
    report = build(tmp_path)
    assert report.coverage is not None
    assert (report.coverage.percent, report.coverage.missing) == (93.4, 7)
    first, second = report.benchmarks
    assert (first.min_s, first.baseline_s, first.change, first.verdict) == (0.21, 0.2, 0.05, "unchanged")
    assert first.figures == (("gap", "0.1"), ("n", "3"))
    assert (second.min_s, second.median_s, second.rounds, second.baseline_s) == (1.0, 2.0, 3, None)
    assert report.problems == ()


def test_benchmarks_of_a_stage_split_by_component_are_all_read(tmp_path: Path) -> None:
    for folder, name in (("performance", "a"), ("performance-resource_optimizer", "b")):
        leave(tmp_path / folder, suite("performance"))
        row = {"name": name, "min_s": 0.21, "median_s": 0.22, "rounds": 5}
        (tmp_path / folder / "benchmark.json").write_text(json.dumps({"benchmarks": [row]}))
    leave(tmp_path / "performance-drm_integration", suite("performance"))
    (tmp_path / "performance-drm_integration" / "benchmark.json").write_text("{")
    report = build(tmp_path)
    assert [item.name for item in report.benchmarks] == ["a", "b"]
    assert [problem.split(":")[0] for problem in report.problems] == ["performance-drm_integration/benchmark.json"]


@pytest.mark.parametrize("text", ["{", "{}", '{"totals": 3, "benchmarks": 3}', '{"totals": {}, "benchmarks": [{}]}'])
def test_unreadable_measures_are_problems_not_crashes(tmp_path: Path, text: str) -> None:
    leave_all(tmp_path)
    (tmp_path / "coverage.json").write_text(text)
    (tmp_path / "performance" / "benchmark.json").write_text(text)
    report = build(tmp_path)
    assert [problem.split(":")[0] for problem in report.problems] == ["coverage.json", "performance/benchmark.json"]
    assert (report.coverage, report.benchmarks) == (None, ())
