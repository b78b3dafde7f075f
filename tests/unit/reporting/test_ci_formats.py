"""What CI providers read: the merged junit.xml, annotations, OpenMetrics, the comment."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import commands
from recorded import Tape, leave, leave_all, suite

from drm.model.work import Outcome
from drm.reporting.annotations import MOST, annotation_lines, command
from drm.reporting.collect import build_report
from drm.reporting.comment import LIMIT_BYTES, comment_marker, render_comment
from drm.reporting.junit import Merged, merge_junit
from drm.reporting.junit_file import read_junit, read_xml
from drm.reporting.openmetrics import MOST as MOST_METRICS
from drm.reporting.openmetrics import render_openmetrics
from drm.reporting.report import Benchmark, Coverage, Link, Report

pytest.importorskip("defusedxml", reason="defusedxml is not installed: pip install defusedxml")

FAILED = "tests/integration/test_plugin.py::test_b[1-2]"
JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="3" time="3.5"
 timestamp="2026-11-23T09:59:58.000000+00:00" hostname="m1">
<testcase classname="tests.integration.test_plugin" name="test_a" time="0.5"><system-out>said</system-out></testcase>
<testcase classname="tests.integration.test_plugin" name="test_b[1-2]" time="0.25"><failure message="assert 1 == 2">def
&gt;       assert 1 == 2
tests/integration/test_plugin.py:7: in test_b
tests/helper.py:99: in check
tests/integration/test_plugin.py:12: AssertionError</failure></testcase>
<testcase classname="tests.integration.test_plugin" name="test_c" time="0"><skipped message="no gpu" /></testcase>
</testsuite></testsuites>
"""
BOMB = '<!DOCTYPE b [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def demo(reports: Path, junit: str = JUNIT) -> Report:
    cases = {
        "tests/integration/test_plugin.py::test_a": Outcome.PASSED,
        FAILED: Outcome.FAILED,
        "tests/integration/test_plugin.py::test_c": Outcome.SKIPPED,
    }
    leave_all(reports, integration=suite("integration", cases, message="assert 1 == 2"))
    (reports / "integration" / "junit.xml").write_text(junit)
    shutil.rmtree(reports / "e2e")
    leave(reports / "distributed", suite("distributed", {}), exit_code=3)
    links = [Link(title="run", url="https://ci.example/run/1"), Link(title="commit", url="https://ci.example/c/abc")]
    report = build_report(reports, links=links)
    slow = Benchmark(name="bench", min_s=0.2, median_s=0.2, rounds=5, verdict="regressed", change=0.5)
    coverage = Coverage(percent=93.456789, statements=100, missing=7)
    return replace(report, created_at="2026-11-23T12:00:00.000Z", benchmarks=(slow,), coverage=coverage)


def merged(reports: Path, **changes: str) -> Merged:
    return merge_junit(demo(reports, **changes), reports)


def cases_of(text: str, folder: Path) -> dict[str, tuple[str, str]]:
    path = folder / "merged.xml"
    path.write_text(text)
    found = [case for found in read_junit(path, "merged.xml") for case in found.cases]
    assert len({(case.classname, case.name) for case in found}) == len(found), "GitLab drops the second of a name"
    return {f"{case.classname}.{case.name}": (case.verdict, case.message) for case in found}


