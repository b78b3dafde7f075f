"""``drm report``: what it reads, which files it writes, and what it says."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest
from recorded import Tape, leave, leave_all, suite, write_events

from drm.history import open_history
from drm.model.trends import FlakyTest, PastRun, Trends
from drm.report_commands.report import main
from drm.reporting.json_report import read_report
from drm.reporting.report import State
from drm.reporting.trends_file import TRENDS, write_trends

pytest.importorskip("defusedxml", reason="defusedxml is not installed: pip install defusedxml")
ALL = {
    "json": "report.json",
    "md": "report.md",
    "html": "report.html",
    "junit": "report.junit.xml",
    "ctrf": "report.ctrf.json",
    "trace": "report.trace.json",
    "openmetrics": "report.metrics.txt",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    told = capsys.readouterr()
    return told.out.splitlines(), told.err.splitlines()


def test_three_formats_are_written_beside_the_stages_unless_others_are_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_all(here / "reports")
    assert main([]) == 0
    assert said(capsys) == ([f"{name}: reports/{ALL[name]}" for name in ("json", "md", "html")], [])
    assert main(["--format", "junit,ctrf", "--format", "trace,openmetrics,junit", "--output-dir", "out"]) == 0
    names = ("junit", "ctrf", "trace", "openmetrics")
    assert said(capsys) == ([f"{name}: out/{ALL[name]}" for name in names], [])
    assert sorted(path.name for path in (here / "out").iterdir()) == sorted(ALL[name] for name in names)


def test_a_report_on_one_stage_says_nothing_of_the_others(here: Path) -> None:
    leave_all(here / "reports", e2e=suite("e2e", message="no"))
    (here / "reports" / "integration" / "events.ndjson").write_text("damaged\n")
    assert main(["--stage", "unit,e2e", "--format", "json"]) == 0
    report = read_report(here / "reports" / "report.json")
    assert (report.state, [stage.name for stage in report.stages]) == (State.PASSING, ["unit", "e2e"])
    assert [name for name, _ in report.components[0].cells] == ["unit", "e2e"]


def test_a_record_alone_gives_the_same_report_of_its_run_as_its_folder(here: Path) -> None:
    tape = suite("unit")
    leave(here / "reports" / "unit", tape)
    write_events(here / "elsewhere" / "unit" / "events.ndjson", tape.events)
    assert main(["--stage", "unit", "--format", "json", "--output-dir", "a"]) == 0
    assert main(["elsewhere/unit/events.ndjson", "--format", "json,html,trace", "--output-dir", "b"]) == 0
    one, two = (read_report(here / name / "report.json") for name in "ab")
    assert two.stages[0].runs[0].summary == one.stages[0].runs[0].summary
    assert (here / "b" / "report.html").exists()


def test_a_report_is_rendered_again_from_its_json(here: Path) -> None:
    leave_all(here / "reports")
    assert main(["--format", "json,md"]) == 0
    assert main(["reports/report.json", "--format", "md", "--output-dir", "again"]) == 0
    assert (here / "again" / "report.md").read_text() == (here / "reports" / "report.md").read_text()


def test_the_page_is_shown_and_where_none_can_be_that_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_all(here / "reports")
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(shown.append(address)) or True)
    assert main(["--format", "md", "--open"]) == 0
    assert shown == [(here / "reports" / "report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert main(["--open"]) == 0
    assert said(capsys)[1] == ["drm: no browser could be started; open reports/report.html yourself"]


def test_the_last_runs_of_the_branch_are_in_the_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_all(here / "reports")
    history = open_history(here / ".drm" / "history.db", warn=pytest.fail)
    past = PastRun(run_id="r0", suite="unit", at="2026-11-22T10:00:00.000Z", wall_s=7.0, tests=4, flaky=1)
    history.record_run("main", past)
    history.close()
    assert main(["--format", "json,md"]) == 0
    assert read_report(here / "reports" / "report.json").trends.runs == (past,)
    assert "Trends" in (here / "reports" / "report.md").read_text()
    (here / "damaged.db").write_text("no database" * 1000)
    assert main(["--format", "json", "--history", "damaged.db"]) == 0
    (line,) = said(capsys)[1]
    assert line.startswith("drm: history damaged.db cannot be read")


def test_what_runs_elsewhere_left_of_those_before_is_in_the_report(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In CI each stage has a history of its own, and the job that makes the report has none."""
    leave_all(here / "reports")
    days = [f"2026-11-{day}T10:00:00.000Z" for day in (20, 21, 22)]
    unit = [PastRun(run_id=f"u{at}", suite="unit", at=at, wall_s=7.0, allocation_s=0.5) for at in days]
    e2e = [PastRun(run_id=f"e{at}", suite="e2e", at=at, wall_s=9.0) for at in days]
    flaky = FlakyTest(task_id="t", runs=3, flaky=1, rate=0.3333)
    left = {"unit": (unit, flaky), "e2e": (e2e, flaky)}
    for stage, (runs, test) in left.items():
        write_trends(Trends(branch="main", runs=tuple(runs), flaky=(test,)), here / "reports" / stage / TRENDS)
    elsewhere = Trends(branch="topic", runs=(PastRun(run_id="x", suite="unit", at=""),))
    write_trends(elsewhere, here / "reports" / "performance" / TRENDS)
    (here / "reports" / "integration" / TRENDS).write_text("{")
    assert main(["--format", "json,md"]) == 0
    found = read_report(here / "reports" / "report.json").trends
    assert (found.branch, found.runs, found.flaky) == ("main", (*e2e, *unit), (flaky,))
    (line,) = said(capsys)[1]
    assert f"reports/integration/{TRENDS}" in line
    assert "500 ms" in (here / "reports" / "report.md").read_text().partition("Trends")[2]
    assert main(["--format", "json", "reports/unit/events.ndjson", "--output-dir", "alone"]) == 0
    assert set(read_report(here / "alone" / "report.json").trends.runs) == set(unit)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "pdf"], "'pdf' is not known: choose from json, md"),
        (["--stage", "unit,nightly"], "'nightly' is not known: choose from unit"),
        (["--reports-dir", "none"], "none: there is no such folder"),
        (["no/events.ndjson"], "there is no such file"),
        (["--stage", "unit", "run/events.ndjson"], "--stage does not go with files"),
        (["--output-dir", "file", "--reports-dir", "run"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_4(
    here: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_events(here / "run" / "events.ndjson", Tape(["t"]).events)
    (here / "file").write_text("")
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 4
    line = said(capsys)[1][-1]
    assert words in line
    assert "drm" in line


def test_half_a_line_and_a_newer_report_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = suite("unit")
    write_events(here / "unit" / "events.ndjson", tape.events[:-1])
    with (here / "unit" / "events.ndjson").open("a") as file:
        file.write('{"event":"RunFin')
    assert main(["unit/events.ndjson", "--format", "json", "--output-dir", "out"]) == 0
    run = read_report(here / "out" / "report.json").stages[0].runs[0]
    assert (run.state, run.summary.finished) == (State.ERROR, False)
    assert "only half written" in run.notes[0]
    newer = json.loads((here / "out" / "report.json").read_text()) | {"schema_version": 99}
    (here / "newer.json").write_text(json.dumps(newer))
    capsys.readouterr()
    assert main(["newer.json", "--format", "md", "--output-dir", "none"]) == 4
    (line,) = said(capsys)[1]
    assert line == "drm: newer.json: has schema_version 99, this drm reads up to 2; use a newer drm"
    assert not (here / "none").exists()
