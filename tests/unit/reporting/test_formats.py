from __future__ import annotations

import errno
import html.parser
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from page_reading import read_payload, skeleton
from recorded import GIB, ONE, Tape, decision, leave, leave_all, suite, write_events

from drm.model import events as ev
from drm.model.errors import ConfigError, DrmError
from drm.model.plan import Refusal, ScalingAction
from drm.model.resources import Resources
from drm.model.work import Outcome
from drm.reporting.collect import build_report
from drm.reporting.files import cannot_write, write_atomic
from drm.reporting.formats import write_reports
from drm.reporting.html import render_html
from drm.reporting.json_report import json_schema, read_report, render_json
from drm.reporting.markdown import LIMIT_BYTES, escape, render_markdown
from drm.reporting.report import Link, Report
from drm.reporting.text import one_line

ROOT = Path(__file__).parents[3]
HOSTILE = (
    "]]>",
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "a\nb\r\n## head\n\n",
    "`tick` ``two``",
    "| pipe | \\| pipe",
    "[link](http://example.com) ![image](x) www.example.com",
    "{{ 7 * 7 }} {% raw %}",
    "@octocat #12 *bold* __init__ ~~x~~ $x$",
    "\u202etfel\u202c \x00 \x1b[31m \ud800",
    "::set-output name=x::y",
    "x" * 100_000,
)


def demo(reports: Path) -> Report:
    """Return a report with something in every section."""
    cases = {"tests/integration/test_plugin.py::t": Outcome.PASSED, "tests/integration/test_<b>.py::t": Outcome.ERROR}
    leave_all(reports, integration=suite("integration", cases, message="E  1 | 2 is `not` <3>"))
    inner = Tape(["t1", "t2"])
    inner.add(ev.ScalingDecided, 0.3, decision=decision(alternatives=("hold: 12 s longer",)), outcome="granted")
    inner.add(ev.ScalingDecided, 0.4, decision=decision(ScalingAction.DENIED, "limit", limits_hit=("max_workers",)))
    for n in range(3):
        inner.add(ev.ScalingDecided, 1.0 + n, decision=decision(ScalingAction.HOLD, f"{n} tests wait", wanted=1))
    gpu = Resources(cpu_cores=2, memory_bytes=8 * GIB, gpus=1)
    inner.add(ev.WorkerReady, 0.5, worker_id="w1", worker_type="gpu", capacity=gpu, labels=("gpu",))
    for n in range(8):
        used = Resources(cpu_cores=n / 4, memory_bytes=n * GIB, gpus=0.5)
        inner.add(ev.UtilizationSampled, n, worker_id="w1", reserved=ONE, used=used, executors=1, running=1)
    inner.start("t1", 1.0)
    inner.end("t1", 2.0, None, cause="killed by SIGKILL")
    inner.test("t1", 3.0)
    inner.add(ev.WorkerLost, 4.0, worker_id="w1", reason="killed", requeued=1)
    refusal = Refusal(task_id="t2", reason="8 gpu of 1")
    inner.add(ev.PlanMade, 5.0, allocated=0, refusals=(refusal,), makespan_s=0.0, lower_bound_s=0.0)
    inner.close(8.0, reason="interrupted")
    write_events(reports / "e2e" / "runs" / "three kinds" / "events.ndjson", inner.events)
    leave(reports / "run", inner, exit_code=1, status="failed")
    totals = {"percent_covered": 93.4, "num_statements": 100, "missing_lines": 7}
    (reports / "coverage.json").write_text(json.dumps({"totals": totals}))
    slow = {"name": "bench[100]", "component": "resource_optimizer", "min_s": 0.22, "median_s": 0.23, "rounds": 5}
    slow |= {"baseline_s": 0.2, "change": 0.1, "limit": 0.08, "verdict": "regressed", "extra": {"gap": 0.02}}
    benchmarks = [slow, {"name": "bench[1]", "stats": {"min": 2e-6, "median": 0.0021, "rounds": 5}}]
    (reports / "performance" / "benchmark.json").write_text(json.dumps({"benchmarks": benchmarks}))
    links = [Link(title=title, url=f"https://ci.example/{title}?x=1&y=2") for title in ("run", "artifacts", "commit")]
    return replace(build_report(reports, now=datetime(2026, 11, 23, 12, tzinfo=UTC), links=links), drm_version="1.2.3")


