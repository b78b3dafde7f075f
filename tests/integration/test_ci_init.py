"""``drm ci init``, ``run`` and ``publish`` in projects of their own, with git and nox for real."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drm.ci_commands.publish import _Git
from drm.ci_commands.requirement import is_of_this_machine, requirement_of
from drm.cli import main

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run([*GIT, *words], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with unit tests of two components, in which we are."""
    folder = tmp_path / "project"
    for slug in ("api", "db"):
        file = folder / "tests" / "unit" / slug / f"test_{slug}.py"
        file.parent.mkdir(parents=True)
        file.write_text("def test_it_works():\n    assert True\n")
    git(folder, "init", "-q")
    monkeypatch.chdir(folder)
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "GITLAB_", "CI_", "JENKINS_", "DRM_")):
            monkeypatch.delenv(name)
    return folder


def ci(*arguments: str) -> int:
    """Return the exit code of ``drm ci ARGUMENTS``."""
    try:
        return main(["ci", *arguments])
    except SystemExit as left:
        return int(left.code or 0)


@pytest.mark.parametrize(
    ("provider", "files"),
    [
        ("github", {".github/workflows/drm_tests.yml"}),
        ("gitlab", {".gitlab-ci.yml", "ci_templates/drm_gitlab_ci.yml"}),
        ("jenkins", {"Jenkinsfile"}),
    ],
)
def test_init_writes_what_the_provider_reads_and_a_noxfile(
    project: Path, provider: str, files: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ci("init", provider) == 0
    written = {name for name in git(project, "ls-files", "--others").splitlines() if not name.startswith("tests/")}
    assert written == {*files, "noxfile.py"}
    assert "components: api, db, other" in capsys.readouterr().out
    assert ci("init", provider) == 0, "again, with nothing changed"


def test_init_finds_tests_beside_the_code(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(project / "tests")
    assert ci("init", "github") == 0
    assert "no test was found; files of tests are called test_*.py or " in capsys.readouterr().out
    (project / "test_here.py").write_text("def test_it_works():\n    assert True\n")
    assert ci("init", "github", "--force") == 0
    assert "unit: this folder" in capsys.readouterr().out


def test_init_writes_over_nothing_unless_forced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflow, noxfile = project / ".github/workflows/drm_tests.yml", project / "noxfile.py"
    workflow.parent.mkdir(parents=True)
    workflow.write_text("mine\n")
    noxfile.write_text("mine = 1\n")
    assert ci("init", "github") == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "drm_tests.yml: is there already, and nothing was written; --force writes over it" in said
    assert workflow.read_text() == "mine\n"
    assert ci("init", "github", "--force") == 0
    assert "jobs:" in workflow.read_text()
    assert noxfile.read_text() == "mine = 1\n", "a noxfile of somebody else is never written over"
    assert "noxfile.py: is there already and was kept" in capsys.readouterr().out


def test_a_noxfile_of_ours_is_kept_until_forced(project: Path) -> None:
    noxfile = project / "noxfile.py"
    assert ci("init", "github") == 0
    first = noxfile.read_text()
    noxfile.write_text(first.replace("download_python", "# mine"))
    assert ci("init", "jenkins") == 0
    assert "# mine" in noxfile.read_text()
    assert ci("init", "jenkins", "--force") == 0
    assert noxfile.read_text() == first


def test_init_adds_a_line_to_the_gitlab_file_only_when_forced(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = project / ".gitlab-ci.yml"
    file.write_text("build:\n  script: make\n")
    assert ci("init", "gitlab") == 4
    assert file.read_text() == "build:\n  script: make\n"
    assert ci("init", "gitlab", "--force") == 0
    assert file.read_text() == "build:\n  script: make\n\ninclude:\n  - local: ci_templates/drm_gitlab_ci.yml\n"
    file.write_text("include: other.yml\n")
    capsys.readouterr()
    assert ci("init", "gitlab", "--force") == 4
    assert "has an include: already; add '- local: ci_templates/drm_gitlab_ci.yml'" in capsys.readouterr().err


def test_init_takes_the_default_branch_of_the_repository(project: Path) -> None:
    git(project, "checkout", "-q", "-b", "trunk")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    assert ci("init", "github", "--python", "3.12", "--drm", "drm-testing==9") == 0
    workflow = (project / ".github/workflows/drm_tests.yml").read_text()
    assert 'branches: ["trunk"]' in workflow
    assert 'UV_PYTHON: "3.12"' in workflow
    assert 'DRM = "drm-testing==9"' in (project / "noxfile.py").read_text()


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ({}, "drm-testing[badges,ci]"),
        (
            {"url": "https://example.com/drm.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "drm-testing[badges,ci] @ git+https://example.com/drm.git@c0ffee",
        ),
        (
            {"url": "https://example.com/d.whl", "archive_info": {}},
            "drm-testing[badges,ci] @ https://example.com/d.whl",
        ),
        ({"url": "file:///home/me/drm", "dir_info": {}}, "drm-testing[badges,ci] @ file:///home/me/drm"),
        ({"url": 7}, "drm-testing[badges,ci]"),
    ],
)
def test_jobs_install_drm_from_where_this_one_came(origin: dict[str, Any], requirement: str) -> None:
    assert requirement_of(origin) == requirement
    assert is_of_this_machine(requirement) == ("file:" in requirement)


def test_init_says_when_only_this_machine_can_install_drm(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "noxfile.py has DRM from drm-testing[badges,ci] @ file:///here/drm: no other machine can install that"
    assert ci("init", "github", "--drm", "drm-testing[badges,ci] @ file:///here/drm") == 0
    assert said in capsys.readouterr().out
    assert ci("init", "github", "--drm", "drm-testing==9", "--force") == 0
    assert "no other machine" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--branch", "a b"), "--branch: 'a b' cannot be one"),
        (("--python", "2"), "--python: '2' cannot be one"),
        (("--components", "$(x)"), "--components: '$(x)' is no name of a component"),
        (("--folder", "nowhere"), "nowhere: there is no such folder"),
    ],
)
def test_bad_option_is_a_line(
    project: Path, options: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ci("init", "github", *options) == 4
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not (project / "noxfile.py").exists()


def nox_in_this_environment(project: Path) -> None:
    """Have the project's noxfile install nothing: all that it would install is in our environment."""
    noxfile = project / "noxfile.py"
    noxfile.write_text(noxfile.read_text().replace('"uv|virtualenv"', '"none"').replace("session.install(", "print("))


def test_run_does_what_the_jobs_do(project: Path) -> None:
    failing = project / "tests/integration/test_together.py"
    failing.parent.mkdir()
    failing.write_text("def test_it_breaks():\n    assert 1 == 2\n")
    assert ci("init", "github") == 0
    nox_in_this_environment(project)
    env = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))}
    env = {name: value for name, value in env.items() if not name.startswith(("COVERAGE_", "NOX", "PYTEST_"))}
    command = [sys.executable, "-m", "drm", "ci", "run"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("drm: ")]
    for line in (
        "unit: passed",
        "integration: failed (1)",
        "performance: skipped: there is no test in benchmarks",
        "report: passed",
        "badges: passed",
    ):
        assert f"drm: {line}" in said, done.stdout + done.stderr
    assert "drm: e2e: not run: integration did not pass" in said
    assert json.loads((project / "reports/performance/status.json").read_text())["status"] == "skipped"
    assert "test_it_breaks" in (project / "reports/report.md").read_text()
    assert json.loads((project / ".github/badges/drm_status.json").read_text())["message"].startswith("failing")
    one = subprocess.run(
        [*command, "unit", "--component", "api"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert one.returncode == 0, one.stdout + one.stderr
    told = {
        file.parent.name: json.loads(file.read_text())["status"] for file in project.glob("reports/unit*/status.json")
    }
    assert told == {"unit-api": "passed", "unit-db": "left_out", "unit-other": "left_out"}


def test_a_pipeline_without_a_test_is_no_success(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project / "tests")
    assert ci("init", "github") == 0
    nox_in_this_environment(project)
    for name in [name for name in os.environ if name.startswith(("COVERAGE_", "NOX", "PYTEST_"))]:
        monkeypatch.delenv(name)
    capsys.readouterr()
    assert ci("run", "unit", "--no-report") == 5
    assert capsys.readouterr().out == (
        "drm: unit: skipped: there is no test in tests/unit\n"
        "drm: no test ran: STAGES in noxfile.py says where they are looked for\n"
    )


def test_run_says_what_is_missing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ci("run") == 4
    assert "there is no noxfile.py here" in capsys.readouterr().err
    assert ci("run", "unti") == 4
    assert "'unti' is no stage; choose from unit" in capsys.readouterr().err


@pytest.fixture
def published(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Path]]:
    """Return a function that makes a badge and publishes it to a repository, as a push to main would."""
    remote = project.parent / "remote.git"
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    git(project, "branch", "-M", "main")
    git(project, "clone", "-q", "--bare", ".", str(remote))
    git(project, "remote", "add", "origin", str(remote))

    def publish(message: str, *options: str, branch: str = "main") -> tuple[int, Path]:
        folder = project / ".github" / "badges"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "drm_status.json").write_text(json.dumps({"message": message}))
        (folder / "drm_status.meta.json").write_text(json.dumps({"at": str(len(list(remote.rglob("*"))))}))
        monkeypatch.setenv("DRM_CI_DEFAULT_BRANCH", "main")
        monkeypatch.setenv("DRM_CI_BRANCH", branch)
        return ci("publish", *options), remote

    return publish


