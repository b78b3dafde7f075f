"""What tests report in executors is shown as in a serial run, to the letter."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from projects import MODES, Project

from drm.model.events import AttemptStarted


def told(text: str) -> list[str]:
    """Return what pytest says after its progress, sorted; without DRM's lines, times and the frames of pluggy."""
    heading = re.search(r"^=+ (ERRORS|warnings summary|keywords) =+$", text, re.MULTILINE)
    assert heading, text
    text = text[heading.start() :]
    text = re.sub(r'^  \|   File "[^"]*/pluggy/.*\n(?:  \|     .*\n)+', "", text, flags=re.MULTILINE)
    text = re.sub(r"0x[0-9a-f]+| in \d+\.\d+s", "~", text)
    return sorted(line.strip("= ") for line in text.splitlines() if not line.startswith("drm:"))


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="before, pytest showed frames of pluggy, and here are none")
@pytest.mark.parametrize("mode", MODES)
def test_failures_outside_of_tests_have_the_text_that_they_have_serially(project: Project, mode: str) -> None:
    """Where no frame is of the test's file, pytest chooses among those that it knows for its own or pluggy's."""
    project.file(
        "test_outside.py",
        """
import pytest

@pytest.mark.xfail(run=False, reason="not now")
def test_not_run(): pass

@pytest.mark.skipif("no_such_name", reason="broken")
def test_condition(): pass

async def test_async(): pass

@pytest.fixture
def untidy(request):
    request.addfinalizer(lambda: 1 / 0)
    yield
    raise ValueError("untidy")

def test_group(untidy): pass
""",
    )
    options = ("-rA", "--xfail-tb")
    serial, ran = project.serial(*options), project.drm(*options, mode=mode)
    assert "All traceback entries are hidden" not in serial.out
    assert told(ran.out) == told(serial.out)


def test_marks_names_and_keywords_that_come_while_a_test_runs(project: Project) -> None:
    project.file(
        "conftest.py",
        """
import pytest

def pytest_runtest_setup(item):
    item.add_marker("by_hook")

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if item.name == "test_renamed":
        report.nodeid += " (described)"
    if item.name == "test_keyword":
        report.keywords = {**report.keywords, "by_report": 1}
    return report

def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("keywords")
    for report in terminalreporter.stats["passed"]:
        terminalreporter.line(f"{report.nodeid}: {sorted(report.keywords)}")
""",
    )
    project.file(
        "test_k.py",
        """
def test_plain(): pass
def test_marked(request): request.node.add_marker("by_test")
def test_renamed(): pass
def test_keyword(): pass
""",
    )
    options = ("-q", "-p", "no:warnings")
    expected = told(project.serial(*options).out)
    assert {"by_hook", "by_test", "by_report", "(described)"} <= set(re.findall(r"[\w()]+", " ".join(expected)))
    assert told(project.drm(*options).out) == expected


def test_properties_that_json_does_not_know(project: Project) -> None:
    project.file(
        "test_p.py",
        """
import datetime, decimal, enum, pathlib

class Color(str, enum.Enum):
    RED = "red"

class Unprintable:
    def __str__(self): raise ValueError
    __repr__ = __str__

class Own:
    def __str__(self): return "own text"

def test_properties(record_property):
    for value in (1, 1.5, None, True, "text", [1, None, {"a": 2}], pathlib.Path("/x"), decimal.Decimal("1.5"),
                  datetime.date(2020, 1, 2), Color.RED, {1}, b"x", Own()):
        record_property(type(value).__name__, value)

def test_of_any_kind(request, record_property):
    record_property("unprintable", Unprintable())
    record_property("pair", (1, 2))
""",
    )
    project.file(
        "conftest.py",
        """
def pytest_runtest_logreport(report):
    if report.when == "call":
        assert all(type(pair) is tuple for pair in report.user_properties)
        assert all(type(section) is tuple for section in report.sections)
""",
    )

    def properties() -> list[tuple[str | None, str | None]]:
        found = ElementTree.parse(project.root / "p.xml").iter("property")
        return [(entry.get("name"), entry.get("value")) for entry in found]

    project.serial("--junitxml=p.xml", "-k", "test_properties")
    serial = properties()
    assert ("PosixPath", "/x") in serial
    ran = project.drm("--junitxml=p.xml", "-k", "test_properties")
    assert properties() == serial
    ran = project.drm("--junitxml=p.xml")
    assert ran.code == 0, ran.out
    assert ("pair", "[1, 2]") in properties(), "a list is what JSON has"