def hostile(reports: Path) -> Report:
    tests = {f"tests/unit/test_{n}.py::{text}": Outcome.FAILED for n, text in enumerate(HOSTILE)}
    facts = {"commit": HOSTILE[1], "branch": HOSTILE[8], "machine": HOSTILE[2], "command": HOSTILE}
    tape = suite("unit", tests, message="".join(HOSTILE), **facts)
    leave(reports / "unit", tape, exit_code=1, status="failed", reason="".join(HOSTILE))
    (reports / "unit" / "runs" / HOSTILE[1].replace("/", "")).mkdir(parents=True)
    inner = reports / "unit" / "runs" / HOSTILE[1].replace("/", "")
    write_events(inner / "events.ndjson", Tape([HOSTILE[2]]).events)
    return build_report(reports)


def test_golden_json(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("report.json", json.dumps(json.loads(render_json(demo(tmp_path))), indent=1) + "\n")


def test_golden_markdown(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("report.md", render_markdown(demo(tmp_path)))


def test_golden_html(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("report.html", skeleton(render_html(demo(tmp_path)), with_header=True))


def test_report_json_is_read_back_equal(tmp_path: Path) -> None:
    for name, make in (("a", demo), ("b", hostile)):
        report = make(tmp_path / name)
        write_reports(tmp_path / name, formats=["json"], report=report)
        assert read_report(tmp_path / name / "report.json") == report


def test_report_json_newer_or_damaged_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_reports(tmp_path, formats=["json"])["json"]
    good = json.loads(path.read_text())
    for change, said in (
        ({"schema_version": 3}, "use a newer drm"),
        ({"schema_version": 1}, "reads from 2 on"),
        ({"stages": 3}, "stages should be a list"),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(ConfigError, match=said):
            read_report(path)


def test_a_link_in_report_json_that_leads_elsewhere_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_reports(tmp_path, formats=["json"])["json"]
    good = json.loads(path.read_text())
    for url in (
        "javascript:alert(1)",
        "https://a.example/(x)",
        'https://a.example/"><b>',
        "https://a\nb",
        "//a.example",
    ):
        path.write_text(json.dumps(good | {"context": {"links": [{"title": "run", "url": url}]}}))
        with pytest.raises(
            ConfigError, match=r"links\[0\]: the link 'run' leads to .* no plain http\(s\) address"
        ) as caught:
            read_report(path)
        assert "\n" not in str(caught.value)
    path.write_text(
        json.dumps(good | {"context": {"links": [{"title": "run", "url": "https://a.example/r/1?a=b&c=d#x"}]}})
    )
    assert read_report(path).links[0].title == "run"


def test_published_schema_is_the_one_of_the_values() -> None:
    published = json.loads((ROOT / "docs" / "report.schema.json").read_text())
    assert published == json_schema(), "python -m drm.reporting.json_report > docs/report.schema.json"


def test_report_json_fits_the_published_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    for name, make in (("a", demo), ("b", hostile)):
        validator.validate(json.loads(render_json(make(tmp_path / name))))
    assert not validator.is_valid({"schema_version": 1})


class Page(html.parser.HTMLParser):
    """Counts what a browser would make of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [f"{name}={value}" for name, value in attrs]


def test_html_has_no_script_but_its_own_no_address_and_nothing_of_hostile_names(tmp_path: Path) -> None:
    for make in (demo, hostile):
        report = make(tmp_path / make.__name__)
        text = render_html(report)
        page = Page(text)
        assert not {"img", "iframe", "link", "object"} & set(page.tags)
        assert page.tags.count("script") == len(re.findall("<script", text, re.IGNORECASE)) == 3
        text = skeleton(text)
        assert page.tags.count("b") == text.count("<b>")
        assert not [item for item in page.attributes if item.startswith(("on", "src=", "href=javascript"))]
        outside = [item for item in page.attributes if item.startswith("href=http")]
        assert outside == [f"href={link.url}" for link in report.links]
        assert "\x00" not in text
        assert "\u202e" not in text
        assert "x" * 1000 not in text
    assert "49 " not in text


def test_html_carries_hostile_names_as_data(tmp_path: Path) -> None:
    """Shown as they are in report.md and the page's tables: without what a page obeys, and cut."""
    payload = read_payload(render_html(hostile(tmp_path)))
    names = payload.header["runs"][0]["tests"]["names"]
    assert names == [one_line(text, 300) for text in HOSTILE]
    assert len(payload.text) < 100_000


def test_html_shows_every_failure_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    tests = {f"tests/unit/t.py::bad{n}": Outcome.FAILED for n in range(250)}
    tests |= {f"tests/unit/t.py::good{n}": Outcome.PASSED for n in range(100)}
    leave(tmp_path / "unit", suite("unit", tests), exit_code=1)
    text = render_html(build_report(tmp_path))
    assert len(re.findall(r"<td [^>]*>tests/unit/t.py::bad\d+</td>", text)) == 250
    assert "100 others are in report.json" in text


def test_html_stays_small_where_everything_failed(tmp_path: Path) -> None:
    tests = {f"tests/unit/t.py::bad{n}": Outcome.FAILED for n in range(3000)}
    leave(tmp_path / "unit", suite("unit", tests, message="E " + "x" * 900), exit_code=1)
    text = render_html(build_report(tmp_path))
    assert "2700 others are in report.json" in text
    assert len(text) < 600_000
    assert len(read_payload(text).header["runs"][0]["tests"]["names"]) == 3000, "the page's own table has them all"


def test_empty_report_renders_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    paths = write_reports(tmp_path / "none", out_dir=tmp_path / "out")
    assert sorted(paths) == ["html", "json", "md"]
    for path in paths.values():
        assert "Nothing has run" in path.read_text()


def test_markdown_escapes_whatever_could_be_markup(tmp_path: Path) -> None:
    for text in HOSTILE:
        shown = escape(text)
        assert "\n" not in shown
        assert "<" not in shown
        assert not re.search(r"(?<![\\&])[`|*\[\]#~$]", shown)
        assert not re.search(r"@\w", shown)
    assert escape("a_b __init__") == r"a_b \_\_init\_\_"
    lines = render_markdown(hostile(tmp_path)).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} <= {4, 5, 8, 11, 12}
    assert not [line for line in lines if "<script" in line or line.startswith("## head")]


@pytest.mark.parametrize("letter", ["a", "<", "_", "\U0001f4a5", "`"])
def test_markdown_stays_under_its_limit_whatever_the_input(tmp_path: Path, letter: str) -> None:
    reports = tmp_path
    tests = {f"tests/unit/t{n}.py::{letter * 500}": Outcome.FAILED for n in range(300)}
    for stage in ("unit", "integration", "e2e"):
        tape = suite(stage, tests, message=letter * 2000, branch=letter * 5000)
        for n in range(100):
            tape.add(ev.ScalingDecided, 1.0 + n, decision=decision(reason=letter * 900))
        write_events(reports / stage / "events.ndjson", tape.events)
    text = render_markdown(build_report(reports))
    assert len(text.encode("utf-8", "replace")) <= LIMIT_BYTES
    assert "## Failures (900)" in text
    assert "more rows are in report.json" in text
    left_out = re.search(
        r"^(\d+) rows of tables are left out of this page, which stays under 60 KB; ", text.splitlines()[-1]
    )
    assert left_out
    rows = sum(line.startswith("|") for line in text.splitlines()) - 2 * text.count("| --- |\n")
    assert int(left_out[1]) > 900 - rows


def test_markdown_stays_under_its_limit_with_ever_so_many_runs(tmp_path: Path) -> None:
    report = demo(tmp_path)
    (run,) = report.stages[3].runs
    crowd = replace(run, inner=tuple(replace(run.inner[0], name=f"run {n}") for n in range(1000)))
    stages = (*report.stages[:3], replace(report.stages[3], runs=(crowd,)), report.stages[4])
    text = render_markdown(replace(report, stages=stages))
    assert len(text.encode()) <= LIMIT_BYTES
    assert text.startswith("# ")


def test_folder_whose_name_is_no_utf8_is_linked(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/unit-\xff"))
    leave(folder, suite("unit"), stage="unit", components=["resource_optimizer"])
    page = write_reports(tmp_path, formats=["html"])["html"].read_text()
    assert 'href="unit-%FF/events.ndjson"' in page


def test_file_is_written_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "lone \ud800")
    assert path.read_text() == "lone ?"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DrmError, match="No space left"):
        write_atomic(path, "new")
    assert [(entry, entry.read_text()) for entry in tmp_path.iterdir()] == [(path, "lone ?")]


def test_unknown_format_and_full_disk_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'pdf' is not known; choose from json, md, html"):
        write_reports(tmp_path, formats=["pdf"])

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DrmError, match=r"report\.json: cannot be written \(No space left on device\)"):
        write_reports(tmp_path)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.ENOTDIR, "move away"),
        (errno.EEXIST, "move away"),
        (errno.EISDIR, "move away"),
        (errno.EACCES, "permissions"),
        (errno.EPERM, "permissions"),
        (errno.EROFS, "permissions"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_the_remedy_is_for_the_cause(code: int, remedy: str) -> None:
    error = cannot_write(Path("report.md"), OSError(code, os.strerror(code)))
    assert str(error).startswith(f"report.md: cannot be written ({os.strerror(code)}); ")
    assert remedy in error.remedy
    assert ("space" in error.remedy) == (code in (errno.ENOSPC, errno.EDQUOT))
    assert "another" in error.remedy


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DrmError, match=r"out/report\.json: cannot be written \(.*\); move away the file"):
        write_reports(tmp_path, out_dir=tmp_path / "out")


