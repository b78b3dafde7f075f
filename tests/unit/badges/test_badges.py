from __future__ import annotations

import builtins
import errno
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recorded import SLUGS, leave, leave_all, suite

from drm.cli import main as drm_main
from drm.github_badge_generator import COLORS, Badge, badges_of, generate_badges, main
from drm.model.errors import ConfigError, DrmError
from drm.model.work import Outcome
from drm.reporting.collect import build_report
from drm.reporting.formats import write_reports
from drm.reporting.report import Cell, State

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STATES: dict[str, Callable[[Path], None]] = {}


def example(make: Callable[[Path], None]) -> Callable[[Path], None]:
    STATES[make.__name__] = make
    return make


@example
def passing(reports: Path) -> None:
    leave_all(reports)


@example
def failing(reports: Path) -> None:
    tests = {f"tests/unit/resource_optimizer/test_a.py::t{n}": Outcome.PASSED for n in range(9)}
    leave_all(reports, unit=suite("unit", tests | {"tests/unit/resource_optimizer/test_a.py::bad": Outcome.FAILED}))


@example
def error(reports: Path) -> None:
    leave_all(reports)
    path = reports / "unit" / "events.ndjson"
    path.write_bytes(path.read_bytes()[:-100])


@example
def partial(reports: Path) -> None:
    leave_all(reports)
    shutil.rmtree(reports / "e2e")


@example
def stale(reports: Path) -> None:
    later = suite("unit", commit="fff999")
    object.__setattr__(later.events[0], "at", "2026-11-24T00:00:00.000Z")
    leave_all(reports, unit=later)


@example
def no_status(reports: Path) -> None:
    reports.mkdir()


def shown(folder: Path, name: str = "drm_status") -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return data


def paint(reports: Path, out: Path, **options: Any) -> list[Path]:
    return generate_badges(build_report(reports, now=NOW), out, now=NOW, **options)


