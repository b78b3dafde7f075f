"""A test may be called anything: nothing comes of its name in any format, and where it stands it is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path

import pytest
from hostile import NAMES, Page, commands, rendered
from recorded import Tape, decision, leave, leave_all, suite

from drm.model import events as ev
from drm.model.plan import Refusal, ScalingAction
from drm.model.work import Outcome
from drm.reporting.annotations import annotation_lines
from drm.reporting.collect import build_report
from drm.reporting.comment import comment_marker, render_comment
from drm.reporting.ctrf import render_ctrf
from drm.reporting.html import render_html
from drm.reporting.json_report import render_json
from drm.reporting.junit import merge_junit
from drm.reporting.junit_file import Suite, read_junit
from drm.reporting.markdown import LIMIT_BYTES, render_markdown
from drm.reporting.openmetrics import render_openmetrics
from drm.reporting.report import Report, State
from drm.reporting.terminal import closing_lines
from drm.reporting.text import one_line
from drm.reporting.trace import render_trace
from drm.summary import summarise

pytest.importorskip("cmarkgfm", reason="cmarkgfm is not installed: pip install cmarkgfm")
pytest.importorskip("defusedxml", reason="defusedxml is not installed: pip install defusedxml")

TABLES = {2, 3, 4, 5, 7, 8, 10, 11}  # columns that our tables have


def made(name: str, reports: Path) -> Report:
    """Return a report in which a test of that name failed with that message, on a branch of that name."""
    tests = {f"tests/unit/resource_optimizer/test_it.py::{name}": Outcome.FAILED, "tests/unit/t.py::ok": Outcome.PASSED}
    facts = {"branch": name, "machine": name, "command": (name,)}
    leave_all(reports)
    tape = suite("unit", tests, message=name, **facts)
    leave(reports / "unit", tape, exit_code=1, status="failed", reason=name)
    report = build_report(reports)
    assert report.state is State.FAILING
    assert report.tests.collected == 18
    return report


@lru_cache(maxsize=1)  # megabytes that no other test should carry along
def of(name: str, folder: Path) -> Report:
    return made(name, folder / "hostile")


@cache
def plain(folder: Path) -> tuple[Report, Page]:
    """Return the same report of a test with a harmless name, and its page."""
    report = made("plain", folder / "plain")
    return report, Page(render_html(report))


def check_html(report: Report, name: str, reports: Path) -> None:
    page = Page(render_html(report))
    _, usual = plain(reports.parent)
    assert sorted(page.tags) == sorted(usual.tags)
    assert {key for key, _ in page.attributes} == {key for key, _ in usual.attributes}
    assert page.comments == []
    assert one_line(name, 300)[:280] in page.text


def check_markdown(text: str, name: str, limit: int, *, comments: tuple[str, ...] = ()) -> None:
    assert len(text.encode("utf-8", "replace")) <= limit
    page = rendered(text.encode("utf-8", "replace").decode())
    assert set(page.tags) <= {"h1", "h2", "h3", "h4", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert {key for key, _ in page.attributes} == set()
    assert tuple(page.comments) == comments
    assert not re.search(r"@\w|#\d|!\d|GH-\d", page.text)
    assert not re.search(r"^/\w", text, re.MULTILINE), "a quick action of GitLab's"
    columns = {line.count("|") - line.count("\\|") - 1 for line in text.splitlines() if line.startswith("|")}
    assert columns <= TABLES
    shown = page.text.replace("\u200b", "")
    assert one_line(name, 300)[:180] in shown


def check_report_md(report: Report, name: str, reports: Path) -> None:
    check_markdown(render_markdown(report), name, LIMIT_BYTES)


def check_comment(report: Report, name: str, reports: Path) -> None:
    text = render_comment(report, name=name)
    check_markdown(text, name, 20_000, comments=(comment_marker(name).removeprefix("<!-- ").removesuffix(" -->"),))
    assert comment_marker("DRM tests") not in text
    assert text.startswith("<!-- drm ci status: ")


def check_json(report: Report, name: str, reports: Path) -> None:
    text = render_json(report)
    assert text.isascii()
    assert len(text.splitlines()) == 1
    run = json.loads(text)["stages"][0]["runs"][0]
    assert run["summary"]["tests"]["task_id"][0].partition("::")[2] == name, "nothing that is recorded is lost"


def check_terminal(report: Report, name: str, reports: Path) -> None:
    killed, waits = f"t.py::{name}", f"w.py::{name}"
    tape = Tape([killed, waits])
    refusal = Refusal(task_id=waits, reason=name)
    tape.add(ev.PlanMade, 0.3, allocated=1, refusals=(refusal,), makespan_s=1.0, lower_bound_s=1.0)
    tape.add(ev.ScalingDecided, 0.4, decision=decision(ScalingAction.DENIED, name))
    tape.start(killed, 1.0)
    tape.end(killed, 2.0, None, cause=name)
    tape.finish(killed, 3.0, Outcome.FAILED, message=name)
    tape.close(4.0, reason=name)
    lines = closing_lines(summarise(tape.events))
    assert len(lines) == 6
    assert commands("\n".join(lines)) == []
    assert all(line.isprintable() and len(line) < 2000 for line in lines)


def check_junit(report: Report, name: str, reports: Path) -> None:
    merged = merge_junit(report, reports / "hostile")
    (reports / "merged.xml").write_text(merged.text, encoding="utf-8")
    suites = read_junit(reports / "merged.xml", "merged.xml")
    cases = [case for found in suites for case in found.cases]
    assert [(case.verdict, len(case.name) < 1100) for case in cases if case.verdict] == [("failure", True)]
    assert len(cases) == 18
    assert merged.notes == ()
    assert _shown_in_xml(name) in next(case.message for case in cases if case.verdict)
    assert isinstance(suites[0], Suite)


def _shown_in_xml(name: str) -> str:
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", name[:900])


def check_annotations(report: Report, name: str, reports: Path) -> None:
    lines = annotation_lines(report)
    found = commands("\n".join(lines))
    assert len(found) == len(lines) <= 20
    assert [kind for kind, _, _ in found].count("error") == len(lines) == 1
    for _, properties, message in found:
        assert set(properties) <= {"file", "line", "title"}
        assert properties["file"] == "tests/unit/resource_optimizer/test_it.py"
        assert message.isprintable()
        assert one_line(name, 1000)[:900] in message
    assert all(len(line) < 4000 for line in lines)


def check_openmetrics(report: Report, name: str, reports: Path) -> None:
    lines = render_openmetrics(report).splitlines()
    assert lines[-1] == "# EOF"
    values = [line for line in lines if not line.startswith("#")]
    assert len(values) <= 30
    assert all(re.fullmatch(r'drm_[a-z_]+(\{[a-z]+="[a-z0-9_]+"\})? [0-9.e+-]+', line) for line in values)
    assert lines == render_openmetrics(plain(reports.parent)[0]).splitlines(), "no name is in it"


def check_exchanged(render: Callable[[Report], str]) -> Callable[[Report, str, Path], None]:
    """Return the check of a format in JSON that tools of others read: one line, sound text, of bounded length."""

    def check(report: Report, name: str, reports: Path) -> None:
        text = render(report)
        assert text.isascii()
        assert len(text.splitlines()) == 1
        assert len(text) < 200_000
        assert not re.search(r"\\ud[89a-f][0-9a-f]{2}", text.replace("\\\\", "")), "a surrogate alone is no text"
        json.loads(text)

    return check


FORMATS: dict[str, Callable[[Report, str, Path], None]] = {
    "html": check_html,
    "markdown and job summary": check_report_md,
    "comment": check_comment,
    "json": check_json,
    "terminal": check_terminal,
    "merged junit": check_junit,
    "annotations": check_annotations,
    "openmetrics": check_openmetrics,
    "ctrf": check_exchanged(render_ctrf),
    "trace": check_exchanged(render_trace),
}


@pytest.fixture(scope="module", params=NAMES)
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    yield NAMES[request.param], tmp_path_factory.mktemp("reports")
    of.cache_clear()


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_comes_of_a_hostile_name(hostile: tuple[str, Path], kind: str) -> None:
    name, folder = hostile
    FORMATS[kind](of(name, folder), name, folder)


def test_the_reader_of_commands_finds_those_that_are_there() -> None:
    assert commands("x\n  ::error file=a%3Ab,line=1::m%0An\nsay ##[warning]old") == [
        ("error", {"file": "a:b", "line": "1"}, "m\nn"),
        ("warning", {}, "old"),
    ]
