"""What executors need not work out for each test comes out as pytest itself has it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
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


@pytest.mark.parametrize("style", ["progress", "count", "classic"])
def test_progress_looks_as_pytest_draws_it(project: Project, style: str) -> None:
    project.file("test_many.py", "import pytest\n@pytest.mark.parametrize('n', range(130))\ndef test_it(n): pass\n")
    options = ("-q", "-o", f"console_output_style={style}")

    def drawn(lines: list[str]) -> list[str]:
        return [line for line in lines if line.startswith("..")]

    expected = drawn(project.serial(*options, COLUMNS="57").lines)
    assert sum(line.count(".") for line in expected) == 130
    assert drawn(project.drm(*options, COLUMNS="57").lines) == expected


def test_a_test_that_passes_now_is_not_among_the_last_failures(project: Project) -> None:
    project.file("test_two.py", "def test_a(): assert False\ndef test_b(): pass\n")
    assert project.drm("-q").counts() == {"failed": 1, "passed": 1}
    project.file("test_two.py", "def test_a(): assert True\ndef test_b(): pass\n")
    assert project.drm("-q", "--lf").counts() == {"passed": 1}
    assert project.drm("-q", "--lf").counts() == {"passed": 2}