@pytest.mark.parametrize("state", STATES)
def test_golden_of_every_state(state: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    STATES[state](tmp_path / "reports")
    paint(tmp_path / "reports", tmp_path / "out")
    for suffix in ("svg", "json", "meta.json"):
        golden(f"badge_{state}.{suffix}", (tmp_path / "out" / f"drm_status.{suffix}").read_text())
    assert shown(tmp_path / "out")["message"].startswith(state.replace("_", " "))


def test_all_badges_of_a_project_with_stages(tmp_path: Path) -> None:
    passing(tmp_path / "reports")
    names = {path.stem for path in paint(tmp_path / "reports", tmp_path / "out")}
    assert names == {
        "drm_status",
        *(f"drm_{slug}_status" for slug in SLUGS),
        "drm_integration_status",
        *(f"drm_{stage}_test_status" for stage in ("unit", "integration", "performance", "e2e", "distributed")),
        "drm_coverage_status",
        "drm_performance_status",
    }
    assert shown(tmp_path / "out", "drm_resource_optimizer_status")["message"] == "passing (5/5)"
    assert shown(tmp_path / "out", "drm_e2e_test_status")["message"] == "passing (4/4)"
    assert shown(tmp_path / "out", "drm_e2e_test_status")["label"] == "E2E tests"
    assert shown(tmp_path / "out", "drm_coverage_status")["message"] == "no status"


def test_own_run_writes_only_the_overall_badge(tmp_path: Path) -> None:
    leave(tmp_path / "reports" / "run", suite("run", {"test_a.py::t": Outcome.PASSED}))
    assert [path.name for path in paint(tmp_path / "reports", tmp_path)] == ["drm_status.svg", "drm_status.json"]
    assert shown(tmp_path)["message"] == "passing (1/1)"


def test_endpoint_json_has_only_the_keys_that_shields_knows(tmp_path: Path) -> None:
    failing(tmp_path / "reports")
    for path in paint(tmp_path / "reports", tmp_path / "out"):
        if path.suffix == ".json":
            data = json.loads(path.read_text())
            assert set(data) == {"schemaVersion", "label", "message", "color", "isError", "cacheSeconds"}
            assert (data["schemaVersion"], data["cacheSeconds"]) == (1, 300)
            assert data["isError"] == (data["color"] in ("#c62828", "#6d28d9"))


def test_a_damaged_file_never_passes_anywhere(tmp_path: Path) -> None:
    for name in ("events.ndjson", "results.json", "status.json"):
        reports = tmp_path / name
        passing(reports)
        (reports / "unit" / name).write_text("{")
        paint(reports, tmp_path / "out")
        for badge in ("drm_status", "drm_unit_test_status", *(f"drm_{slug}_status" for slug in SLUGS)):
            assert shown(tmp_path / "out", badge)["message"] == "error"
        assert shown(tmp_path / "out", "drm_e2e_test_status")["message"] == "passing (4/4)"


def test_zero_tests_never_pass(tmp_path: Path) -> None:
    skipped = {"tests/unit/resource_optimizer/t.py::t": Outcome.SKIPPED}
    leave_all(tmp_path / "reports", unit=suite("unit", {}), e2e=suite("e2e", skipped))
    paint(tmp_path / "reports", tmp_path / "out")
    assert shown(tmp_path / "out", "drm_unit_test_status")["message"] == "no status"
    assert shown(tmp_path / "out", "drm_e2e_test_status")["message"] == "no status"
    assert shown(tmp_path / "out")["message"] == "partial (12/12)"
    assert shown(tmp_path / "out", "drm_resource_optimizer_status")["message"] == "partial (3/3)"


def test_passing_without_a_test_is_not_believed(tmp_path: Path) -> None:
    report = build_report(tmp_path)
    object.__setattr__(report, "state", State.PASSING)
    assert badges_of(report) == [
        Badge(
            name="drm_status",
            label="DRM",
            message="no status",
            state=State.NO_TESTS,
            tests=Cell(state=State.NO_TESTS),
            why=report.headline,
        )
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"commit": "abc123"}, "passing (20/20)"),
        ({"commit": "abc123" + "0" * 34}, "passing (20/20)"),
        ({"commit": "abc"}, "passing (20/20)"),
        ({"commit": "def456"}, "stale"),
        ({"max_age_s": 3 * 3600.0}, "passing (20/20)"),
        ({"max_age_s": 3600.0}, "stale"),
    ],
)
def test_other_commit_or_too_old_is_stale(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    passing(tmp_path / "reports")
    paint(tmp_path / "reports", tmp_path / "out", **options)
    for badge in ("drm_status", "drm_unit_test_status", "drm_resource_optimizer_status"):
        assert shown(tmp_path / "out", badge)["message"].split(" ")[0] == message.split(" ")[0]


def test_stale_does_not_hide_a_failure(tmp_path: Path) -> None:
    failing(tmp_path / "reports")
    paint(tmp_path / "reports", tmp_path / "out", commit="def456")
    assert shown(tmp_path / "out")["message"] == "failing (25/26)"


def test_badges_from_before_do_not_outlive_what_they_say(tmp_path: Path) -> None:
    passing(tmp_path / "reports")
    paint(tmp_path / "reports", tmp_path / "out")
    shutil.rmtree(tmp_path / "reports")
    paint(tmp_path / "reports", tmp_path / "out")
    assert {shown(tmp_path / "out", path.stem)["message"] for path in (tmp_path / "out").glob("*_status.json")} == {
        "no status"
    }


@pytest.mark.parametrize(
    ("percent", "message", "state"),
    [(99.99, "99%", State.PASSING), (79.9, "79%", State.PARTIAL), (12.0, "12%", State.FAILING)],
)
def test_coverage(tmp_path: Path, percent: float, message: str, state: State) -> None:
    passing(tmp_path / "reports")
    totals = {"percent_covered": percent, "num_statements": 100, "missing_lines": 7}
    (tmp_path / "reports" / "coverage.json").write_text(json.dumps({"totals": totals}))
    paint(tmp_path / "reports", tmp_path / "out")
    badge = shown(tmp_path / "out", "drm_coverage_status")
    assert (badge["message"], badge["color"]) == (message, COLORS[state])
    (tmp_path / "reports" / "coverage.json").write_text("{")
    paint(tmp_path / "reports", tmp_path / "out")
    assert shown(tmp_path / "out", "drm_coverage_status")["message"] == "error"


def benchmark(name: str, verdict: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "min_s": 0.2, "median_s": 0.2, "rounds": 5, "verdict": verdict} | more


@pytest.mark.parametrize(
    ("rows", "message", "state"),
    [
        ([benchmark("a", "unchanged", baseline_s=0.2), benchmark("b", "improved", baseline_s=0.3)], "steady (2)", "p"),
        (
            [benchmark("a", "regressed", baseline_s=0.1), benchmark("b", "improved", baseline_s=0.3)],
            "1 of 2 slower",
            "f",
        ),
        ([benchmark("a", "no baseline for this machine")], "no status", "m"),
        ([], "no status", "m"),
        ([{}], "error", "e"),
    ],
)
def test_performance(tmp_path: Path, rows: list[dict[str, Any]], message: str, state: str) -> None:
    passing(tmp_path / "reports")
    (tmp_path / "reports" / "performance" / "benchmark.json").write_text(json.dumps({"benchmarks": rows}))
    paint(tmp_path / "reports", tmp_path / "out")
    badge = shown(tmp_path / "out", "drm_performance_status")
    expected = {"p": State.PASSING, "f": State.FAILING, "m": State.MISSING, "e": State.ERROR}[state]
    assert (badge["message"], badge["color"]) == (message, COLORS[expected])


def test_performance_of_a_stage_that_failed_is_not_called_steady(tmp_path: Path) -> None:
    tests = {"benchmarks/bench_a.py::t": Outcome.PASSED, "benchmarks/bench_b.py::t": Outcome.FAILED}
    leave_all(tmp_path / "reports", performance=suite("performance", tests))
    rows = [benchmark("a", "unchanged", baseline_s=0.2)]
    (tmp_path / "reports" / "performance" / "benchmark.json").write_text(json.dumps({"benchmarks": rows}))
    paint(tmp_path / "reports", tmp_path / "out")
    assert shown(tmp_path / "out", "drm_performance_status")["message"] == "failing"


def test_halves_of_the_picture_meet_on_whole_pixels(tmp_path: Path) -> None:
    failing(tmp_path / "reports")
    paint(tmp_path / "reports", tmp_path / "out")
    for path in (tmp_path / "out").glob("*.svg"):
        root = ET.fromstring(path.read_text())
        widths = [element.get("width", "") for element in root.iter() if element.tag.endswith("}rect")]
        assert all(width.isdigit() for width in widths)
        clip, left, right, shade = map(int, widths)
        assert left + right == clip == shade == int(root.get("width", "0"))


@pytest.mark.parametrize("color", sorted(set(COLORS.values())))
def test_white_text_is_readable_on_every_color(color: str) -> None:
    """Contrast by WCAG 2.2, relative luminance."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= 4.5


@pytest.mark.parametrize("label", ["DRM", "<script>\"]]>&'", "a\nb", "x" * 100_000, "\ud800\u202e"])
def test_svg_is_sound_and_has_a_name_whatever_the_label(tmp_path: Path, label: str) -> None:
    passing(tmp_path / "reports")
    paint(tmp_path / "reports", tmp_path / "out", label=label)
    text = (tmp_path / "out" / "drm_status.svg").read_text()
    root = ET.fromstring(text)
    name = f"{shown(tmp_path / 'out')['label']}: passing (20/20)"
    assert (root.get("role"), root.get("aria-label")) == ("img", name)
    assert root.findtext("{http://www.w3.org/2000/svg}title") == name
    assert "<script" not in text
    assert len(name) < 90


def test_missing_pybadges_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pybadges":
            raise ModuleNotFoundError("No module named 'pybadges'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"No module named 'pybadges'.*; pip install 'drm-testing\[badges\]'$"):
        generate_badges(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DrmError, match=r"drm_status\.svg: cannot be written \(No space left on device\)"):
        generate_badges(tmp_path, tmp_path / "out")


def test_command_line_from_folder_and_from_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passing(tmp_path / "reports")
    write_reports(tmp_path / "reports", formats=["json"])
    given = {"a": ["--input-dir", "reports"], "b": ["--input", "reports/report.json"]}
    for name, source in given.items():
        arguments = [argument.replace("reports", str(tmp_path / "reports"), 1) for argument in source]
        assert main([*arguments, "--output-dir", str(tmp_path / name), "--label", "Mine"]) == 0
        assert shown(tmp_path / name)["label"] == "Mine"
    same = [(path.read_text(), (tmp_path / "b" / path.name).read_text()) for path in (tmp_path / "a").glob("*.svg")]
    assert len(same) == 13
    assert all(one == other for one, other in same)
    assert str(tmp_path / "a" / "drm_e2e_test_status.json") in capsys.readouterr().out


def test_command_line_for_one_badge_and_readme_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passing(tmp_path / "reports")
    source = ["--input-dir", str(tmp_path / "reports")]
    assert main([*source, "--output", str(tmp_path / "one" / "my.svg")]) == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["my.json", "my.meta.json", "my.svg"]
    options = ["--no-component-badges", "--markdown", "--repository", "me/mine"]
    assert main([*source, "--output-dir", str(tmp_path / "two"), *options]) == 0
    assert len(list((tmp_path / "two").iterdir())) == 3
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("![DRM](https://img.shields.io/endpoint?url=https://raw.githubusercontent.com/me/mine/main/")
    assert line.endswith("/two/drm_status.json)")


def test_command_line_says_in_one_line_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    damaged = tmp_path / "report.json"
    damaged.write_text('{"schema_version": 9}')
    assert main(["--input", str(damaged), "--output-dir", str(out)]) == 1
    assert capsys.readouterr().err == (
        f"drm: {damaged}: has schema_version 9, this drm reads up to 2; use a newer drm\n"
    )
    assert shown(out)["message"] == "error"
    assert main(["--input", str(tmp_path / "none.json"), "--output-dir", str(out)]) == 4
    assert "there is no such file; run `drm report` first\n" in capsys.readouterr().err
    assert main(["--input-dir", str(tmp_path), "--output-dir", str(out), "--max-age", "soon"]) == 4
    assert "--max-age: 'soon' is not a duration" in capsys.readouterr().err


def test_drm_badges_prints_the_readme_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_REPOSITORY", "me/mine")
    monkeypatch.chdir(tmp_path)
    passing(tmp_path / "reports")
    assert drm_main(["badges", "--markdown"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("!")]
    place = "https://raw.githubusercontent.com/me/mine/main/.github/badges"
    assert lines[0] == f"![DRM](https://img.shields.io/endpoint?url={place}/drm_status.json)"
    assert len(lines) == 10
    assert not [line for line in lines if "Coverage" in line], "nothing was measured"


@pytest.mark.parametrize("command", ["generator", "drm"])
def test_a_folder_that_is_not_there_is_one_line_and_no_badge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    typo, out = str(tmp_path / "typo"), str(tmp_path / "out")
    if command == "drm":
        code = drm_main(["badges", "--reports-dir", typo, "--output-dir", out])
    else:
        code = main(["--input-dir", typo, "--output-dir", out])
    assert code == 4
    shown = capsys.readouterr()
    assert shown.err == (
        f"drm: {typo}: there is no such folder; name the folder that the stages or `drm run` wrote to\n"
    )
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_readme_shows_badges_that_there_are(tmp_path: Path) -> None:
    passing(tmp_path / "reports")
    names = {path.name for path in paint(tmp_path / "reports", tmp_path / "out")}
    shown_ones = re.findall(r"/main/\.github/badges/([^)]+)\)", (Path(__file__).parents[3] / "README.md").read_text())
    assert len(shown_ones) == 3
    assert set(shown_ones) <= names


def test_the_page_shows_every_state_as_it_is_drawn() -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "badges.md").read_text()
    for state in STATES:
        assert f"(badges/{state}.svg)" in page
        drawn = (root / "tests" / "golden" / f"badge_{state}.svg").read_text()
        assert (root / "docs" / "badges" / f"{state}.svg").read_text() == drawn


def test_badges_are_published_although_git_ignores_their_folder() -> None:
    root = Path(__file__).parents[3]
    assert "/.github/badges/" in (root / ".gitignore").read_text().splitlines()
    assert "git add --force .github/badges" in (root / "docs" / "ci.md").read_text()
    for template in (root / "ci_templates").iterdir():
        added = [line for line in template.read_text().splitlines() if "git add" in line]
        assert all("--force" in line for line in added), template.name
