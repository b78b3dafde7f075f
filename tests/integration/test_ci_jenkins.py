"""The Jenkinsfile: whole builds of it under Groovy, in a small project.

``jenkins_flow.groovy`` stands in for Jenkins: it proves the flow, not Jenkins' own validation.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import ci_sample
import pytest

JENKINSFILE = ci_sample.ROOT / "ci_templates" / "drm_jenkinsfile"
FLOW = Path(__file__).with_name("jenkins_flow.groovy")
OTHERS = ("integration", "performance", "e2e", "distributed")


@dataclass(frozen=True)
class Build:
    """A build that has run: exit code, what was printed, and what Jenkins would have kept of it."""

    code: int
    out: str
    output: Path

    @property
    def archive(self) -> Path:
        return self.output / "archive"

    def stages(self, how: str) -> set[str]:
        return set(re.findall(rf"^Stage '([^']+)' {how}", self.out, re.MULTILINE))


def run_build(tmp: Path, wheel: Path, *parameters: str, failing: str = "") -> Build:
    folder = ci_sample.make_sample(tmp / "sample", "jenkins", failing=failing, drm=wheel)
    return run_flow(tmp, folder / "Jenkinsfile", *parameters)


def run_flow(tmp: Path, jenkinsfile: Path, *parameters: str, **environ: str) -> Build:
    program, needed = ci_sample.groovy()
    command = [program, str(FLOW), str(jenkinsfile), str(jenkinsfile.parent), str(tmp / "build"), *parameters]
    code, out = ci_sample.run(command, tmp, ci_sample.environment(**needed, **environ), tmp / "build.log")
    return Build(code, out, tmp / "build")


def junit_files(build: Build) -> set[str]:
    return {path.parent.name for path in (build.output / "junit").rglob("junit.xml")}


@pytest.mark.ci_templates
@pytest.mark.usefixtures("has_time")
@pytest.mark.drm(group="pipelines")
def test_passing_build(tmp_path: Path, drm_wheel: Path) -> None:
    build = run_build(tmp_path, drm_wheel, "env.BRANCH_IS_PRIMARY=true", "env.DRM_BADGES_CREDENTIAL=a-secret")
    assert build.code == 0, build.out
    assert build.out.splitlines()[-1] == "Finished: SUCCESS"
    assert build.stages("ended well") == {*(f"unit {name}" for name in ci_sample.COMPONENTS), *OTHERS}
    assert junit_files(build) == {*(f"unit-{name}" for name in ci_sample.COMPONENTS), *OTHERS}
    report = ci_sample.read_json(build.archive / "reports/report.json")
    assert report["state"] == "passing", report["headline"]
    badge = ci_sample.read_json(build.archive / ".github/badges/drm_status.json")
    assert badge["message"] == "passing (7/7)"
    pushed = ["git", "-C", str(tmp_path / "sample"), "show", "badges:.github/badges/drm_status.json"]
    assert "passing (7/7)" in subprocess.run(pushed, capture_output=True, text=True, check=True, timeout=60).stdout
    assert (build.archive / "reports/ci/junit.xml").exists()
    page = (build.output / "html/DRM report/report.html").read_text()
    assert_reads_without_scripts_and_styles(page)


@pytest.mark.ci_templates
@pytest.mark.usefixtures("has_time")
@pytest.mark.drm(group="pipelines")
def test_failing_build_of_one_component_without_e2e(tmp_path: Path, drm_wheel: Path) -> None:
    build = run_build(tmp_path, drm_wheel, "COMPONENT=api", "RUN_E2E=false", failing="integration")
    assert build.code == 1, build.out
    assert build.out.splitlines()[-1] == "Finished: FAILURE"
    assert build.stages("failed") == {"integration"}
    assert build.stages("ended well") == {"unit api", "performance"}
    assert build.stages("skipped due to when conditional") == {"unit store", "unit other"}
    assert build.stages("skipped due to earlier failure") == {"group 3: e2e, distributed"}
    assert junit_files(build) == {"unit-api", "integration", "performance"}
    assert ci_sample.left_out(build.archive / "reports") == {"unit-store", "unit-other", "e2e"}
    report = ci_sample.read_json(build.archive / "reports/report.json")
    assert report["state"] == "failing", report["headline"]
    badge = ci_sample.read_json(build.archive / ".github/badges/drm_status.json")
    assert badge["message"] == "failing (2/3)"
    assert "test_it_breaks" in (build.output / "html/DRM report/report.html").read_text()


LAST_SESSION_FAILS = """#!/bin/sh
mkdir -p .venv-ci/bin
printf '#!/bin/sh\\n' > .venv-ci/bin/python
printf '#!/bin/sh\\nmkdir -p reports; echo page > reports/report.html; [ "$2" != report ]\\n' > .venv-ci/bin/nox
chmod +x .venv-ci/bin/*
"""


@pytest.mark.ci_templates
def test_what_has_been_written_is_kept_when_a_last_session_fails(tmp_path: Path) -> None:
    project, python = tmp_path / "project", tmp_path / "bin" / "python3"
    for path, text in ((project / "Jenkinsfile", JENKINSFILE.read_text()), (python, LAST_SESSION_FAILS)):
        path.parent.mkdir()
        path.write_text(text)
    python.chmod(0o755)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(project), *words], check=True, timeout=60)
    path = os.pathsep.join((str(python.parent), os.environ.get("PATH", "")))
    build = run_flow(tmp_path, project / "Jenkinsfile", PATH=path)
    assert (build.code, build.out.splitlines()[-1]) == (1, "Finished: FAILURE"), build.out
    assert build.stages("failed") == set()
    assert (build.archive / "reports/report.html").read_text() == "page\n"
    assert (build.output / "html/DRM report/report.html").exists()


@pytest.mark.ci_templates
def test_lint_finds_no_error(tmp_path: Path) -> None:
    """The syntax, by the parser and the rules of npm-groovy-lint."""
    command = [*ci_sample.groovy_lint(), "--noserver", "--no-insight", "--loglevel", "error", "--failon", "error"]
    folder = tmp_path / "linted"
    folder.mkdir()
    (folder / "Jenkinsfile").write_text(JENKINSFILE.read_text())
    command += ["--path", str(folder), "--files", "**/Jenkinsfile", "--output", "txt"]
    code, out = ci_sample.run(command, tmp_path, ci_sample.environment(), tmp_path / "lint.log")
    assert code == 0, out
    assert "1 linted files" in re.sub(r"\x1b\[\d+m", "", out), out


