"""What report.html is made of: its payload, its policy, its drawings without scripts."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_reading import read_packed, read_payload, skeleton
from recorded import ONE, Tape, decision, leave, leave_all, suite

from benchmarks.reporting.synthetic import Shape
from benchmarks.reporting.synthetic import leave as leave_made_up
from drm.model.events import RunFinished, ScalingDecided, UtilizationSampled
from drm.model.trends import FlakyTest, PastRun, Trends
from drm.model.work import Outcome
from drm.reporting.analysis import analyse
from drm.reporting.collect import build_report
from drm.reporting.findings import Numbers
from drm.reporting.formats import write_reports
from drm.reporting.html import render_html
from drm.reporting.page_columns import Columns, pack
from drm.reporting.page_data import STATUSES
from drm.reporting.page_findings import HEIGHT, WIDTH, benchmark_views, flaky_rows, trend_views
from drm.reporting.page_numbers import six_numbers
from drm.reporting.page_static import run_views
from drm.reporting.report import Benchmark, Report

WHOLE = st.integers(-(2**31) + 1, 2**31 - 1)


@given(
    st.lists(st.integers(0, 2**32 - 2)), st.lists(WHOLE), st.lists(st.integers(0, 2**30)), st.lists(st.floats(0, 1.2))
)
def test_columns_are_read_back(unsigned: list[int], signed: list[int], steps: list[int], shares: list[float]) -> None:
    columns = Columns()
    places = [columns.unsigned(unsigned), columns.signed(signed), columns.steps(steps), columns.shares(shares, 1.0)]
    payload = read_packed(pack({"name": "</script>\ud800\x00"}, columns))
    assert payload.header == {"name": "</script>\ud800\x00"}
    assert payload.column(places[0]) == unsigned
    assert payload.column(places[1]) == signed
    assert payload.steps(places[2]) == steps
    assert payload.column(places[3]) == [int(share * 200 + 0.5) for share in shares]


def test_columns_take_what_does_not_fit_for_the_nearest_that_does() -> None:
    columns = Columns()
    places = [columns.unsigned([-5, 2**40]), columns.signed([-(2**40), 2**40]), columns.shares([-1, 9], 2.0)]
    places.append(columns.shares([5.0], 0.0))
    payload = read_packed(pack({}, columns))
    assert payload.column(places[0]) == [0, 2**32 - 2]
    assert payload.column(places[1]) == [-(2**31) + 1, 2**31 - 1]
    assert payload.column(places[2]) == [0, 255]
    assert payload.column(places[3]) == [0]


def retried(folder: Path) -> Report:
    """Leave a run of three tests on two executors: one is killed and passes when it is tried again, one fails."""
    tape = Tape(["a.py::t1", "a.py::t2", "b.py"])
    tape.start("a.py::t1", 1.0)
    tape.end("a.py::t1", 1.5, None, cause="killed by SIGKILL")
    tape.start("a.py::t2", 1.25, executor="w1-e2")
    tape.end("a.py::t2", 2.0, Outcome.FAILED, executor="w1-e2", wall_s=0.75)
    tape.finish("a.py::t2", 2.0, Outcome.FAILED, message="E  no")
    tape.start("a.py::t1", 2.5, attempt=2)
    tape.end("a.py::t1", 3.0, attempt=2)
    tape.finish("a.py::t1", 3.0, attempts=2, flaky=True)
    tape.close(4.0)
    leave(folder / "run", tape, exit_code=1, status="failed")
    return build_report(folder)


def test_payload_tells_where_and_when_every_attempt_ran(tmp_path: Path) -> None:
    payload = read_payload(render_html(retried(tmp_path)))
    (run,) = payload.header["runs"]
    attempts, tests = run["attempts"], run["tests"]
    assert [lane[0] for lane in attempts["lanes"]] == ["w1-e1", "w1-e2"]
    assert [lane[2] for lane in attempts["lanes"]] == [2, 1]
    assert payload.steps(attempts["test"]) == [0, 0, 1]
    assert payload.column(attempts["gap"]) == [1000, 1000, 1250], "ms from the end of the one before on its executor"
    assert payload.column(attempts["wall"]) == [5000, 5000, 7500]
    assert [STATUSES[status] for status in payload.column(attempts["status"])] == ["retried", "flaky", "failed"]
    assert [STATUSES[status] for status in payload.column(tests["status"])] == ["flaky", "failed", "not run"]
    assert tests["files"] == ["a.py", "b.py"]
    assert tests["names"] == ["t1", "t2", ""]
    assert [tests["messages"][place] for place in payload.column(tests["message"])] == ["", "E  no", ""]


def test_statuses_are_in_the_order_in_which_one_hides_another() -> None:
    assert STATUSES.index("passed") < STATUSES.index("flaky") < STATUSES.index("failed") < STATUSES.index("error")
    assert {outcome.value.replace("_", " ") for outcome in Outcome} <= set(STATUSES)


def test_of_bars_that_share_a_place_the_worst_is_drawn(tmp_path: Path) -> None:
    names = {f"tests/t.py::t{n}": Outcome.FAILED if n == 777 else Outcome.PASSED for n in range(2000)}
    leave(tmp_path / "run", suite("run", names), exit_code=1)
    (run,) = (run for stage in build_report(tmp_path).sections for run in stage.runs)
    (view,) = run_views([(run, False)])
    (lane,) = view.lanes
    bad = [bar for bar in lane.bars if bar.status == "failed"]
    assert [bar.length for bar in bad] in ([1], [2])
    assert abs(bad[0].start - 500 * 777 / 2000) < 3
    covered = [place for bar in lane.bars for place in range(bar.start, bar.start + bar.length)]
    assert covered == sorted(set(covered))


def test_policy_lets_only_the_pages_own_code_run(tmp_path: Path) -> None:
    for live in (False, True):
        page = render_html(retried(tmp_path / str(live)), live=live)
        policy = html.unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[0])
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules.pop("connect-src", None) == ("'self'" if live else None), "only a live page may fetch, and itself"
        for kind in ("script", "style"):
            code = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
            assert rules.pop(f"{kind}-src").split() == [digest(text) for text in code]
        assert rules == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
        assert ('data-live="1"' in page) == live


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_page_names_no_address_to_load_from(tmp_path: Path) -> None:
    page = skeleton(render_html(retried(tmp_path)))
    assert not re.search(r"\b(src|srcset|action|poster)=|url\(|@import", page)
    assert all(not target.startswith(("http", "//")) for target in re.findall(r'href="([^"]*)"', page))


def test_page_has_its_sections_in_order(tmp_path: Path) -> None:
    page = render_html(retried(tmp_path))
    wanted = ["verdict", "numbers", "attention", "scaling", "gantt", "utilization", "optimization", "stages"]
    wanted += ["benchmarks", "tests", "environment"]
    assert re.findall(r'<(?:section|header|dl)[^>]* id="(\w+)"', page) == wanted


def test_a_project_without_components_has_no_table_of_them(tmp_path: Path) -> None:
    leave(tmp_path / "unit", suite("unit"), of_components=[])
    page = render_html(build_report(tmp_path))
    assert "<h2>Stages</h2>" in page
    assert 'aria-label="Components by stage"' not in page
    leave_all(tmp_path / "all")
    assert 'aria-label="Components by stage"' in render_html(build_report(tmp_path / "all"))


def test_success_is_never_rounded_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leave_all(tmp_path)
    report = build_report(tmp_path)
    found = Numbers(placed=19_999, refused=1, success_rate=19_999 / 20_000)
    monkeypatch.setattr("drm.reporting.page_numbers.numbers_of", lambda _: found)
    success = six_numbers(report)[2]
    assert (success.value, success.note, success.is_bad) == ("99.9%", "19999 of 20000 tests placed", True)


def test_benchmarks_are_drawn_on_one_scale(tmp_path: Path) -> None:
    leave_all(tmp_path)
    slow = Benchmark(
        name="slow", min_s=0.2, median_s=0.2, rounds=5, change=0.2, low=0.1, high=0.4, past_s=(1.0, 3.0, 2.0)
    )
    same = replace(slow, name="same", change=0.0, low=-0.1, high=0.1, past_s=(1.0,))
    first = Benchmark(name="first", min_s=0.1, median_s=0.1, rounds=5)
    views = benchmark_views(replace(build_report(tmp_path), benchmarks=(slow, same, first)))
    assert views[2].whisker is None
    for view in views[:2]:
        assert view.whisker is not None
        assert 0 < view.whisker.low < view.whisker.change < view.whisker.high < WIDTH
        assert view.whisker.zero == WIDTH / 2
    assert views[1].whisker.change == WIDTH / 2
    assert views[0].change == "+20.0% [+10.0%, +40.0%]"
    points = [tuple(map(float, point.split(","))) for point in views[0].line.split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[1][1] < points[2][1] < points[0][1] < HEIGHT, "more is higher up"
    assert views[1].line == "", "one run is no line"


def test_trends_tell_how_runs_of_a_kind_moved() -> None:
    runs = tuple(
        PastRun(run_id=f"r{n}", suite="unit", at="", commit="", wall_s=10.0 + n, tests=5, bad=n % 2, flaky=0)
        for n in range(4)
    )
    trends = Trends(branch="main", runs=(*runs, replace(runs[0], suite="alone")))
    ((title, views),) = trend_views(trends)
    assert title == "unit, 4 runs on main"
    unnamed = Trends(runs=tuple(replace(run, suite="") for run in runs))
    assert trend_views(unnamed)[0][0] == "pytest --drm, 4 runs"
    told = {view.title: (view.value, view.note, view.line != "") for view in views}
    assert told["duration"] == ("13.0 s", "10.0 s to 13.0 s", True)
    assert told["failed tests"] == ("1", "0 to 1", True)
    assert told["slot utilisation"] == ("-", "", False)
    assert flaky_rows([FlakyTest(task_id="t", runs=8, flaky=2, rate=0.25)]) == [("t", "25.0%", "2 of 8 runs")]


def test_predictions_environment_and_downloads_are_in_the_page(tmp_path: Path) -> None:
    shape = Shape(tests=60, workers=2, samples=10)
    leave_made_up(tmp_path / shape.stage, shape)
    (tmp_path / "report.junit.xml").write_text("<testsuites/>")
    write_reports(tmp_path, formats=("json", "html"))
    report = build_report(tmp_path)
    (run,) = (run for stage in report.sections for run in stage.runs)
    found = analyse(run.name, run.summary).prediction
    text = (tmp_path / "report.html").read_text()
    for words in (
        "Quality of the predictions",
        f"{found.wasted_gib_hours:.3g} of {found.reserved_gib_hours:.3g} GiB-hours",
        f"{run.summary.executors} executors at most; 2 workers",
    ):
        assert words in text
    links = re.findall(r'<a href="([^"]*)" download>', text)
    assert links == ["report.json", "report.junit.xml"], "what is written now, and what was there"


def test_executors_that_are_scaled_are_counted_as_such(tmp_path: Path) -> None:
    tape = suite("run")
    known = {"worker_id": "w1", "reserved": ONE, "used": ONE}
    scaled = decision(worker_type="executors of w1", workers=0, wanted=4)
    tape.events = [event for event in tape.events if not isinstance(event, UtilizationSampled | RunFinished)]
    tape.add(ScalingDecided, 0.1, decision=scaled)
    tape.add(UtilizationSampled, 1.0, executors=4, running=4, **known)
    tape.add(UtilizationSampled, 2.0, executors=4, running=4, **known)
    tape.add(ScalingDecided, 2.5, decision=replace(scaled, workers=4, wanted=2))
    tape.add(UtilizationSampled, 3.0, executors=2, running=1, **known)
    tape.close(4.0)
    leave(tmp_path / "run", tape)
    (run,) = read_payload(render_html(build_report(tmp_path))).header["runs"]
    assert run["scaled"] == "executor"
    assert run["pool"] == [[0.1, 0, 4], [1.0, 4, 4], [2.5, 4, 2], [3.0, 2, 2]], "seconds, running, wanted"