def test_a_folder_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="typo: there is no such folder; name the folder that"):
        write_reports(tmp_path / "typo")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: is no folder; name the folder that"):
        write_reports(tmp_path / "file", out_dir=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("methods", "shown"),
    [
        ((("default", 2),), False),
        ((("default", 1), ("history", 1)), True),
    ],
)
def test_a_plan_made_of_defaults_alone_is_not_shown(
    tmp_path: Path, methods: tuple[tuple[str, int], ...], shown: bool
) -> None:
    tape = Tape(["t1", "t2"])
    tape.add(ev.ForecastMade, 0.2, tasks=2, wall_s=2.0, longest_s=1.0, longest_task="t1", methods=methods)
    tape.add(ev.PlanMade, 0.2, allocated=2, refusals=(), makespan_s=2.0, lower_bound_s=1.5)
    tape.test("t1", 0.3)
    tape.test("t2", 0.9)
    tape.close(1.5)
    leave(tmp_path / "unit", tape)
    report = build_report(tmp_path)
    for text in (render_markdown(report), render_html(report)):
        assert ("2.0 s / 1.5 s" in text) == shown


def test_links_lead_from_another_folder_to_the_files(tmp_path: Path) -> None:
    leave(tmp_path / "reports" / "run", suite("run"))
    page = write_reports(tmp_path / "reports", out_dir=tmp_path / "site", formats=["html"])["html"].read_text()
    assert 'href="../reports/run/events.ndjson"' in page
