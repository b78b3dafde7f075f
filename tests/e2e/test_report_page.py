"""report.html as a person has it: in a browser, with a mouse, with keys, in the dark, on a phone, without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browsing import Opened, until
from hostile import NAMES
from recorded import Tape, leave, leave_all, suite

from benchmarks.reporting.synthetic import Shape
from benchmarks.reporting.synthetic import leave as leave_made_up
from drm.model.work import Outcome
from drm.reporting.analysis import analyse
from drm.reporting.collect import build_report
from drm.reporting.html import render_html
from drm.reporting.report import Report
from drm.summary import RunSummary

Open = Callable[..., Opened]
SECTIONS = ["attention", "scaling", "gantt", "utilization", "optimization", "stages", "benchmarks", "tests"]
GANTT, SCALING, LANES = "Tests of each executor", "Workers wanted and running", "Scaling decisions by reason"
UTILIZATION, WAITS, RATE = "Utilization of each worker", "Allocation time of each attempt", "Allocation success rate"


class Made:
    """A report and its page."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        leave_made_up(folder / shape.stage, shape)
        self.report: Report = build_report(folder)
        (self.summary,) = (run.summary for stage in self.report.sections for run in stage.runs)
        self.path = folder / "report.html"
        self.path.write_text(render_html(self.report), encoding="utf-8")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """20,000 tests, of which one fails."""
    return Made(tmp_path_factory.mktemp("many"), Shape(tests=20_000, workers=10, samples=5000, only_failed=True))


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("some"), Shape(tests=400, workers=4, samples=200, failing=0.05, flaky=0.05))


def whole_s(summary: RunSummary) -> float:
    """Return the end of the time axis."""
    return max([summary.wall_s, *(record.at_s + record.wall_s for record in summary.allocations.granted)])


def test_page_opens_from_a_file_and_says_what_it_has_to(opened: Open, some: Made) -> None:
    page = opened(some.path)
    assert page.complaints == []
    assert [url for url in page.requests if url != some.path.as_uri()] == []
    tops = [page.page.locator(f"#{name}").bounding_box()["y"] for name in ("verdict", "numbers", *SECTIONS)]
    assert tops == sorted(tops)
    assert page.page.locator("h1").inner_text() == some.report.headline
    assert page.page.locator("#numbers dd.value").count() == 6
    assert page.page.get_by_role("slider").count() == 6
    assert not page.page.locator(".static").first.is_visible(), "tables stand in for charts only where asked for"
    page.page.get_by_role("button", name="Show as tables").first.click()
    assert page.page.locator("#scaling .static").is_visible()


@pytest.mark.parametrize("width", [1400, 360])
def test_one_failed_test_among_20000_is_seen_where_and_when_it_ran(opened: Open, many: Made, width: int) -> None:
    page = opened(many.path, width=width)
    failed = [place for place, test in enumerate(many.summary.tests) if test.outcome is Outcome.FAILED]
    assert len(failed) == 1
    (record,) = [one for one in many.summary.allocations.granted if one.test == failed[0]]
    plot = page.plot(GANTT)
    found = plot.drawn_in("failed")
    wanted = plot.x(record.at_s, whole_s(many.summary))
    assert found, "one failed test among 20,000"
    assert all(abs(x - wanted) <= 3 for x in found)
    ys = [y for column in found.values() for y in column]
    assert min(ys) < 14 <= max(ys), "the tick above the lanes, and on its lane"
    lane = page.page.evaluate("() => document.querySelector('#gantt .lead').textContent")
    assert "20,000 tests" in lane
    plot.root.focus()
    page.page.keyboard.press("PageDown")
    page.page.keyboard.press("ArrowDown")
    assert "failed: " + many.summary.tests[failed[0]].task_id.partition("::")[2] in plot.root.get_attribute(
        "aria-valuetext"
    )