def test_golden_junit(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("junit.xml", merged(tmp_path).text.replace("><", ">\n<"))


def test_golden_openmetrics(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("metrics.txt", render_openmetrics(demo(tmp_path)))


def test_golden_comment(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("comment.md", render_comment(demo(tmp_path), name="DRM tests", commit="abc123def456789"))


def test_golden_annotations(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    report = demo(tmp_path)
    lines = annotation_lines(report, lines=merge_junit(report, tmp_path).lines, folder="app")
    golden("annotations.txt", "\n".join(lines) + "\n")


def test_a_failure_is_annotated_at_the_last_line_of_its_own_file(tmp_path: Path) -> None:
    assert merged(tmp_path).lines == {FAILED: 12}


def test_merged_junit_keeps_what_stages_wrote_and_adds_their_states(tmp_path: Path) -> None:
    cases = cases_of(merged(tmp_path).text, tmp_path)
    assert cases["tests.integration.test_plugin.test_b[1-2]"] == ("failure", "assert 1 == 2")
    assert cases["tests.integration.test_plugin.test_c"] == ("skipped", "no gpu")
    assert cases["drm.the e2e stage"] == ("skipped", "missing: has not run")
    assert cases["drm.the distributed stage"][0] == "error"
    assert "drm.the integration stage" not in cases, "its tests say it"
    assert len(cases) == 3 + 4 + 4 + 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (JUNIT[:700], "is damaged (no element found"),
        ("", "is damaged (no element found"),
        ("not xml", "is damaged (syntax error"),
        ("<html/>", "is no junit.xml (its first element is 'html')"),
        (BOMB + "]><testsuites>&i;</testsuites>", "was not read: it declares dtd, which no test result needs"),
        (
            '<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuites>&x;</testsuites>',
            "was not read: it declares dtd",
        ),
        ('<?xml version="1.0" encoding="nonesuch"?><testsuites/>', "is damaged (unknown encoding"),
    ],
    ids=["truncated", "empty", "no xml", "other xml", "bomb", "external entity", "encoding"],
)
def test_a_junit_file_that_cannot_be_trusted_is_one_line_and_the_record_stands_in(
    tmp_path: Path, text: str, said: str
) -> None:
    result = merged(tmp_path, junit=text)
    (note,) = result.notes
    assert note.startswith(f"integration/junit.xml: {said}")
    assert note.endswith("run the stage again; the record of the run stands in")
    assert "\n" not in note
    cases = cases_of(result.text, tmp_path)
    assert cases["tests.integration.test_plugin.test_b[1-2]"] == ("failure", "assert 1 == 2")
    assert cases["tests.integration.test_plugin.test_c"][0] == "skipped"
    assert "root:" not in result.text


@pytest.mark.parametrize(
    "change",
    [("2026-11-23T09:59:58", "2026-11-22T09:59:58"), ("test_", "test_old_")],
    ids=["another day", "other tests"],
)
def test_a_junit_file_of_another_run_is_one_line_and_the_record_stands_in(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    text = re.sub(r'name="test_', 'name="test_old_', JUNIT) if change[0] == "test_" else JUNIT.replace(*change)
    result = merged(tmp_path, junit=text)
    (note,) = result.notes
    assert note.startswith("integration/junit.xml: is of another run than the record beside it")
    assert "test_old" not in result.text
    assert cases_of(result.text, tmp_path)["tests.integration.test_plugin.test_b[1-2]"][0] == "failure"


def test_a_deeply_nested_junit_file_is_read(tmp_path: Path) -> None:
    deep = "<testsuites>" + "<a>" * 20_000 + "</a>" * 20_000 + "</testsuites>"
    assert merged(tmp_path, junit=deep).notes == ()


def test_a_coverage_file_may_name_its_type_but_declare_nothing(tmp_path: Path) -> None:
    path = tmp_path / "coverage.xml"
    path.write_text('<!DOCTYPE coverage SYSTEM "http://cobertura.example/coverage-04.dtd"><coverage/>')
    with pytest.raises(Exception, match="declares"):
        read_xml(path, "coverage.xml")
    assert read_xml(path, "coverage.xml", with_dtd=True).tag == "coverage"
    path.write_text(BOMB + "]><coverage>&i;</coverage>")
    with pytest.raises(Exception, match="declares entities"):
        read_xml(path, "coverage.xml", with_dtd=True)


def test_what_tests_printed_is_left_out_before_the_file_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drm.reporting.junit.MOST_BYTES", 50_000)
    report = demo(tmp_path)
    many = "".join(
        f'<testcase classname="c" name="n{n}"><failure message="m">{"f" * 1_500}</failure>'
        f"<system-out>{'o' * 1_500}</system-out></testcase>"
        for n in range(30)
    )
    path = tmp_path / "integration" / "junit.xml"
    path.write_text(f'<testsuites><testsuite><testcase classname="x" name="test_a"/>{many}</testsuite></testsuites>')
    text = merge_junit(report, tmp_path).text
    assert len(text) < 50_000
    assert text.count("<failure") == 30
    assert "system-out" not in text
    monkeypatch.setattr("drm.reporting.junit.MOST_BYTES", 100)
    assert "more than GitLab reads; split the stages" in merge_junit(report, tmp_path).notes[0]


def test_openmetrics_stay_few_whatever_the_suite(tmp_path: Path) -> None:
    report = demo(tmp_path)
    leave(tmp_path / "run", suite("run"))
    for text in (render_openmetrics(report), render_openmetrics(build_report(tmp_path))):
        assert sum(not line.startswith("#") for line in text.splitlines()) <= MOST_METRICS
        assert text.endswith("\n# EOF\n")
    assert 'outcome="failed"} 1\n' in render_openmetrics(report)
    none = render_openmetrics(build_report(tmp_path / "none"))
    assert 'drm_stage_passing{stage="unit"} 0\n' in none


def test_ever_so_many_failures_are_few_annotations_with_the_rest_counted(tmp_path: Path) -> None:
    tape = Tape([f"tests/unit/t{n}.py::t" for n in range(50)])
    for n in range(50):
        tape.test(f"tests/unit/t{n}.py::t", n, Outcome.FAILED, message=f"cause {n % 25}")
    tape.close(60)
    leave_all(tmp_path, unit=tape)
    lines = annotation_lines(build_report(tmp_path))
    assert len(lines) == MOST
    assert lines[0].endswith("::cause 0 (and 1 other test for the same reason)")
    assert (
        lines[-1] == "::error title=DRM%3A not all is shown::16 more errors are in the job summary and in report.html"
    )


def test_a_test_outside_of_the_repository_has_no_file(tmp_path: Path) -> None:
    for name in ("/etc/passwd::t", "../x.py::t", "a\nb.py::t"):
        leave(tmp_path / "run", suite("run", {name: Outcome.FAILED}), exit_code=1)
        (line,) = annotation_lines(build_report(tmp_path))
        assert "file=" not in line


def test_a_command_is_escaped_as_documented() -> None:
    line = command("error", "100% of a:b, c", title="a:b, 100%", file="", line=3)
    assert line == "::error title=a%3Ab%2C 100%25,line=3::100%25 of a:b, c"
    assert commands(line) == [("error", {"title": "a:b, 100%", "line": "3"}, "100% of a:b, c")]


def test_a_comment_is_short_whatever_the_suite(tmp_path: Path) -> None:
    tests = {f"tests/unit/t{n}.py::{'é' * 3000}": Outcome.FAILED for n in range(60)}
    tape = Tape(tests)
    for n, test in enumerate(tests):
        tape.test(test, n / 10, Outcome.FAILED, message=f"{n} " + "é" * 3000)
    tape.close(60)
    leave_all(tmp_path, unit=tape)
    text = render_comment(build_report(tmp_path), name="DRM tests")
    assert len(text.encode()) <= LIMIT_BYTES
    assert "50 more are in the report." in text


def test_the_marker_of_a_comment_ends_where_it_should() -> None:
    assert comment_marker("DRM tests") == "<!-- drm ci status: DRM tests -->"
    assert comment_marker("--> <b>\n") == "<!-- drm ci status: ___ _b__ -->"
    assert len(comment_marker("x" * 1000)) < 120


def test_metrics_of_a_damaged_record_are_numbers_still(tmp_path: Path) -> None:
    leave_all(tmp_path)
    path = tmp_path / "unit" / "results.json"
    data = json.loads(path.read_text())
    data["summary"]["wall_s"] = None  # what JSON has for NaN
    path.write_text(json.dumps(data))
    (tmp_path / "unit" / "events.ndjson").unlink()
    text = render_openmetrics(build_report(tmp_path))
    assert "nan" not in text
    assert 'drm_wall_seconds{stage="unit"}' not in text


def test_the_junit_file_of_a_run_that_was_resumed_is_its_own(tmp_path: Path) -> None:
    """pytest writes when it began, which is when the run went on; the record has the first beginning."""
    report = demo(tmp_path, JUNIT.replace("2026-11-23T09:59:58", "2026-11-23T10:29:58"))
    (stage,) = [each for each in report.stages if each.name == "integration"]
    for resumed_at, notes in (("", 1), ("2026-11-23T10:29:57.000Z", 0)):
        (run,) = (replace(run, summary=replace(run.summary, resumed_at=resumed_at)) for run in stage.runs)
        stages = tuple(replace(each, runs=(run,)) if each.name == "integration" else each for each in report.stages)
        assert len(merge_junit(replace(report, stages=stages), tmp_path).notes) == notes
