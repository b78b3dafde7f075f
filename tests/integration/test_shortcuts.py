"""What executors need not work out for each test comes out as pytest itself has it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from projects import Project

DECORATORS = """
import functools

def kept(function):
    @functools.wraps(function)
    def wrapper():
        return function()
    return wrapper

def lost(function):
    def wrapper():
        return function()
    return wrapper
"""

TESTS = """
import logging, sys, pytest
from decorators import kept, lost

def test_plain():
    pass

@kept
def test_wrapped():
    pass

@lost
def test_replaced():
    pass

@lost
def test_replaced_too():
    pass

@pytest.mark.parametrize("n", [1, 2])
def test_marked(n):
    pass

class TestClass:
    def test_method(self):
        pass

    def test_fails(self, caplog):
        logging.getLogger("some").warning("logged")
        print("printed")
        print("complained", file=sys.stderr)
        assert caplog.messages == ["logged"]
        raise ValueError

def test_nothing_is_left_of_the_test_before(caplog, capsys):
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")
    print("only mine")
    assert capsys.readouterr().out == "only mine\\n"
"""


def _text(case: ElementTree.Element) -> str:
    return re.sub("0x[0-9a-f]+", "0x", "".join(child.text or "" for child in case))


def test_locations_logs_and_output_are_pytest_s(project: Project) -> None:
    project.file("decorators.py", DECORATORS)
    project.file("test_s.py", TESTS)
    options = ("-o", "junit_family=xunit1", "-o", "junit_logging=all", "--junitxml=found.xml")

    def found() -> dict[str | None, tuple[str | None, str | None, str]]:
        cases = ElementTree.parse(project.root / "found.xml").iter("testcase")
        return {case.get("name"): (case.get("file"), case.get("line"), _text(case)) for case in cases}

    project.serial(*options)
    serial = found()
    assert len({line for _, line, _ in serial.values()}) > 5
    project.drm(*options)
    assert found() == serial
    assert all(word in serial["test_fails"][2] for word in ("logged", "printed", "complained"))