def test_charts_show_what_was_recorded(opened: Open, some: Made) -> None:
    page, summary = opened(some.path), some.summary
    end_s = whole_s(summary)
    steps = analyse("run", summary).pool
    plot = page.plot(SCALING)
    line = plot.drawn_in("accent")
    base = max(max(ys) for ys in plot.drawn_in("tint").values())
    most = max(max(step.running, step.wanted) for step in steps)
    compared = 0
    for step, following in pairwise(steps):
        start, end = (plot.x(at_s, end_s) for at_s in (step.at_s, following.at_s))
        if end - start >= 30 and step.running:
            height = base - min(line[(start + end) // 2])
            assert abs(height - (base - 8) * step.running / (most * 1.15)) <= 4, f"workers at {step.at_s}"
            compared += 1
    assert compared, "a step that is long enough to look at"
    lanes = page.plot(LANES)
    assert lanes.drawn_in("accent"), "scaled up"
    assert lanes.drawn_in("failed"), "denied"
    waits = page.plot(WAITS)
    dots = waits.drawn_in("used")
    longest = max(summary.allocations.granted, key=lambda record: record.waited_s)
    top = min(min(ys) for ys in dots.values())
    highest = max(x for x, ys in dots.items() if min(ys) == top)
    assert abs(highest - waits.x(longest.at_s, end_s)) <= 4
    assert page.plot(RATE).drawn_in("passed")


def test_the_critical_path_is_marked_below_its_lane(opened: Open, some: Made) -> None:
    page, (last, *_) = opened(some.path), analyse("run", some.summary).makespan.critical_path[::-1]
    plot = page.plot(GANTT)
    found = plot.drawn_in("text")
    lanes = page.page.evaluate("() => document.querySelector('#gantt canvas').height")
    ys = {y for column in found.values() for y in column}
    assert len(ys) == 2, "one line, two pixels high"
    assert 14 < min(ys) < lanes
    assert abs(max(found) - plot.x(last.finished_s, whole_s(some.summary))) <= 4
    box = plot.place()
    page.page.mouse.move(box["x"] + plot.x(last.finished_s, whole_s(some.summary)) - 1, box["y"] + min(ys) - 8)
    until(lambda: "on the critical path" in page.page.locator("#tip").inner_text(), "it is told")
    assert page.page.get_by_role("heading", name="How good the predictions were").is_visible()


def test_utilization_is_darker_where_more_was_used(opened: Open, some: Made) -> None:
    page, summary = opened(some.path), some.summary
    plot, end_s = page.plot(UTILIZATION), whole_s(summary)
    series = summary.utilization[0]
    samples = [(share, at) for share, at in zip(series.used_cpu_cores, series.elapsed_s, strict=True)]
    samples = [sample for sample in samples if plot.x(sample[1], end_s) + 2 < plot.right]
    low, high = min(samples), max(samples)
    dark, light = (sum(plot.at(plot.x(at, end_s) + 1, 3)) for _, at in (high, low))
    assert dark < light
    box = plot.place()
    page.page.mouse.click(box["x"] + plot.left + 200, box["y"] + 5)
    until(lambda: page.page.get_by_role("slider").count() == 7, "the lines of the chosen worker are there")


def test_dragging_over_one_chart_zooms_all_and_a_double_click_shows_all_again(opened: Open, some: Made) -> None:
    page = opened(some.path)
    whole, before = page.view, page.images()
    page.plot(GANTT).drag(0.25, 0.5)
    until(lambda: page.view != whole, "the bar tells of the part in view")
    until(lambda: all(a != b for a, b in zip(before, page.images(), strict=True)), "every chart is drawn anew")
    assert re.search(r"t=[\d.]+-[\d.]+", page.hash)
    first, last = (float(end) for end in re.findall(r"t=([\d.]+)-([\d.]+)", page.hash)[0])
    assert first / whole_s(some.summary) == pytest.approx(0.25, abs=0.01)
    assert last / whole_s(some.summary) == pytest.approx(0.5, abs=0.01)
    zoomed = page.images()
    again = opened(some.path, anchor=page.hash)
    assert again.view == page.view, "the address holds what is in view"
    until(lambda: again.images() == zoomed, "it is drawn as it was")
    page.plot(SCALING).root.dblclick(position={"x": 600, "y": 60})
    until(lambda: page.view == whole, "all is in view")
    page.page.mouse.move(0, 0)
    until(lambda: page.images() == before, "every chart is as it was")


def test_keys_move_the_cursor_zoom_and_tell(opened: Open, some: Made) -> None:
    page = opened(some.path)
    plot, whole = page.plot(LANES), page.view
    plot.root.focus()
    page.page.keyboard.press("PageDown")
    first = plot.root.get_attribute("aria-valuetext")
    record = some.summary.scaling[0]
    assert record.decision.reason in first
    assert float(plot.root.get_attribute("aria-valuenow")) == pytest.approx(record.elapsed_s, abs=0.002)
    assert page.page.locator("#tip").is_visible()
    page.page.keyboard.press("+")
    until(lambda: page.view != whole, "zoomed in")
    assert page.page.locator(".live").inner_text().startswith("Showing ")
    page.page.keyboard.press("Escape")
    until(lambda: page.view == whole, "all is in view")


def test_pointing_at_a_denied_decision_gives_the_whole_reason(opened: Open, some: Made) -> None:
    page = opened(some.path)
    denied = next(one for one in some.summary.scaling if one.decision.action.value == "denied")
    plot = page.plot(LANES)
    codes = list(dict.fromkeys(one.decision.trigger.code for one in some.summary.scaling))
    box = plot.place()
    y = box["y"] + codes.index(denied.decision.trigger.code) * 22 + 11
    page.page.mouse.move(box["x"] + plot.x(denied.elapsed_s, whole_s(some.summary)), y)
    told = until(lambda: page.page.locator("#tip").inner_text(), "the decision is told")
    assert told.startswith("✕ denied")
    assert denied.decision.reason in told
    assert "limits hit: " + ", ".join(denied.decision.limits_hit) in told


def rows(page: Opened) -> list[str]:
    return list(page.page.locator("#tests .view [role=row] .name").all_inner_texts())


def test_table_holds_every_test_but_only_those_in_sight_are_in_the_page(opened: Open, many: Made) -> None:
    page = opened(many.path)
    table = page.page.get_by_role("table", name="Tests")
    assert table.get_attribute("aria-rowcount") == "20001"
    assert len(rows(page)) < 60
    worst = next(test.task_id for test in many.summary.tests if test.outcome is Outcome.FAILED)
    assert worst.partition("::")[2] in rows(page)[0], "the worst first"
    before = rows(page)
    page.page.locator("#tests .view").evaluate("(view) => { view.scrollTop = view.scrollHeight; }")
    until(lambda: rows(page) != before, "the end is shown")
    assert page.page.locator("#tests .view [aria-rowindex='20001']").count() == 1
    assert len(rows(page)) < 60


def test_filter_order_and_run_are_in_the_address(opened: Open, some: Made) -> None:
    page = opened(some.path)
    table, search = page.page.get_by_role("table", name="Tests"), page.page.get_by_role("searchbox")
    search.fill("test_00012")
    wanted = [test.task_id for test in some.summary.tests if "test_00012" in test.task_id]
    until(lambda: table.get_attribute("aria-rowcount") == str(len(wanted) + 1), "the filter has been used")
    page.page.get_by_role("columnheader", name="test").get_by_role("button").click()
    assert [name.split()[0] for name in rows(page)] == [name.partition("::")[2] for name in sorted(wanted)]
    assert "q=test_00012" in page.hash
    assert "sort=name" in page.hash
    again = opened(some.path, anchor=page.hash)
    assert rows(again) == rows(page)
    search.fill("")
    page.page.get_by_role("button", name=re.compile("failed")).last.click()
    failed = sum(test.outcome is Outcome.FAILED for test in some.summary.tests)
    until(lambda: table.get_attribute("aria-rowcount") == str(failed + 1), "only the failed ones are left")
    page.page.locator("#tests .view [role=row]").first.click()
    assert page.page.locator(".chosen-test pre").inner_text() in {test.message.strip() for test in some.summary.tests}
    whole = page.view
    page.page.locator(".chosen-test button").click()
    until(lambda: page.view != whole, "its moment is in view")


def test_what_needs_a_person_leads_to_its_moment(opened: Open, some: Made) -> None:
    page = opened(some.path)
    whole = page.view
    page.page.get_by_role("button", name="Show on the timeline").first.click()
    until(lambda: page.view != whole, "its moment is in view")
    first, last = (float(end) for end in re.findall(r"t=([\d.]+)-([\d.]+)", page.hash)[0])
    row = page.page.locator("#attention tr[data-at]").first
    assert first - 0.01 <= float(row.get_attribute("data-at")) <= last + 0.01
    hidden = page.page.locator("#attention tbody tr[hidden]").count()
    page.page.get_by_role("button", name=f"Show {hidden} more").click()
    assert page.page.locator("#attention tbody tr[hidden]").count() == 0


def brightness(page: Opened, where: str) -> int:
    told = page.page.locator(where).first.evaluate("(found) => getComputedStyle(found).backgroundColor")
    return sum(int(channel) for channel in re.findall(r"\d+", told)[:3])


def test_dark_is_the_systems_choice_or_a_persons(opened: Open, some: Made) -> None:
    light, dark = opened(some.path), opened(some.path, color_scheme="dark")
    assert brightness(dark, "body") < 150 < 600 < brightness(light, "body")
    assert light.images() != dark.images()
    as_light = light.images()
    light.page.get_by_role("button", name="Use dark colours").click()
    until(lambda: light.images() == dark.images(), "every chart is drawn in dark colours")
    assert brightness(light, "body") == brightness(dark, "body")
    light.page.emulate_media(color_scheme="dark")
    light.page.get_by_role("button", name="Use light colours").click()
    until(lambda: light.images() == as_light, "every chart is drawn in light colours")
    dark.page.emulate_media(color_scheme="light")
    until(lambda: brightness(dark, "body") > 600, "the system's choice is followed")
    assert light.complaints == dark.complaints == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 1400), ("light", 360)])