def test_warnings_of_categories_that_are_not_known_or_not_made_of_a_text(project: Project) -> None:
    project.file("late.py", "class LateWarning(UserWarning): pass\n")
    project.file(
        "test_w.py",
        """
import warnings

class Two(UserWarning):
    def __init__(self, a, b): super().__init__(a, b)

class Prefixed(UserWarning):
    def __str__(self): return "prefix: " + self.args[0]

def test_two(): warnings.warn(Two("a", "b"))
def test_prefixed(): warnings.warn(Prefixed("text"))
def test_inner():
    class Inner(DeprecationWarning): pass
    warnings.warn(Inner("inner"))
def test_late():
    import late
    warnings.warn(late.LateWarning("late"))
""",
    )
    expected = told(project.serial("-q").out)
    assert {"Two", "Inner", "LateWarning"} <= set(re.findall(r"\w+", " ".join(expected)))
    assert told(project.drm("-q").out) == expected


@pytest.mark.parametrize("mode", MODES)
def test_warnings_of_collection_are_told_once_and_those_of_the_end_too(project: Project, mode: str) -> None:
    project.file("conftest.py", "import warnings\nwarnings.warn('in conftest')\n")
    project.file("pytest.ini", "[pytest]\nno_such_option = 1\n")
    project.file(
        "test_w.py",
        """
import pytest, warnings
warnings.warn("at import")

@pytest.fixture(scope="session")
def whole():
    yield
    warnings.warn("at the end")

def test_a(whole): pass
""",
    )
    expected = told(project.serial("-q").out)
    assert any("4 warnings" in line for line in expected)
    assert told(project.drm("-q", mode=mode).out) == expected
    filters = ("-W", "error:at the end")
    assert project.drm("-q", *filters, mode=mode).counts() == project.serial("-q", *filters).counts()


@pytest.mark.parametrize("mode", MODES)
def test_a_late_teardown_that_fails_has_its_logs_and_no_frame_of_ours(project: Project, mode: str) -> None:
    project.file(
        "conftest.py",
        """
import logging, pytest

@pytest.fixture(scope="session")
def whole():
    yield
    print("printed late")
    logging.warning("logged late")
    raise ValueError("late")
""",
    )
    project.file("test_l.py", "def test_l(whole): pass\n")
    expected = told(project.serial("-q").out)
    assert "printed late" in expected
    assert any("logged late" in line for line in expected)
    assert told(project.drm("-q", mode=mode).out) == expected
    options = ("-q", "-p", "no:logging", "-p", "no:warnings", "-s")
    assert project.drm(*options, mode=mode).counts() == {"passed": 1, "error": 1}


def test_a_late_teardown_that_may_fail_is_no_error_of_the_account(project: Project) -> None:
    project.file(
        "test_l.py",
        """
import pytest

@pytest.fixture(scope="session")
def broken():
    yield
    raise ValueError("late")

@pytest.mark.xfail
def test_expected(broken): assert False
""",
    )
    project.file(
        "test_m.py",
        """
import pytest

@pytest.fixture(scope="session")
def skips():
    yield
    pytest.skip("late")

def test_skips(skips): pass
""",
    )
    for name, account in (("test_l.py", {"xfailed": 1}), ("test_m.py", {"passed": 1})):
        serial, ran = project.serial("-q", "-x", name), project.drm("-q", "-x", name)
        assert (serial.code, ran.code) == (0, 0), ran.out
        assert ran.counts() == serial.counts()
        assert ran.account() == account


def test_a_failed_test_whose_teardown_skips_has_failed(project: Project) -> None:
    project.file(
        "test_s.py",
        """
import pytest

@pytest.fixture
def skips():
    yield
    pytest.skip("there is nothing to tidy")

def test_fails(skips): assert False
""",
    )
    ran = project.drm("--drm-retries", "failure=1")
    assert ran.code == 1
    assert ran.account() == {"failed": 1}
    assert [event.attempt for event in project.events() if isinstance(event, AttemptStarted)] == [1, 2]


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
@pytest.mark.parametrize("limit", [2, 3])
def test_a_test_whose_subtests_fail_counts_once_for_each_of_them(project: Project, limit: int) -> None:
    project.file(
        "test_s.py",
        """
def test_parts(subtests):
    with subtests.test("a"):
        assert False
def test_bad(): assert False
def test_worse(): assert False
def test_good(): pass
""",
    )
    options = ("-q", f"--maxfail={limit}")
    serial = project.serial(*options)
    assert serial.counts()["failed"] == limit + 1
    ran = project.drm(*options, "--drm-executors", "1", "--drm-order", "file")
    assert ran.counts() == serial.counts(), ran.out