@pytest.mark.ci_templates
@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("agent { label 'linux' }", "", "has no agent"),
        ("steps {", "stepz {", "there is no 'stepz' here"),
        ("booleanParam(", "boolParam(", "there is no 'boolParam' here"),
    ],
)
def test_what_jenkins_does_not_know_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    """Before any stage runs, as Jenkins does."""
    file = tmp_path / "Jenkinsfile"
    text = JENKINSFILE.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    build = run_flow(tmp_path, file)
    assert build.code == 2, build.out
    assert complaint in build.out


def test_no_script_holds_a_value_of_the_build() -> None:
    """A shell reads values from the environment: one that Groovy puts into the script could be a command."""
    text = JENKINSFILE.read_text()
    assert not re.search(r'\bsh\s*\(?\s*"', text)
    assert "disableConcurrentBuilds(abortPrevious: true)" in text
    assert re.search(r"buildDiscarder\(logRotator\(", text)


def assert_reads_without_scripts_and_styles(page: str) -> None:
    """See that a page says what it has to say where Jenkins lets it run no script and load no style of its own."""
    bare = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"<script|<[^>]+\son\w+=|javascript:|<link|<iframe|<[^>]+\shidden\b|display: *none", bare)
    for words in ("DRM report", "7 of 7 tests passed", "Stages and components", "integration", "api"):
        assert words in bare
