"""``drm ci discover`` and ``drm ci context`` as a person and a pipeline meet them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOSTILE = """
import pytest
class Odd(pytest.Item):
    def runtest(self): pass
class File(pytest.File):
    def collect(self):
        names = ["a\\nb", "]]>", "\\x1b[31mred\\x1b[2J", "::set-output name=x::y", "x" * 1_000_000, "\\ud800"]
        for name in names:
            yield Odd.from_parent(self, name=name)
def pytest_collect_file(file_path, parent):
    if file_path.name == "test_odd.py": return File.from_parent(parent, path=file_path)
"""


def environment(**extra: str) -> dict[str, str]:
    """Return ours, without what a provider of CI, a run around this one and git's hooks say."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "DRM_", "GITHUB_", "GITLAB_", "CI_", "JENKINS_", "GIT_"))
    }
    return {**ours, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **extra}


def drm_ci(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "drm", "ci", *arguments],
        cwd=folder,
        env=environment(**extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "pytest.ini": "[pytest]\naddopts = -p no:cacheprovider\npythonpath = .\n",
        "app/__init__.py": "",
        "app/core.py": "",
        "app/alone.py": "",
        "tests/unit/core/test_core.py": "from app import core\ndef test_1(): pass\ndef test_2(): pass\n",
        "tests/e2e/test_all.py": "import app.alone\ndef test_3(): pass\n",
        "tests/test_top.py": "print('noise')\ndef test_4(): pass\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def found(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(ran.stdout)
    return data


def test_tests_by_component_and_stage(folder: Path) -> None:
    ran = drm_ci(folder, "discover")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "tests  unit  e2e  other  all",
        "core      2    -      -    2",
        "other     -    1      1    2",
        "all       2    1      1    4",
        "",
        "stage  component  tests  file",
        "unit   core           2  tests/unit/core/test_core.py",
        "e2e    other          1  tests/e2e/test_all.py",
        "other  other          1  tests/test_top.py",
    ]


def test_options_that_are_not_ours_are_pytests_in_their_order(folder: Path) -> None:
    ran = drm_ci(folder, "discover", "-k", "test_2 or test_4", "--json", "tests/unit", "--stage=unit", "--co")
    assert [(test["id"], test["line"], test["stage"], test["component"]) for test in found(ran)["tests"]] == [
        ("tests/unit/core/test_core.py::test_2", 3, "unit", "core")
    ]
    assert found(ran)["deselected"] == 1


def test_ids_go_back_to_pytest(folder: Path) -> None:
    ids = drm_ci(folder, "discover", "--ids", "--component", "core")
    assert ids.stdout == "tests/unit/core/test_core.py::test_1\ntests/unit/core/test_core.py::test_2\n"
    (folder / "ids.txt").write_text(ids.stdout)
    assert len(found(drm_ci(folder, "discover", "--json", "@ids.txt"))["tests"]) == 2


def test_a_change_reaches_those_that_import_it_and_each_says_why(folder: Path) -> None:
    (folder / "app/core.py").write_text("x = 1\n")
    (folder / "notes.md").write_text("")
    (folder / "tests/test_new.py").write_text("def test_5(): pass\n")
    ran = drm_ci(folder, "discover", "--changed-since", "HEAD", "--json")
    assert {test["id"]: test["why"] for test in found(ran)["tests"]} == {
        "tests/unit/core/test_core.py::test_1": "imports app/core.py, which changed",
        "tests/unit/core/test_core.py::test_2": "imports app/core.py, which changed",
        "tests/test_new.py::test_5": "it changed",
    }
    assert found(ran)["changed"]["files"] == ["app/core.py", "notes.md", "tests/test_new.py"]
    text = drm_ci(folder, "discover", "--changed-since", "HEAD").stdout
    assert "; 3 tests may be reached by that\nno test is reached by notes.md\n" in text
    assert "tests/unit/core/test_core.py  imports app/core.py, which changed" in text


