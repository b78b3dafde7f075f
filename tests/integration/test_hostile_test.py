"""A test writes on the connection of its own process: that costs itself, and others have their own outcomes."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from projects import Project, junit_of

from drm.model import events

SUITE = """
import os
import threading

import pytest

ME = "test_hostile.py::"
REPORT = {"$report_type": "TestReport", "nodeid": ME + "test_victim", "location": ["test_hostile.py", 1, "x"],
          "keywords": {}, "outcome": "passed", "longrepr": None, "when": "call", "user_properties": [],
          "sections": [], "duration": 0.0, "start": 0.0, "stop": 0.0}


@pytest.fixture
def say(request):
    executor = request.config.pluginmanager.get_plugin("drm-executor")
    yield lambda *messages: executor._channel.send(["many", *messages])


def end(name, *reports):
    return ["end", ME + name, 1, "passed", "", list(reports), [0.0, 0.0, 1]]


def wait_for_the_end():
    threading.Event().wait(60)


def test_says_that_another_passed(say):
    say(end("test_victim", [0, 0.0, 0.0, ["x", 1, "x"]], [1, 0.0, 0.0], [2, 0.0, 0.0]))
    wait_for_the_end()


def test_speaks_of_a_test_that_is_none(say):
    say(["begin", "no such test", 1])
    wait_for_the_end()


def test_passes_with_the_report_of_another(say):
    say(end("test_passes_with_the_report_of_another", REPORT))


def test_passes_with_what_is_no_report(say):
    say(end("test_passes_with_what_is_no_report", {"$report_type": "TestReport", "x": 1}, [9], {}))


def test_sends_a_number_that_is_none(say):
    say(["end", ME + "test_sends_a_number_that_is_none", 1, "passed", "", [], [float("inf"), 0.0, 10**30]])
    wait_for_the_end()


@pytest.mark.parametrize("message", [["left", "bye"], ["exited", None], ["end"], "end", 3, [[]], {}], ids=range(7))
def test_sends_what_is_no_message_of_a_test(say, message):
    say(message)
    wait_for_the_end()


def test_sends_no_message(request):
    os.write(request.config.pluginmanager.get_plugin("drm-executor")._channel.fileno(), b"GET / HTTP/1.1\\r\\n")
    wait_for_the_end()


def test_warns_of_nonsense(say):
    say(["warning", {"module": "os", "category": "system", "lineno": "x", "when": "never", "location": 7}])


def test_victim():
    assert 1 == 2


@pytest.mark.parametrize("number", range(20))
def test_innocent(number):
    pass
"""
GUILTY = {
    "says_that_another_passed": "it spoke of 'test_hostile.py::test_victim', a test that it was not given",
    "speaks_of_a_test_that_is_none": "it spoke of 'no such test', a test that it was not given",
    "passes_with_the_report_of_another": "is not understood (ValueError: it is one of test_hostile.py::test_victim)",
    "passes_with_what_is_no_report": "is not understood",
    "sends_a_number_that_is_none": "sent a message that is not understood",
    **{f"sends_what_is_no_message_of_a_test[{n}]": "sent" for n in range(7)},
    "sends_no_message": "it sent nonsense",
}


@pytest.mark.parametrize("mode", ["fork", "workers"])
def test_a_test_that_writes_on_its_connection_fails_alone(project: Project, mode: str) -> None:
    project.file("test_hostile.py", SUITE)
    junit = project.root / "junit.xml"
    ran = project.drm(f"--junitxml={junit}", "--drm-retries", "0", mode=mode)
    assert ran.code == 1, ran.out
    assert "INTERNALERROR" not in ran.out
    told: dict[str, tuple[str, str]] = {name: (kind, text) for name, kind, text in junit_of(junit) if kind == "failure"}
    failed = {name.rpartition("::test_")[2]: text for name, (_, text) in told.items()}
    assert set(failed) == {"victim", *GUILTY}, ran.out
    assert "assert 1 == 2" in failed["victim"]
    for name, words in GUILTY.items():
        assert words in failed[name], failed[name]
    finished = {event.task_id: event for event in project.events() if isinstance(event, events.TestFinished)}
    assert len(finished) == 28 + 7
    outcomes: dict[str, Any] = {task_id: event.outcome.value for task_id, event in finished.items()}
    assert outcomes["test_hostile.py::test_victim"] == "failed"
    assert {outcomes[f"test_hostile.py::test_innocent[{n}]"] for n in range(20)} == {"passed"}


RIGHTS = """
import os
from pathlib import Path

import pytest


def test_is_the_person():
    assert os.getuid() == Path("/proc", os.environ["CONTROLLER"]).stat().st_uid
    assert os.environ["SECRET"] == "of the person"
    assert Path(os.environ["DRM_CLUSTER_FOLDER"], "worker", "token").read_text() == "a token"
"""


def test_a_test_has_the_rights_of_the_person_who_runs_it(project: Project) -> None:
    project.file("test_rights.py", RIGHTS)
    (project.root / "cluster" / "worker").mkdir(parents=True)
    project.file("cluster/worker/token", "a token")
    given = {"SECRET": "of the person", "DRM_CLUSTER_FOLDER": str(project.root / "cluster")}
    assert project.drm(CONTROLLER=str(os.getpid()), **given).code == 0


EXITS = """
import pytest


def test_fails():
    assert 1 == 2


def test_exits():
    pytest.exit("all is well", returncode=0)


def test_rest():
    pass
"""


def test_an_exit_code_that_a_test_chose_makes_no_report_pass(project: Project) -> None:
    project.file("test_exits.py", EXITS)
    ran = project.drm("--drm-executors", "1")
    assert ran.code == 0, "as in pytest"
    assert "the run was cut short: all is well" in ran.out
    record, written = str(project.report_dir / "events.ndjson"), project.root / "written"
    project.python("-m", "drm", "report", record, "--format", "json", "--output-dir", str(written))
    report = json.loads((written / "report.json").read_text())
    assert report["state"] == "failing"
