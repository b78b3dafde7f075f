"""--drm-live: every line at once, with its executor and its test before it."""

from __future__ import annotations

import re

import pytest
from projects import MODES, Project

TESTS = """
import os, pathlib, sys, threading, time, pytest

@pytest.mark.parametrize("n", range(3))
def test_n(n):
    print(f"begin {n}", end="")
    print(" and end")
    thread = threading.Thread(target=lambda: print(f"in a thread {n}", file=sys.stderr))
    thread.start()
    thread.join()
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    deadline = time.monotonic() + 60
    while not pathlib.Path("go").exists():  # not before the lines were seen
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert n != 1
"""


@pytest.mark.parametrize(("mode", "capture"), [*((mode, "fd") for mode in MODES), ("fork", "no")])
def test_lines_are_shown_while_the_test_runs(project: Project, mode: str, capture: str) -> None:
    project.file("test_l.py", TESTS)
    running = project.start("--drm-live", f"--capture={capture}", *MODES[mode])
    pattern = r"^\[gw\d test_l\.py::test_n\[0\]\] begin 0 and end$"
    running.wait_for(lambda: re.search(pattern, running.out(), re.MULTILINE))
    (project.root / "go").touch()
    ran = running.end()
    assert ran.account() == {"passed": 2, "failed": 1}, ran.out
    for n in range(3):
        ran.line(rf"^\[gw\d test_l\.py::test_n\[{n}\]\] begin {n} and end$")
        ran.line(rf"^\[gw\d test_l\.py::test_n\[{n}\]\] in a thread {n}$")
    assert ("Captured stdout call" in ran.out) is (capture == "fd")
    assert len(re.findall(r"^begin 1 and end$", ran.out, re.MULTILINE)) == (capture == "fd"), "captured, as well"