def test_a_change_of_the_configuration_reaches_all_only_if_tests_are_run_with_it(folder: Path) -> None:
    (folder / "setup.cfg").write_text("[flake8]\nmax-line-length = 80\n[metadata]\nname = app\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "settings")
    (folder / "setup.cfg").write_text("[flake8]\nmax-line-length = 100\n[metadata]\nname = app\n")
    (folder / "tests/test_top.py").write_text("NAMED = 'setup.cfg'\ndef test_4(): pass\n")
    git(folder, "commit", "-qm", "a test that reads it", "tests/test_top.py")
    told = found(drm_ci(folder, "discover", "--changed-since", "HEAD", "--json"))
    assert {test["id"]: test["why"] for test in told["tests"]} == {
        "tests/test_top.py::test_4": "names setup.cfg, which changed"
    }
    (folder / "setup.cfg").write_text("[flake8]\nmax-line-length = 100\n[metadata]\nname = apple\n")
    told = found(drm_ci(folder, "discover", "--changed-since", "HEAD", "--json"))
    assert {test["why"] for test in told["tests"]} == {"is configured by setup.cfg, which changed"}
    assert len(told["tests"]) == 4


def test_what_has_changed_on_the_other_branch_since_does_not_count(folder: Path) -> None:
    git(folder, "checkout", "-qb", "work")
    (folder / "app/alone.py").unlink()
    git(folder, "commit", "-qam", "mine")
    git(folder, "checkout", "-q", "-")
    (folder / "app/core.py").write_text("x = 1\n")
    git(folder, "commit", "-qam", "theirs")
    main = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout
    git(folder, "checkout", "-q", "work")
    (folder / "app/alone.py").write_text("x = 2\n")
    ran = drm_ci(folder, "discover", "--changed-since", main.strip(), "--json")
    assert [test["id"] for test in found(ran)["tests"]] == ["tests/e2e/test_all.py::test_3"]


def test_nothing_has_changed(folder: Path) -> None:
    ran = drm_ci(folder, "discover", "--changed-since", "HEAD")
    assert ran.returncode == 0
    assert ran.stdout.startswith("0 files changed since ")
    assert ran.stdout.endswith("; 0 tests may be reached by that\n\n") or ran.stdout.endswith("reached by that\n")


def test_what_cannot_be_collected_is_a_line_each_and_the_rest_is_shown(folder: Path) -> None:
    (folder / "tests/test_bad.py").write_text("import nothing_of_that_name\n")
    (folder / "tests/test_worse.py").write_text("def (\n")
    ran = drm_ci(folder, "discover")
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        "drm: cannot collect tests/test_bad.py: ModuleNotFoundError: No module named 'nothing_of_that_name'",
        "drm: cannot collect tests/test_worse.py: SyntaxError: invalid syntax",
    ]
    assert "tests/unit/core/test_core.py" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["now\x1bhere.py"], "file or directory not found: now here.py"),
        (["nowhere.py"], "file or directory not found: nowhere.py"),
        (["--stage", "unti"], "there is no stage 'unti'; did you mean 'unit'?"),
        (["--changed-since", "nowhere"], "git has no commit 'nowhere' here; check the name; in CI fetch the whole"),
        (["--changed-since", "--help"], "argument --changed-since: expected one argument"),
        (["--changed-since=--help"], "git has no commit '--help' here"),
        (["--json", "--ids"], "not allowed with argument --json"),
    ],
)
def test_wrong_options_are_a_line(folder: Path, arguments: list[str], message: str) -> None:
    ran = drm_ci(folder, "discover", *arguments)
    assert (ran.returncode, ran.stdout) == (4, "")
    assert message in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


