"""The command line as a person meets it: what is written, what is said, which exit code."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from recorded import leave_all, suite

from drm.cli import main as drm_main
from drm.github_badge_generator import main
from drm.model.work import Outcome
from drm.reporting.collect import build_report
from drm.reporting.formats import write_reports


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    leave_all(tmp_path / "reports")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(path: str, key: str = "message") -> Any:
    return json.loads(Path(path).read_text())[key]


def written(folder: str) -> set[str]:
    return {name for name in os.listdir(folder) if name.endswith(".json") and not name.endswith(".meta.json")}


def test_output_is_the_overall_badge_alone_or_with_the_others_beside_it(here: Path) -> None:
    assert main(["--output", "a/x.json"]) == 0
    assert written("a") == {"x.json"}
    assert main(["--output", "b/x.json", "--component-badges"]) == 0
    assert len(written("b")) == 13
    assert "drm_status.json" not in written("b")
    assert main(["--output", "c/x", "--output-dir", "d"]) == 0
    assert (written("c"), len(written("d"))) == ({"x.json"}, 12)


def test_a_pattern_goes_through_the_command_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--input", "reports/*/results.json", "--output", "a/x.svg"]) == 0
    assert said("a/x.json") == "passing (20/20)"
    assert main(["--input", "reports/unit/results.json", "reports/e2e/results.json", "--output", "a/x.svg"]) == 0
    assert said("a/x.json") == "partial (8/8)"
    out, err = capsys.readouterr()
    assert out.splitlines()[:2] == ["a/x.svg", "a/x.json"]
    assert err == (
        "drm: Partial: 8 of 8 tests passed in 2 stages; no result from integration, performance, distributed.\n"
    )


def test_a_pattern_that_matches_nothing_ends_what_badges_said_before(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output-dir", "a"]) == 0
    assert main(["--input", "nope/*.json", "--output-dir", "a"]) == 1
    assert capsys.readouterr().err == "drm: nope/*.json: no file matches\n"
    assert {said(f"a/{name}") for name in written("a")} == {"no status"}
    assert said("a/drm_status.meta.json", "why") == "nope/*.json: no file matches"


def test_drawing_a_red_badge_is_success(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_all(here / "red", unit=suite("unit", {"tests/unit/resource_optimizer/t.py::t": Outcome.FAILED}))
    assert drm_main(["badges", "--reports-dir", "red", "--output", "a/x", "--label", "Mine"]) == 0
    assert (said("a/x.json"), said("a/x.json", "label")) == ("failing (16/17)", "Mine")
    assert capsys.readouterr().err == (
        "drm: Failing: 16 of 17 tests passed in 5 stages; unit: 1 of 1 test did not pass.\n"
    )


def test_a_truncated_record_is_an_error_and_a_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "reports" / "unit" / "results.json"
    path.write_text(path.read_text()[:200])
    for options in [], ["--input", "reports/*/results.json"], ["--input-dir", "reports"]:
        assert drm_main(["badges", *options, "--output", "a/x", "--output-dir", "b"]) == 1
        assert (said("a/x.json"), said("b/drm_unit_test_status.json")) == ("error", "error")
        assert said("b/drm_e2e_test_status.json") == "passing (4/4)", "only what is damaged is an error"
        err = capsys.readouterr().err
        assert err.startswith("drm: reports/unit/results.json: is damaged (")
        assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["coverage.json", "performance/benchmark.json"])
def test_a_measure_that_cannot_be_read_is_a_line_and_1(
    here: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "reports" / name).write_text("{")
    for options in [], ["--input", "reports/*/results.json", f"reports/{name}"]:
        assert main([*options, "--output-dir", "b"]) == 1
        assert re.match(rf"drm: (reports/)?{name}: is damaged \(.*; run [^;]* again\n$", capsys.readouterr().err)
        assert said("b/drm_coverage_status.json" if "cov" in name else "b/drm_performance_status.json") == "error"


def test_two_runs_in_one_folder_are_an_error_and_a_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_all(here / "other", unit=suite("unit", run_id="r2"))
    results, events = (here / "reports" / "unit" / name for name in ("results.json", "events.ndjson"))
    (here / "other" / "unit" / "results.json").replace(results)
    assert drm_main(["badges", "--output-dir", "a"]) == 1
    assert (said("a/drm_status.json"), said("a/drm_unit_test_status.json")) == ("error", "error")
    assert said("a/drm_e2e_test_status.json") == "passing (4/4)"
    assert "two runs are mixed here (events.ndjson is of run r1, results.json of r2)" in capsys.readouterr().err
    results.unlink()
    events.write_bytes(events.read_bytes() + (here / "other" / "unit" / "events.ndjson").read_bytes())
    assert drm_main(["badges", "--output-dir", "a"]) == 1
    assert said("a/drm_unit_test_status.json") == "error"


def test_age_is_that_of_each_stage(here: Path) -> None:
    fresh = {stage: suite(stage) for stage in ("unit", "integration", "performance", "distributed")}
    for tape in fresh.values():
        object.__setattr__(tape.events[0], "at", "2999-01-01T00:00:00.000Z")
    leave_all(here / "reports", **fresh)
    assert main(["--max-age", "1h", "--output-dir", "a"]) == 0
    assert (said("a/drm_e2e_test_status.json"), said("a/drm_unit_test_status.json")) == ("stale", "passing (4/4)")
    assert said("a/drm_resource_optimizer_status.json") == "stale"
    assert said("a/drm_status.json") == "stale"
    assert said("a/drm_status.meta.json", "why") == (
        "Stale: results are of another commit, or too old (e2e); 20 of 20 tests passed in 5 stages."
    )


def test_an_old_coverage_is_stale_too(here: Path) -> None:
    totals = {"percent_covered": 90.0, "num_statements": 100, "missing_lines": 10}
    (here / "reports" / "coverage.json").write_text(json.dumps({"totals": totals}))
    for options, message in ([], "90%"), (["--max-age", "1h"], "stale"):
        assert main([*options, "--output-dir", "a"]) == 0
        assert said("a/drm_coverage_status.json") == message


@pytest.mark.parametrize("percent", ["NaN", "Infinity", "-1", "100.1", "1e999", f"1{'0' * 400}", '"x"', "null"])
def test_no_figure_of_coverage_is_believed_that_is_no_percentage(here: Path, percent: str) -> None:
    text = f'{{"totals": {{"percent_covered": {percent}, "num_statements": 1, "missing_lines": 1}}}}'
    (here / "reports" / "coverage.json").write_text(text)
    assert main(["--output-dir", "a"]) == 1
    assert said("a/drm_coverage_status.json") == "error"
    assert "coverage.json: is no coverage report (" in said("a/drm_coverage_status.meta.json", "why")


def test_names_in_a_report_make_no_paths_and_no_markup(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_reports(here / "reports", formats=["json"], report=build_report(here / "reports"))
    path = here / "reports" / "report.json"
    report = json.loads(path.read_text())
    report["components"][0]["slug"] = "x/../../evil"
    report["components"][1]["title"] = "]]>\n<script>alert(1)</script>" + "x" * 1_000_000
    report["stages"][0]["name"] = "x/../../evil"
    report["headline"] = "\n::set-output name=a::b" + "x" * 1_000_000
    report["branch"] = report["created_at"] = "<b>\n" * 1_000_000
    report["state"] = "failing"
    path.write_text(json.dumps(report))
    assert main(["--input", str(path), "--output-dir", "a/b/c", "--markdown", "--repository", "o/r"]) == 0
    assert {file.parent for file in here.rglob("*_status*") if file.is_file()} == {here / "a/b/c"}
    for file in Path("a/b/c").iterdir():
        assert file.stat().st_size < 5_000
        if file.suffix == ".svg":
            tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(file.read_text()).iter()}
            assert tags == {"svg", "title", "linearGradient", "stop", "clipPath", "rect", "g", "text"}
    out, err = capsys.readouterr()
    assert len(out) < 20_000
    assert "<script" not in out
    assert err.startswith("drm: ::set-output name=a::b")  # no workflow command: it does not start the line
    assert (err.count("\n"), len(err) < 2_000) == (2, True)


@pytest.mark.parametrize("passed", [3, 30, -1])
def test_a_report_that_contradicts_itself_is_an_error(here: Path, passed: int) -> None:
    write_reports(here / "reports", formats=["json"], report=build_report(here / "reports"))
    path = here / "reports" / "report.json"
    report = json.loads(path.read_text())
    report["tests"]["passed"] = passed
    path.write_text(json.dumps(report))
    assert main(["--input", str(path), "--output", "a/x"]) == 0
    assert said("a/x.json") == "error"
    assert said("a/x.meta.json", "why") == f"it says passing, and that {passed} of 20 tests passed"


@pytest.mark.parametrize("name", ['x" onload="alert(1)', "x)<&'\u202e", "a b\n", "é" * 50])
def test_a_name_of_a_file_stays_in_its_place(here: Path, name: str) -> None:
    assert main(["--output", f"a/{name}.svg"]) == 0
    (svg,) = (file for file in Path("a").iterdir() if file.suffix == ".svg")
    root = ET.fromstring(svg.read_text())
    assert set(root.attrib) == {"role", "aria-label", "width", "height"}
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    assert all(re.fullmatch(r"[\w.-]+", str(each), re.ASCII) for each in ids)
    used = {element.get("clip-path") for element in root.iter() if element.get("clip-path")}
    assert used <= {f"url(#{each})" for each in ids}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--input", "a.json", "--input-dir", "reports"], "argument --input-dir/--reports-dir: not allowed with"),
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["--input"], "argument --input: expected at least one argument"),
        (["--output", ""], "--output '.' names no file; name the overall badge's, or use --output-dir"),
        (["--output", "reports"], "--output 'reports' names no file; name the overall badge's, or use --output-dir"),
        (["--input", "none.json"], "none.json: there is no such file; run `drm report` first"),
        (["--label", "\n"], "--label is empty; give the badge a name"),
        (["--max-age", "soon"], "--max-age: 'soon' is not a duration"),
    ],
)
def test_wrong_usage_is_a_line_and_4(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    try:
        code = drm_main(["badges", *arguments])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 4
    out, err = capsys.readouterr()
    assert (out, line in err.splitlines()[-1]) == ("", True)
    assert "Traceback" not in err
    assert not Path(".github").exists()


def test_a_folder_that_cannot_be_written_is_a_line_and_4(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").write_text("")
    assert drm_main(["badges", "--output-dir", "file/badges"]) == 4
    assert capsys.readouterr().err.startswith("drm: file/badges/drm_status.svg: cannot be written (Not a directory); ")