def test_axe_finds_nothing_serious(opened: Open, some: Made, scheme: str, width: int) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed: pip install axe-playwright-python"
    )
    page = opened(some.path, color_scheme=scheme, width=width)
    page.page.get_by_role("button", name="Show as tables").first.click()
    found = axe.Axe().run(page.page).response["violations"]
    serious = [item for item in found if item["impact"] in ("serious", "critical")]
    assert [(item["id"], [node["html"][:200] for node in item["nodes"][:3]]) for item in serious] == []


@pytest.mark.parametrize("shape", [Shape(tests=1, workers=1, samples=3, gpus=False), Shape(tests=60, unfinished=True)])
def test_a_phone_has_all_of_it(opened: Open, tmp_path: Path, shape: Shape) -> None:
    page = opened(Made(tmp_path, shape).path, width=360, height=740)
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 360
    longest = page.page.locator("#optimization button.link").first
    longest.evaluate("(button) => { button.textContent = 'test_' + 'x'.repeat(300); }")
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 360, "a long name is broken"
    assert page.page.get_by_role("slider").count() == 6
    for plot in page.page.get_by_role("slider").all():
        box = plot.bounding_box()
        assert 250 < box["width"] <= 360
    assert page.complaints == []


def test_nothing_recorded_makes_a_page_too(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_html(build_report(tmp_path)))
    page = opened(path)
    assert "Nothing has run" in page.page.locator("h1").inner_text()
    assert page.page.get_by_role("slider").count() == 0
    assert page.complaints == []