def test_badges_are_one_commit_on_a_branch_of_their_own(published: Callable[..., tuple[int, Path]]) -> None:
    for message in ("passing", "failing"):
        code, remote = published(message)
        assert code == 0
        assert message in git(remote, "show", "badges:.github/badges/drm_status.json")
        assert git(remote, "rev-list", "--count", "badges") == "1\n"
    assert git(remote, "ls-tree", "-r", "--name-only", "badges").split() == [
        ".github/badges/drm_status.json",
        ".github/badges/drm_status.meta.json",
    ]
    assert git(remote, "rev-list", "--count", "main") == "1\n"


def test_badges_on_the_default_branch_are_committed_only_when_they_change(
    published: Callable[..., tuple[int, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, remote = published("passing", "--commit")
    assert code == 0
    assert git(remote, "ls-tree", "-r", "--name-only", "main", ".github").split() == [".github/badges/drm_status.json"]
    assert "[skip ci]" in git(remote, "log", "-1", "--format=%s", "main")
    monkeypatch.setenv("DRM_COMMIT_BADGES", "true")
    published("passing")
    assert git(remote, "rev-list", "--count", "main") == "2\n"
    published("failing")
    assert git(remote, "rev-list", "--count", "main") == "3\n"


@pytest.mark.parametrize(
    ("given", "used"),
    [({"GITHUB_TOKEN": "a"}, "a"), ({"DRM_BADGES_TOKEN": "b", "GITHUB_TOKEN": "a"}, "b"), ({}, "")],
)
def test_the_token_for_pushing_is_in_no_file_and_on_no_command_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], used: str
) -> None:
    git(project, "remote", "add", "origin", "https://gitlab-ci-token:job@git.example:8443/group/app.git")
    monkeypatch.chdir(project)
    told = _Git("origin", {"PATH": os.environ["PATH"], **given})._environ
    secret = base64.b64encode(f"x-access-token:{used}".encode()).decode()
    wanted = [("http.https://git.example:8443/.extraheader", f"AUTHORIZATION: basic {secret}")] if used else []
    assert [(told[f"GIT_CONFIG_KEY_{n}"], told[f"GIT_CONFIG_VALUE_{n}"]) for n in range(len(wanted))] == wanted
    assert ("GIT_CONFIG_COUNT" in told) == bool(used)
    assert (project / ".git" / "config").read_text().count("AUTHORIZATION") == 0


def test_a_push_that_came_in_between_is_no_failure(published: Callable[..., tuple[int, Path]]) -> None:
    _, remote = published("passing")
    hook = remote / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ntest "$1" != refs/heads/main || test -e tried || { touch tried; exit 1; }\n')
    hook.chmod(0o755)
    code, _ = published("passing", "--commit")
    assert code == 0
    assert (remote / "tried").exists()
    assert git(remote, "rev-list", "--count", "main") == "2\n"


@pytest.mark.parametrize(
    ("options", "branch", "complaint"),
    [
        ((), "topic", "badges are those of the default branch, and this is branch topic"),
        (("--branch", "main"), "main", "the default branch would lose its history"),
        (("--badges-dir", "nowhere"), "main", "nowhere: there is no badge"),
        (("--remote", "nowhere"), "main", "git remote: error: No such remote 'nowhere'"),
    ],
)
def test_what_cannot_be_published_is_a_line(
    published: Callable[..., tuple[int, Path]],
    options: tuple[str, ...],
    branch: str,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, remote = published("passing", *options, branch=branch)
    assert code == 4
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert "badges" not in git(remote, "branch", "--format=%(refname:short)")


def test_an_old_commit_whose_workflow_is_run_again_leaves_the_badges(
    project: Path, published: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, remote = published("of the first", "--commit")
    assert code == 0
    shutil.rmtree(project / ".github")
    git(project, "pull", "-q", "origin", "main")
    git(project, "commit", "-q", "--allow-empty", "-m", "second")
    git(project, "push", "-q", "origin", "main")
    assert published("of the second")[0] == 0
    git(project, "checkout", "-q", "-f", "HEAD~2")
    capsys.readouterr()
    assert published("of the first again", "--commit")[0] == 0
    assert "is no longer the newest commit of main, whose badges stay as they are" in capsys.readouterr().out
    assert "of the second" in git(remote, "show", "badges:.github/badges/drm_status.json")
    assert git(remote, "log", "-1", "--format=%s", "main") == "second\n"


@pytest.mark.parametrize(
    ("names", "collected"),
    [
        ((), {"test_top.py", "tests/api/test_api.py", "tests/db/test_db.py"}),
        (("api",), {"tests/api/test_api.py"}),
        (("db", "other"), {"test_top.py", "tests/db/test_db.py"}),
    ],
)
def test_a_component_is_what_pytest_collects_of_it(project: Path, names: tuple[str, ...], collected: set[str]) -> None:
    """Not what it would collect only where it is named: samples, installed packages."""
    shutil.rmtree(project / "tests")
    for file in (
        *("test_top.py", "tests/api/test_api.py", "tests/db/test_db.py", "tests/api/samples/test_broken.py"),
        *(".nox/unit/lib/api/test_vendored.py", "env/lib/test_vendored.py", "tests/integration/api/test_together.py"),
    ):
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text("def test_it(): assert True\n")
    (project / "env" / "pyvenv.cfg").touch()
    (project / "pytest.ini").write_text("[pytest]\nnorecursedirs = samples .*\n")
    assert ci("init", "github", "--components", "api,db") == 0
    asked = f"import runpy; print(*runpy.run_path('noxfile.py')['chosen']('unit', {names!r}), sep='\\n')"
    chosen = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    command = [sys.executable, "-m", "pytest", "-p", "no:drm", "--collect-only", "-q", *chosen.stdout.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line} == collected, done.stdout
    assert done.returncode == 0


def test_coverage_is_what_the_stages_of_this_run_left(project: Path) -> None:
    """Of a project with settings of coverage of its own too; without data there is none, not the last one."""
    (project / "pyproject.toml").write_text('[tool.coverage.run]\nsource = ["tests"]\n')
    assert ci("init", "github") == 0
    nox_in_this_environment(project)
    reports = project / "reports"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "NOX", "PYTEST_"))}
    for sessions, percent in ((["unit", "report"], 100.0), (["report"], None)):
        command = [sys.executable, "-m", "nox", "-s", *sessions]
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads((reports / "report.json").read_text())["coverage"]
        assert (told and told["percent"]) == percent, done.stdout + done.stderr
        for file in reports.glob("unit/.coverage*"):
            file.unlink()
    assert not list(reports.glob("*coverage*"))
