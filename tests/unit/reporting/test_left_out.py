"""What a run was asked to leave out is not missing; what should have run and did not is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from recorded import SLUGS, leave, suite

from drm._badges.states import old_stages
from drm.ci_commands.publishing import notice_of
from drm.cicd_integration.context import Context
from drm.cli import main
from drm.model.stages import COMPONENTS
from drm.model.work import Outcome
from drm.reporting.collect import build_report
from drm.reporting.report import Report, State

NOW = datetime(2999, 1, 1, tzinfo=UTC)
ASKED = {"DRM_RUN_E2E": "false"}


def leave_stages(reports: Path, *stages: str) -> None:
    for stage in stages:
        leave(reports / stage, suite(stage))


@pytest.fixture
def without_e2e(tmp_path: Path) -> Path:
    leave_stages(tmp_path, "unit", "integration", "performance", "distributed")
    return tmp_path


def reported(reports: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> Report:
    """Return the report after ``drm report`` in a pipeline that says this."""
    for name in ("DRM_COMPONENT", "DRM_RUN_E2E"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["report", "--reports-dir", str(reports)]) == 0
    return build_report(reports)


def test_a_stage_that_was_left_out_knowingly_is_not_missing(
    without_e2e: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_report(without_e2e).state is State.PARTIAL
    report = reported(without_e2e, monkeypatch, **ASKED)
    assert (report.state, report.headline) == (
        State.PASSING,
        "Passing: 16 of 16 tests passed in 4 stages; left out: e2e.",
    )
    assert "drm: e2e: left out, as it was asked for\n" in capsys.readouterr().out
    e2e = next(stage for stage in report.stages if stage.name == "e2e")
    assert (e2e.state, e2e.why) == (State.NO_TESTS, "left out, as it was asked for")
    assert "left out, as it was asked for" in (without_e2e / "report.md").read_text()
    assert old_stages(report, report.commit, None, NOW) == frozenset(), "it has no result to be of another commit"


def test_its_commit_status_is_good_and_takes_no_others_place(
    without_e2e: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notice = notice_of(reported(without_e2e, monkeypatch, **ASKED), Context(provider="github"), "DRM tests")
    assert (notice.name, notice.state) == ("DRM tests (without e2e)", "success")
    assert "DRM tests:" in notice.comment, "there is one comment, whatever was left out"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"DRM_RUN_E2E": "true"},
        {"DRM_RUN_E2E": ""},
        {"DRM_RUN_UNIT": "false", "DRM_RUN_DISTRIBUTED": "false"},
        {"DRM_COMPONENT": "e2e"},
    ],
)
def test_what_nobody_asked_to_leave_out_is_missing(
    without_e2e: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    assert reported(without_e2e, monkeypatch, **environ).state is State.PARTIAL
    assert not (without_e2e / "e2e").exists()


@pytest.mark.parametrize("stage", ["unit", "distributed"])
def test_a_stage_that_is_required_cannot_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    leave_stages(tmp_path, *{"unit", "integration", "performance", "e2e", "distributed"} - {stage})
    assert reported(tmp_path, monkeypatch, **{f"DRM_RUN_{stage.upper()}": "false"}).state is State.PARTIAL


def test_one_that_ran_although_it_was_left_out_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_stages(tmp_path, "unit", "integration", "performance", "distributed")
    leave(tmp_path / "e2e", suite("e2e", {"tests/e2e/t.py::t": Outcome.FAILED}), exit_code=1, status="failed")
    assert reported(tmp_path, monkeypatch, **ASKED).state is State.FAILING


def leave_unit(reports: Path, slug: str) -> None:
    tests = {f"tests/unit/{slug}/t.py::t": Outcome.PASSED}
    leave(reports / f"unit-{slug}", suite("unit", tests), stage="unit", components=[slug])


def test_components_that_were_not_asked_for_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = (component.slug for component in COMPONENTS)
    leave_stages(tmp_path, "integration", "performance", "distributed")
    leave_unit(tmp_path, first)
    assert build_report(tmp_path).state is State.PARTIAL
    report = reported(tmp_path, monkeypatch, DRM_COMPONENT=first, **ASKED)
    names = ", ".join([*sorted(f"unit-{slug}" for slug in others), "e2e"])
    assert report.headline == f"Passing: 13 of 13 tests passed in 4 stages; left out: {names}."


def test_a_component_that_was_asked_for_and_is_gone_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_stages(tmp_path, "integration", "performance", "e2e", "distributed")
    assert reported(tmp_path, monkeypatch, DRM_COMPONENT=SLUGS[0]).state is State.PARTIAL, "no unit test at all"
    leave_unit(tmp_path, SLUGS[1])
    assert reported(tmp_path, monkeypatch, DRM_COMPONENT=SLUGS[0]).state is State.PARTIAL, "of another component only"
    assert not (tmp_path / f"unit-{SLUGS[0]}").exists()


def test_no_name_in_a_record_becomes_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", "b", "../../out", "c/d"]
    leave(tmp_path / "r" / "unit-a", suite("unit"), stage="unit", components=["a"], of_components=names)
    reported(tmp_path / "r", monkeypatch, DRM_COMPONENT="a")
    assert {path.name for path in (tmp_path / "r").glob("unit*")} == {"unit-a", "unit-b"}
    assert {path.name for path in tmp_path.iterdir()} == {"r"}
    assert json.loads((tmp_path / "r/unit-b/status.json").read_text())["components"] == ["b"]
