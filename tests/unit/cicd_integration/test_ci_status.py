"""``drm ci status`` as a pipeline's last job runs it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_api import SHA, TOKEN, Api, serving
from recorded import leave_all, suite

from drm.cli import main
from drm.model.work import Outcome

pytest.importorskip("defusedxml", reason="defusedxml is not installed: pip install defusedxml")

FAILED = "tests/integration/test_x.py::test_y"


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of reports in the current folder, on a machine that is no CI's."""
    ours = ("GITHUB_", "GITLAB_", "CI_", "DRM_", "GIT_", "JENKINS_", "CHANGE_", "BRANCH_", "BUILD_")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    leave_all(tmp_path / "reports", integration=suite("integration", {FAILED: Outcome.FAILED}, message="boom"))
    return tmp_path / "reports"


@pytest.fixture
def on_github(reports: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a job of GitHub's; return the file of its summary."""
    known = {"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "octo/app"}
    known |= {"GITHUB_RUN_ID": "12", "GITHUB_SHA": SHA, "GITHUB_WORKSPACE": str(reports.parent)}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    summary = reports.parent / "summary.md"
    summary.write_text("# of an earlier step")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def run(*arguments: str) -> int:
    try:
        return main(["ci", "status", *arguments])
    except SystemExit as error:
        return int(error.code or 0)


def test_files_are_written_and_nothing_of_a_provider_is_said(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "drm: Failing: 16 of 17 tests passed in 5 stages; integration: 1 of 1 test did not pass.",
        "drm: written to reports/ci: junit.xml, metrics.txt, summary.md, comment.md",
    ]
    assert sorted(path.name for path in (reports / "ci").iterdir()) == [
        "comment.md",
        "junit.xml",
        "metrics.txt",
        "summary.md",
    ]


def test_github_gets_annotations_and_a_summary_with_links(
    on_github: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--reports-dir", "reports") == 0
    out = capsys.readouterr().out
    assert "\n::error file=tests/integration/test_x.py,title=integration%3A test_y::boom\n" in out
    text = on_github.read_text()
    assert text.startswith("# of an earlier step\n# ❌ DRM: failing\n")
    assert "[run](https://github.com/octo/app/actions/runs/12) · [artifacts](" in text
    assert f"](https://github.com/octo/app/commit/{SHA})" in text


def test_the_state_is_the_exit_code_only_when_asked(reports: Path) -> None:
    assert run("--check") == 1
    shutil.rmtree(reports)
    leave_all(reports)
    assert run("--check") == 0


def test_results_of_another_commit_are_not_passing(
    reports: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(reports)
    leave_all(reports)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_SHA", "f" * 40)
    assert run("--check") == 1
    assert (
        "drm: Stale: the results are of commit abc123, this job is of ffffffffffff. Passing: "
        in capsys.readouterr().out
    )


def test_a_folder_that_is_not_there_is_one_line_and_4(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--reports-dir", "nowhere") == 4
    captured = capsys.readouterr()
    assert (
        captured.err == "drm: nowhere: there is no such folder; name the folder that the stages or `drm run` wrote to\n"
    )
    assert captured.out == ""
    (reports / "ci").write_text("in the way")
    assert run() == 4
    assert "move away the file" in capsys.readouterr().err


def test_an_empty_folder_is_no_success(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(reports)
    reports.mkdir()
    assert run("--check") == 1
    assert "drm: Nothing has run: there is no result of any stage here.\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["results.json", "events.ndjson", "status.json", "junit.xml"])
def test_a_truncated_file_is_one_line_and_never_passing(
    reports: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(reports)
    leave_all(reports)
    (reports / "unit" / "junit.xml").write_text("<testsuites><testsuite><testcase classname='a' name='b'/>")
    path = reports / "unit" / name
    path.write_bytes(path.read_bytes()[:-30])
    code = run("--check")
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if f"unit/{name}: " in line], out
    assert code == (0 if name == "junit.xml" else 1), "junit.xml is no record: what it says is in the events"
    assert "Traceback" not in out


def test_coverage_is_copied_where_it_is_whole(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (reports / "coverage.xml").write_text('<?xml version="1.0" ?>\n<coverage line-rate="0.9"/>')
    assert run() == 0
    assert (reports / "ci" / "coverage.xml").read_text().endswith('<coverage line-rate="0.9"/>')
    for text in ("<coverage", "<html/>", '<!DOCTYPE c [<!ENTITY a "b">]><coverage/>'):
        (reports / "coverage.xml").write_text(text)
        assert run() == 0
        assert not (reports / "ci" / "coverage.xml").exists(), "what an earlier run left is no coverage of this one"
        lines = capsys.readouterr().out.splitlines()
        assert len([line for line in lines if line.startswith("drm: coverage.xml: ")]) == 1


def test_a_summary_that_cannot_be_written_is_one_line(
    on_github: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/dev/full")
    assert run() == 4
    assert "drm: /dev/full: cannot be written (No space left on device)" in capsys.readouterr().err


def test_a_job_that_only_publishes_writes_and_annotates_nothing(
    on_github: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx", reason="httpx is not installed: pip install httpx")
    with serving(Api()) as api:
        monkeypatch.setenv("GITHUB_API_URL", api.address)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert run("--publish-only", "--strict") == 0
        assert [status["state"] for status in api.statuses] == ["failure"]
    assert "::error" not in capsys.readouterr().out
    assert on_github.read_text() == "# of an earlier step"
    assert not (on_github.parent / "reports" / "ci").exists()


def test_what_cannot_be_published_fails_the_job_only_when_strict(
    on_github: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx", reason="httpx is not installed: pip install httpx")
    with serving(Api()) as api:
        monkeypatch.setenv("GITHUB_API_URL", api.address)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert run("--publish") == 0
        assert "drm: nothing is published: there is no token" in capsys.readouterr().out
        assert run("--publish", "--strict") == 6
        monkeypatch.setenv("GITHUB_TOKEN", "expired")
        assert run("--publish") == 0
        assert run("--publish", "--strict") == 6
        assert run("--publish", "--strict", "--check") == 1, "a state that was asked for goes first"
        assert "\n::warning title=DRM%3A not published::the commit status was not set" in capsys.readouterr().out
        assert run("--strict") == 0, "nothing was to be published"
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        assert run("--publish", "--strict", "--name", "nightly") == 0
        assert [status["context"] for status in api.statuses] == ["nightly"]
        monkeypatch.delenv("GITHUB_ACTIONS")
        assert run("--publish", "--strict") == 0, "on no provider there is nothing that could have been published"
        monkeypatch.setenv("JENKINS_URL", "https://ci.example/")
        assert run("--publish", "--strict") == 0
        assert "drm: nothing is published: Jenkins has no commit status" in capsys.readouterr().out
        assert TOKEN not in capsys.readouterr().out
