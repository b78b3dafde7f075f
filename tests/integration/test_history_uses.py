"""What a run makes of the past: which tests come first, which are known again, which may fail."""

from __future__ import annotations

import json

import pytest
from projects import MODES, Project

SUITE = {
    "test_one.py": """
import os
def test_a(): pass
def test_b(): pass
def test_c(): assert os.environ.get('FIXED')
""",
    "test_two.py": """
import os
def test_d(): assert len(os.sep) == 1
def test_e(): assert os.environ.get('FIXED')
def test_f(): pass
""",
}


def write(project: Project) -> None:
    for name, text in SUITE.items():
        project.file(name, text)


def begun(project: Project) -> list[str]:
    """Return the tests of the newest run in the order in which they were begun."""
    lines = (project.root / "reports" / "run" / "events.ndjson").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [event["task_id"].partition("::")[2] for event in events if event["event"] == "AttemptStarted"]


def run(project: Project, *arguments: str) -> int:
    return project.run("--drm-executors", "1", "--drm-report-dir", "reports/run", *arguments).code


def test_what_failed_last_is_begun_first_and_a_renamed_test_is_known(project: Project) -> None:
    write(project)
    assert run(project) == 1
    assert run(project, "--drm-order", "failed-first") == 1
    assert begun(project) == ["test_c", "test_e", "test_a", "test_b", "test_d", "test_f"]
    source = (project.root / "test_two.py").read_text()
    (project.root / "test_two.py").write_text(source.replace("test_d", "test_renamed"))
    assert run(project, "--drm-order", "risk") == 1
    assert set(begun(project)[:2]) == {"test_c", "test_e"}
    lines = (project.root / "reports" / "run" / "events.ndjson").read_text().splitlines()
    (forecast, *_) = (event for line in lines[::-1] if (event := json.loads(line))["event"] == "ForecastMade")
    assert forecast["methods"] == [["history", 4]], "the test that has a new name is known by its source"


def test_a_new_test_is_taken_to_need_what_others_with_its_fixture_need(project: Project) -> None:
    project.file("conftest.py", "import pytest\n@pytest.fixture\ndef model(): return b'x' * (300 * 2**20)\n")
    big = "import pytest\n@pytest.mark.parametrize('n', range(3))\ndef test_big(model, n): assert model\n"
    project.file("test_big.py", big)
    small = "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_small(n, tmp_path): pass\n"
    project.file("test_small.py", small)
    assert run(project) == 0
    project.file("test_small.py", f"{small}def test_new(model): pass\ndef test_other(tmp_path): pass\n")
    assert run(project, "--drm-reserve", "safe") == 0
    lines = (project.root / "reports" / "run" / "events.ndjson").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    reserved = {
        event["task_id"].partition("::")[2]: event["reserved"]["memory_bytes"] / 2**20
        for event in events
        if event["event"] == "AttemptStarted"
    }
    assert 440 <= reserved["test_new"] <= 560, "half as much again as three tests of another module"
    assert reserved["test_other"] < 200


@pytest.mark.parametrize("mode", MODES)
def test_what_is_in_quarantine_is_reported_and_fails_no_run(project: Project, mode: str) -> None:
    write(project)
    project.file("pytest.ini", "[pytest]\n[drm]\nquarantine = test_one.py::test_c test_two.py\n")
    ran = project.run(*MODES[mode], "-rx")
    assert ran.code == 0, ran.out
    assert ran.counts() == {"passed": 2, "xfailed": 2, "xpassed": 2}
    assert "in quarantine" in ran.out


@pytest.mark.parametrize("mode", ["fork", "workers"])
def test_a_list_in_toml_names_tests_whose_ids_have_spaces(project: Project, mode: str) -> None:
    suite = "import pytest\n@pytest.mark.parametrize('n', ['a b', 'c'])\ndef test_a(n): assert n == 'c'\n"
    project.file("test_a.py", suite)
    project.file("pyproject.toml", '[tool.drm]\nquarantine = ["test_a.py::test_a[a b]"]\n')
    ran = project.run(*MODES[mode])
    assert ran.code == 0, ran.out
    assert ran.counts() == {"passed": 1, "xfailed": 1}


@pytest.mark.parametrize("mode", ["fork", "workers"])
def test_one_in_quarantine_that_kills_its_process_fails_no_run_either(project: Project, mode: str) -> None:
    suite = "import os, signal\ndef test_a(): pass\ndef test_c(): os.kill(os.getpid(), signal.SIGKILL)\n"
    project.file("test_one.py", suite)
    project.file("pytest.ini", "[pytest]\n[drm]\nquarantine = test_one.py::test_c\n")
    ran = project.run(*MODES[mode], "-rx", "--drm-retries", "0")
    assert ran.code == 0, ran.out
    assert ran.counts() == {"passed": 1, "xfailed": 1}
    assert "in quarantine" in ran.out