def test_nothing_comes_of_hostile_names(opened: Open, tmp_path: Path) -> None:
    tests = {f"tests/unit/t.py::{name[:5000]}": Outcome.FAILED for name in NAMES.values()}
    tape = suite("unit", tests, message="".join(name[:2000] for name in NAMES.values()) + "x" * 2**20)
    leave_all(tmp_path)
    leave(tmp_path / "unit", tape, exit_code=1, reason=NAMES["script"])
    back = Tape(["t"])  # the clock goes back
    back.start("t", 5.0)
    back.end("t", -3.0)
    back.finish("t", -3.0)
    back.close(-2.0)
    leave(tmp_path / "run", back)
    path = tmp_path / "report.html"
    path.write_text(render_html(build_report(tmp_path)), encoding="utf-8", errors="replace")
    page = opened(path)
    assert page.complaints == []
    assert page.page.locator("img, iframe").count() == 0
    page.page.get_by_role("searchbox").fill("<script>alert(1)")
    shown = until(lambda: [name for name in rows(page) if name.startswith("<script>")], "the name is found")
    assert shown[0].startswith("<script>alert(1)</script>")
    page.page.get_by_role("searchbox").fill("")
    run = page.page.locator("select")
    names = [option.split(":")[0] for option in run.locator("option").all_inner_texts()]
    run.select_option(str(names.index("run")))
    until(
        lambda: page.page.get_by_role("table", name="Tests").get_attribute("aria-rowcount") == "2", "its test is shown"
    )
    assert page.complaints == []


