"""What suites and plugins know of pytest-xdist is there under DRM, whether pytest-xdist is installed or not."""

from __future__ import annotations

import json

import pytest
from projects import MODES, Project

HOOKS = """
import json, os, pytest

@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["database"] = f"db_{node.workerinput['workerid']}"
    assert node.gateway.id == node.workerinput["workerid"]
    assert node.config.rootpath

@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    with open("down.jsonl", "a") as file:
        print(json.dumps([node.gateway.id, getattr(node, "workeroutput", None), error]), file=file)

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["said"] = f"bye of {session.config.workerinput['workerid']}"
"""

TESTS = """
import os, pytest, signal

@pytest.mark.xdist_group("two")
class TestInOrder:
    def test_dies(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def test_on_the_next_executor(self):
        pass

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("n", range(6))
def test_n(n, request, worker_id, testrun_uid):
    given = request.config.workerinput
    assert given["workerid"] == worker_id == os.environ["PYTEST_XDIST_WORKER"]
    assert given["testrunuid"] == testrun_uid == os.environ["PYTEST_XDIST_TESTRUNUID"]
    assert given["database"] == f"db_{worker_id}"
    assert given["mainargv"][0].endswith("__main__.py") and "--drm" in given["mainargv"]
"""


@pytest.mark.parametrize(("mode", "xdist"), [*((mode, False) for mode in MODES), ("fork", True)])
def test_nodes_are_configured_and_their_output_comes_back(project: Project, mode: str, xdist: bool) -> None:
    project.file("conftest.py", HOOKS)
    project.file("test_w.py", TESTS)
    ran = project.drm("-q", "--strict-markers", *(("-p", "xdist") if xdist else ()), mode=mode)
    assert ran.account() == {"passed": 7, "failed": 1}, ran.out
    down = [json.loads(line) for line in (project.root / "down.jsonl").read_text().splitlines()]
    dead = [entry for entry in down if entry[2]]
    ended = [entry for entry in down if not entry[2]]
    assert ended, "an executor that was stopped is told of"
    assert all(output == {"said": f"bye of {name}"} for name, output, _ in ended)
    assert len(dead) == 2, "the test that died was tried again, on an executor of its own"
    for _, output, error in dead:
        assert output is None, "a dead executor left nothing"
        assert "SIGKILL" in error


def test_the_names_of_a_process_that_is_no_executor(project: Project) -> None:
    project.file(
        "test_w.py",
        "def test_w(worker_id, testrun_uid):\n    assert (worker_id, bool(testrun_uid)) == ('master', True)\n",
    )
    for options in (("--drm-executors", "0"), ("-p", "no:drm-controller")):
        assert project.run(*options).code == 0
    assert project.run("-p", "drm.pytest_plugin", drm=False).code == 0
    assert project.run("--drm-executors", "0", "-p", "xdist").code == 0


def test_what_cannot_be_sent_to_an_executor_is_one_line(project: Project) -> None:
    project.file("conftest.py", HOOKS.replace("f\"db_{node.workerinput['workerid']}\"", "object()"))
    project.file("test_w.py", "def test_w(): pass\n")
    ran = project.run()
    assert ran.code == 3, ran.out
    ran.line("^drm: .*workerinput of gw0: Object of type object is not JSON serializable; put only texts")
    assert "Traceback" not in ran.out


def test_a_hook_that_fails_costs_no_result(project: Project) -> None:
    project.file("conftest.py", HOOKS.replace("with open", "raise KeyError('metadata')\n    with open"))
    project.file("test_w.py", "def test_w(): pass\n")
    ran = project.run("--drm-executors", "1")
    assert ran.code == 0, ran.out
    ran.line(r"^drm: a plugin's pytest_testnodedown failed for gw0: KeyError\('metadata'\)")