def test_no_repository(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n")
    ran = drm_ci(tmp_path, "discover", "--changed-since", "HEAD", GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert ran.returncode == 4
    assert "is in no git repository" in ran.stderr


def test_a_git_that_refuses_is_a_line_with_its_own_words(folder: Path) -> None:
    (folder / ".git/index").write_bytes(b"no index")
    ran = drm_ci(folder, "discover", "--changed-since", "HEAD")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert ran.stderr.startswith("drm: --changed-since: git diff: fatal: ")
    assert len(ran.stderr.splitlines()) == 1


def test_without_git_changes_are_not_known_and_the_rest_works(folder: Path) -> None:
    ran = drm_ci(folder, "discover", "--changed-since", "HEAD", PATH="")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "git rev-parse: fatal: No such file or directory" in ran.stderr
    assert drm_ci(folder, "discover", PATH="").returncode == 0
    assert "branch             not known" in drm_ci(folder, "context", PATH="").stdout


def test_a_terminal_that_is_no_utf8(folder: Path) -> None:
    (folder / "tests/test_ä.py").write_text("def test_ö(): pass\n")
    ran = drm_ci(folder, "discover", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "tests/test_\\xe4.py" in ran.stdout


def test_a_reader_that_has_seen_enough_sees_no_traceback(folder: Path) -> None:
    command = f"'{sys.executable}' -m drm ci discover --json | head -c 1"
    ran = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("{", "")


def test_no_tests(tmp_path: Path) -> None:
    ran = drm_ci(tmp_path, "discover")
    assert ran.returncode == 5
    assert "drm: there are no tests here" in ran.stderr


def test_a_conftest_that_ends_the_process_is_a_line(folder: Path) -> None:
    (folder / "conftest.py").write_text("import os\nos._exit(7)\n")
    ran = drm_ci(folder, "discover")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert ran.stderr == (
        "drm: pytest could not collect (exit code 7): it said nothing; see what pytest --collect-only says\n"
    )


def test_a_wrong_mark_is_a_line(folder: Path) -> None:
    (folder / "tests/test_mark.py").write_text("import pytest\n@pytest.mark.drm(memroy=1)\ndef test_m(): pass\n")
    ran = drm_ci(folder, "discover")
    assert ran.returncode == 4
    assert "drm: tests/test_mark.py::test_m: drm marker: unknown key 'memroy'; did you mean 'memory'?" in ran.stderr


def test_names_do_no_harm(folder: Path) -> None:
    (folder / "conftest.py").write_text(HOSTILE)
    (folder / "tests/test_odd.py").write_text("")
    (folder / "tests/te\nst\x1b[2J").mkdir()
    (folder / "tests/te\nst\x1b[2J/test_x.py").write_text("def test_x(): pass\n")
    plain = drm_ci(folder, "discover", "--changed-since", "HEAD")
    ids = drm_ci(folder, "discover", "--ids")
    for ran in (plain, ids):
        assert ran.returncode == 0, ran.stderr
        assert "\x1b" not in ran.stdout
        assert max(map(len, ran.stdout.splitlines())) < 400
        assert not [line for line in ran.stdout.splitlines() if line.startswith("::")]
    assert "tests/test_odd.py\n" in ids.stdout
    assert len(found(drm_ci(folder, "discover", "--json"))["tests"]) == 11


def test_the_module_is_the_same_command(folder: Path) -> None:
    command = [sys.executable, "-m", "drm.cicd_integration", "context"]
    ran = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, drm_ci(folder, "context").stdout)


def test_the_context_without_a_provider_is_gits(folder: Path) -> None:
    git(folder, "checkout", "-qb", "some/branch")
    context = found(drm_ci(folder, "context", "--json"))
    assert (context["provider"], context["branch"], len(context["sha"])) == ("generic", "some/branch", 40)


@pytest.mark.parametrize("event", [None, "", "[1]", "{", '{"pull_request": 3}', "[" * 100_000])
def test_an_event_that_is_damaged_is_not_known(folder: Path, event: str | None) -> None:
    if event is not None:
        (folder / "event.json").write_text(event)
    names = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request_target", "GITHUB_EVENT_PATH": "event.json"}
    ran = drm_ci(folder, "context", **names)
    assert ran.returncode == 0
    assert "is_pr              yes\nis_fork            not known\n" in ran.stdout