JENKINS = "sandbox; default-src 'none'; img-src 'self'; style-src 'self';"


@pytest.mark.parametrize("how", ["switched off", "Jenkins", "damaged"])
def test_without_scripts_the_page_says_the_same(opened: Open, some: Made, tmp_path: Path, how: str) -> None:
    page = opened(None, java_script_enabled=how != "switched off")
    text = some.path.read_text()
    if how == "damaged":
        path = tmp_path / "report.html"
        path.write_text(text.replace('id="data">H4sI', 'id="data">H4sX'))
        page.go(path.as_uri())
        assert page.page.evaluate("() => document.documentElement.dataset.drawn") == "failed"
    else:
        answer = {"body": text, "content_type": "text/html", "headers": {"Content-Security-Policy": JENKINS}}
        page.page.route("https://jenkins.example/report.html", lambda route: route.fulfill(**answer))
        page.page.goto("https://jenkins.example/report.html")
    seen = page.page.locator("body").inner_text()
    failed = next(test for test in some.summary.tests if test.outcome is Outcome.FAILED)
    for words in (some.report.headline, "slot utilisation", failed.task_id, failed.message.split()[-1], "has not run"):
        assert words in seen
    for name in ("scaling", "gantt", "utilization", "optimization", "stages", "tests"):
        assert (
            page.page.locator(f"#{name}").get_by_role("table").or_(page.page.locator(f"#{name} svg")).first.is_visible()
        )
    assert page.page.locator("#gantt svg path[fill='#c9252d']").count() > 0
    assert page.page.get_by_role("slider").count() == 0 or how == "damaged"


def test_a_live_page_takes_over_what_is_new(opened: Open, some: Made, tmp_path: Path) -> None:
    later = Made(tmp_path, Shape(tests=450, workers=4, samples=200))
    answers = [render_html(made.report, live=True) for made in (some, later)]
    asked: list[str] = []

    def serve(route: Any) -> None:
        asked.append(route.request.url)
        if "/events" in route.request.url:
            body = "retry: 600000\n\nevent: report\ndata: 1\n\n"
            route.fulfill(body=body, content_type="text/event-stream")
        else:
            number = sum("/events" not in url for url in asked)
            route.fulfill(body=answers[min(number, 2) - 1], content_type="text/html")

    page = opened(None)
    page.page.route("http://127.0.0.1:9/**", serve)
    page.go("http://127.0.0.1:9/?token=secret#q=test_00043")
    headline = page.page.locator("h1")
    until(lambda: headline.inner_text() == later.report.headline, "the page has taken over the later report")
    table = page.page.get_by_role("table", name="Tests")
    until(lambda: table.get_attribute("aria-rowcount") == "11", "the filter stands, over the tests that are there now")
    assert "http://127.0.0.1:9/events?token=secret" in asked
    assert page.complaints == []
