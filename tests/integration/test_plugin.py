"""pytest --drm against plain pytest: the same outcomes, the same options, the same exit codes."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from projects import MODES, Project, junit_of

KINDS = '''
"""A module.

>>> 1 + 1
2
"""
import logging
import sys
import unittest
import warnings

import pytest


def square(n):
    """
    >>> square(3)
    10
    """
    return n * n


def test_passes():
    pass

def test_fails():
    print("printed before the failure")
    print("and on stderr", file=sys.stderr)
    logging.getLogger("x").warning("logged before the failure")
    left = {"a": [1, 2, 3], "b": "text" * 20}
    assert left == {"a": [1, 2, 4], "b": "text" * 21}

def test_raises_in_a_chain():
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("after the other") from error

@pytest.fixture
def broken():
    raise RuntimeError("no set-up")

def test_error_in_setup(broken):
    pass

@pytest.fixture
def untidy():
    yield
    raise RuntimeError("no tear-down")

def test_error_in_teardown(untidy):
    pass

def test_fails_and_errs(untidy):
    assert not "both"

@pytest.mark.skip(reason="marked")
def test_skipped_by_mark():
    pass

def test_skipped_inside():
    pytest.skip("found out late")

@pytest.mark.skipif("sys.platform", reason="any platform")
def test_skipped_on_condition():
    pass

def test_import_or_skip():
    pytest.importorskip("no_such_module_at_all")

@pytest.mark.xfail(reason="known")
def test_xfails():
    assert 0

@pytest.mark.xfail(reason="not so")
def test_xpasses():
    pass

@pytest.mark.xfail(strict=True, reason="must fail")
def test_strict_xpass():
    pass

@pytest.mark.xfail(run=False, reason="never run")
def test_xfail_not_run():
    assert 0

def test_xfail_inside():
    pytest.xfail("given up")

@pytest.mark.parametrize("value", [0, "a b", "x::y", "[z]", "\\u00e9\\u4e2d", "", None, 2.5])
def test_parametrized(value):
    assert value != 2.5

def test_warns():
    warnings.warn("old ways", DeprecationWarning)
    warnings.warn("mine", UserWarning)

def test_properties(record_property):
    record_property("colour", "red")
    record_property("number", 3)

def test_capsys(capsys):
    print("seen")
    assert capsys.readouterr().out == "seen\\n"

def test_capfd(capfd):
    import os
    os.write(1, b"seen")
    assert capfd.readouterr().out == "seen"

def test_caplog(caplog):
    logging.getLogger("y").error("trouble")
    assert caplog.messages == ["trouble"]

def test_monkeypatch(monkeypatch):
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setattr(sys, "argv", [])

def test_tmp_path(tmp_path):
    (tmp_path / "file").write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

def test_stdin_gives_nothing():
    with pytest.raises((OSError, EOFError)):
        input()

def test_exit_code_of_a_child():
    import subprocess
    assert subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode == 3

def test_system_exit():
    raise SystemExit(3)

def test_recursion():
    def down():
        down()
    with pytest.raises(RecursionError):
        down()

def test_odd_output():
    print("\\x00\\x1b[31m red \\udc80".encode("utf-8", "replace").decode())
    assert 0, "caf\\u00e9 \\x00 \\u4e2d"


@pytest.fixture(scope="class")
def kept():
    return []

class TestClass:
    def test_one(self, kept):
        kept.append(1)

    def test_two(self, kept):
        assert kept in ([], [1])  # another executor may have run the first


class TestUnit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = 1

    def test_passes(self):
        self.assertEqual(self.made, 1)

    def test_fails(self):
        self.fail("on purpose")

    @unittest.skip("unittest says so")
    def test_skips(self):
        pass

    @unittest.expectedFailure
    def test_expected(self):
        self.fail("expected")

    @unittest.expectedFailure
    def test_unexpected(self):
        pass
'''

SMALL = """
import pytest

@pytest.fixture(scope="module")
def made(request):
    return request.node.name

@pytest.mark.slow
@pytest.mark.parametrize("n", range(4))
def test_number(n, made):
    assert n != 2

def test_word(made):
    pass

@pytest.mark.skip(reason="no use")
def test_left_out():
    pass
"""


@pytest.fixture(scope="module")
def kinds(shared_project: Project) -> Project:
    """A suite with every kind of outcome, run serially."""
    shared_project.file("test_kinds.py", KINDS)
    shared_project.file("test_skipped.py", "import pytest\npytest.skip('all of it', allow_module_level=True)\n")
    shared_project.file("test_other.py", SMALL)
    shared_project.file("pytest.ini", "[pytest]\nmarkers = slow\njunit_family = xunit1\njunit_logging = all\n")
    ran = shared_project.serial("-rA", "--junitxml=serial.xml", "--doctest-modules")
    assert ran.code == 1
    shared_project.file("serial.txt", ran.out)
    return shared_project


def comparable(text: str) -> list[str]:
    """Return the lines of pytest's short summary, and its last, without times; order put aside."""
    _, _, after = text.partition("short test summary info")
    # What a doctest failed with is no part of a report that was sent: under xdist too it is not repeated here.
    lines = [re.sub(r" in \d+\.\d+s.*|(?<=kinds\.square) - .*", "", line) for line in after.splitlines()[1:]]
    lines = [line.strip("= ") for line in lines]  # the rule around the last line is as long as the time is short
    return sorted(line for line in lines if not line.startswith("drm:"))


def shown(text: str) -> Counter[str]:
    """Return the names of the sections of failures and errors."""
    return Counter(re.findall(r"^_{3,} (.+?) _{3,}$", text, re.MULTILINE))


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_outcome_is_as_in_a_serial_run(kinds: Project, mode: str) -> None:
    ran = kinds.drm("-rA", f"--junitxml={mode}.xml", "--doctest-modules", mode=mode)
    serial = (kinds.root / "serial.txt").read_text(encoding="utf-8")
    assert ran.code == 1
    assert neutral(junit_of(kinds.root / f"{mode}.xml")) == neutral(junit_of(kinds.root / "serial.xml"))
    assert comparable(ran.out) == comparable(serial)
    assert shown(ran.out) == shown(serial)
    for text in ("printed before the failure", "and on stderr", "logged before the failure", "old ways"):
        assert ran.out.count(text) == serial.count(text), text
    assert "INTERNALERROR" not in ran.out
    assert ran.account().total() == kinds.results().collected


def neutral(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return the rows without what differs between any two runs: addresses and temporary folders."""
    return [(name, kind, re.sub(r"0x[0-9a-f]+|pytest-\d+(/popen-gw\d+)?", "~", text)) for name, kind, text in rows]


@pytest.fixture
def small(project: Project) -> Project:
    for name in ("test_a", "test_b"):
        project.file(f"{name}.py", SMALL)
    project.file("pytest.ini", "[pytest]\nmarkers = slow\n")
    return project


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("-q",), 1),
        (("-v",), 1),
        (("-k", "word or left"), 0),
        (("-m", "slow"), 1),
        (("--deselect", "test_a.py::test_number[2]", "--deselect", "test_b.py::test_number[2]"), 0),
        (("test_b.py::test_word", "test_a.py"), 1),
        (("-p", "no:cacheprovider"), 1),
        (("-p", "no:terminal"), 1),
        (("--durations=3", "--no-header", "--tb=line", "-ra"), 1),
        (("-k", "nothing_is_called_so"), 5),
        (("--collect-only", "-q"), 0),
        (("--setup-plan",), 0),
        (("no_such_file.py",), 4),
        (("test_a.py::no_such_test",), 4),
        (("--no-such-option",), 4),
        (("--maxfail=1", "-k", "word"), 0),
        (("--keep-duplicates", "test_a.py", "test_a.py"), 1),
    ],
    ids=lambda value: "_".join(value).strip("-") if isinstance(value, tuple) else "",
)
def test_options_mean_what_they_mean_without_drm(small: Project, options: tuple[str, ...], code: int) -> None:
    serial = small.serial("--junitxml=serial.xml", *options)
    ran = small.run("--junitxml=drm.xml", "--drm-executors", "2", *options)
    assert (serial.code, ran.code) == (code, code), ran.out
    assert junit_or_none(small.root / "drm.xml") == junit_or_none(small.root / "serial.xml")
    if code != 4 and "no:terminal" not in options:
        assert ran.counts() == serial.counts()


def junit_or_none(path: Path) -> list[tuple[str, str, str]] | None:
    return neutral(junit_of(path)) if path.exists() else None


def test_last_failed_runs_what_failed(small: Project) -> None:
    assert small.run("-q", "--drm-executors", "2").counts() == {"failed": 2, "passed": 8, "skipped": 2}
    assert small.run("-q", "--drm-executors", "2", "--lf").counts() == {"failed": 2}
    small.file("test_a.py", SMALL.replace("!= 2", "!= 9"))
    small.file("test_b.py", SMALL.replace("!= 2", "!= 9"))
    assert small.run("-q", "--drm-executors", "2", "--lf").code == 0
    assert small.run("-q", "--drm-executors", "2", "--ff").counts() == {"passed": 10, "skipped": 2}


@pytest.mark.parametrize("limit", [1, 3])
def test_the_run_stops_after_so_many_failures(project: Project, limit: int) -> None:
    project.file("test_many.py", "import pytest\n@pytest.mark.parametrize('n', range(300))\ndef test_n(n): assert 0\n")
    options = ("-x",) if limit == 1 else (f"--maxfail={limit}",)
    ran = project.drm("-q", *options)
    assert ran.code == 1
    counts = ran.account()
    assert counts == {"failed": limit, "not run": 300 - limit}, ran.out
    assert ran.counts() == {"failed": limit}
    assert re.search(rf"^!+ stopping after {limit} failures !+$", ran.out, re.MULTILINE)
    assert len(project.run("--lf", "--co", "-q").out.split("::")) == limit + 1, "what is recorded as failed"


@pytest.mark.parametrize("mode", MODES)
def test_nothing_that_ends_after_the_last_failure_allowed_is_told(project: Project, mode: str) -> None:
    """Two tests run side by side until both have begun; then both fail."""
    project.file(
        "test_two.py",
        """
import pathlib, pytest, time

@pytest.mark.parametrize("n", range(2))
def test_n(n):
    pathlib.Path(f"up-{n}").touch()
    while not all(pathlib.Path(f"up-{other}").exists() for other in range(2)):
        time.sleep(0.01)
    assert 0
""",
    )
    ran = project.drm("-x", mode=mode)
    assert ran.code == 1
    assert ran.counts() == {"failed": 1}
    assert ran.account() == {"failed": 1, "not run": 1}
    (late,) = [test for test in project.results().summary.tests if test.outcome.value == "not_run"]
    assert late.message == "it had not ended when the run was stopped: stopping after 1 failures"


def test_a_failure_of_collection_and_each_of_a_test_count_as_in_pytest(project: Project) -> None:
    project.file("test_bad.py", "import no_such_module_at_all\n")
    project.file(
        "test_two.py",
        "import pytest\n@pytest.fixture\ndef bad():\n    yield\n    assert 0\n"
        "def test_a(bad): assert 0\ndef test_b(): assert 0\n",
    )
    options = ("--maxfail=3", "--continue-on-collection-errors", "-p", "no:cacheprovider")
    serial = project.serial(*options)
    ran = project.drm(*options, "--drm-executors", "1")
    assert serial.counts() == ran.counts() == {"failed": 1, "error": 2}
    assert ran.account() == {"failed": 1, "not run": 1}


def test_an_import_error_ends_the_run_before_a_test_runs(small: Project) -> None:
    small.file("test_c.py", "import no_such_module_at_all\n")
    serial, ran = small.serial(), small.run("--drm-executors", "2")
    assert (serial.code, ran.code) == (2, 2)
    assert "No module named 'no_such_module_at_all'" in ran.out
    assert ran.counts() == serial.counts() == {"error": 1}
    serial, ran = (small.run("--continue-on-collection-errors", drm=drm) for drm in (False, True))
    assert (serial.code, ran.code) == (1, 1)
    assert ran.counts() == serial.counts()


def test_a_module_fixture_is_set_up_once_per_executor(project: Project) -> None:
    text = """
import os, pathlib, pytest

@pytest.fixture(scope="SCOPE")
def made():
    with open("made.txt", "a") as file:
        file.write(f"{__name__} {os.environ.get('PYTEST_XDIST_WORKER')} up\\n")
    yield
    with open("made.txt", "a") as file:
        file.write(f"{__name__} {os.environ.get('PYTEST_XDIST_WORKER')} down\\n")

@pytest.mark.parametrize("n", range(30))
def test_n(n, made):
    pass
"""
    project.file("test_module.py", text.replace("SCOPE", "module"))
    project.file("test_session.py", text.replace("SCOPE", "session"))
    ran = project.drm("-q")
    assert ran.code == 0, ran.out
    lines = Counter((project.root / "made.txt").read_text().splitlines())
    assert set(lines.values()) == {1}, "a fixture was set up twice on one executor"
    assert {line.replace(" up", " down") for line in lines if line.endswith("up")} == {
        line for line in lines if line.endswith("down")
    }
    executors = {event.executor_id for event in project.events() if type(event).__name__ == "AttemptStarted"}
    assert {line.split()[1] for line in lines} <= executors


def test_what_plugins_look_at_in_a_worker(project: Project) -> None:
    project.file(
        "conftest.py",
        """
def pytest_configure(config):
    assert not hasattr(config, "workerinput") or config.workerinput["workerid"]
""",
    )
    project.file(
        "test_worker.py",
        """
import json, os, pathlib, pytest

@pytest.mark.parametrize("n", range(20))
def test_n(n, request, tmp_path_factory):
    config = request.config
    given = config.workerinput
    assert os.environ["PYTEST_XDIST_WORKER"] == given["workerid"]
    assert os.environ["PYTEST_XDIST_WORKER_COUNT"] == str(given["workercount"]) == "2"
    assert os.environ["PYTEST_XDIST_TESTRUNUID"] == given["testrunuid"]
    assert given["workerid"].startswith("gw")
    assert isinstance(given["mainargv"], list)
    assert isinstance(config.workeroutput, dict)
    assert f"popen-{given['workerid']}" in str(tmp_path_factory.getbasetemp())
    config.pluginmanager.get_plugin("terminalreporter").write_line("heard by no one")
    assert os.environ["PYTEST_CURRENT_TEST"].startswith("test_worker.py::test_n")
""",
    )
    for mode in MODES:
        ran = project.drm("-q", mode=mode)
        assert ran.code == 0, ran.out


def test_output_is_shown_with_s(project: Project) -> None:
    project.file("test_s.py", "def test_print():\n    print('a line of output')\n")
    for option in ("-s", "--capture=tee-sys"):
        ran = project.run(option, "--drm-executors", "1")
        assert ran.code == 0
        assert "a line of output" in ran.out
    assert "a line of output" not in project.run("--drm-executors", "1").out


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("pytest.exit('enough', returncode=7)", 7, "enough"),
        ("pytest.exit('enough')", 2, "enough"),
        ("raise KeyboardInterrupt", 2, "KeyboardInterrupt"),
        ("request.session.shouldstop = 'seen enough'", 2, "seen enough"),
        ("request.session.shouldfail = 'too bad'", 1, "too bad"),
    ],
)
def test_a_test_may_end_the_run(project: Project, body: str, code: int, words: str) -> None:
    project.file(
        "test_end.py",
        f"""
import pytest

def test_first():
    pass

def test_end(request):
    {body}

@pytest.mark.parametrize("n", range(500))
def test_after(n):
    pass
""",
    )
    serial, ran = project.serial("-p", "no:cacheprovider"), project.drm("-p", "no:cacheprovider")
    assert (serial.code, ran.code) == (code, code), ran.out
    assert words in serial.out
    assert words in ran.out
    assert "INTERNALERROR" not in ran.out
    assert ran.account()["not run"] > 0
    assert project.results().collected == 502


def test_warnings_are_counted_and_shown_once(project: Project) -> None:
    text = "import warnings\ndef test_w():\n    warnings.warn('look here', UserWarning)\n"
    project.file("test_w.py", text)
    project.file("test_v.py", text)
    serial, ran = project.serial(), project.run("--drm-executors", "2")
    assert ran.counts() == serial.counts() == {"passed": 2, "warning": 2}
    assert ran.out.count("UserWarning: look here") == serial.out.count("UserWarning: look here")
    assert project.run("--drm-executors", "2", "-W", "error").counts() == {"failed": 2}


def test_the_plugin_is_found_by_its_entry_point(project: Project) -> None:
    """As ``pytest --drm`` is used; needs drm installed, which it is wherever these tests run by nox."""
    from importlib.metadata import entry_points

    if not any(entry.value == "drm.pytest_plugin" for entry in entry_points(group="pytest11")):
        pytest.skip("drm is not installed here")
    project.file("test_a.py", "def test_a(): pass\n")
    ran = project.run("--drm", "--drm-executors", "1", drm=False, PYTEST_DISABLE_PLUGIN_AUTOLOAD="")
    assert ran.code == 0, ran.out
    assert ran.account() == {"passed": 1}


def test_without_drm_the_plugin_does_nothing(project: Project) -> None:
    project.file("test_a.py", "import pytest\n@pytest.mark.drm(cpu=2, nonsense=1)\ndef test_a(): pass\n")
    ran = project.run("-p", "drm.pytest_plugin", "--strict-markers", drm=False)
    assert ran.code == 0
    assert "drm:" not in ran.out
    assert not (project.root / ".drm").exists()


def test_executors_zero_run_in_this_process_and_are_recorded(kinds: Project) -> None:
    ran = kinds.run(
        "--drm-executors", "0", "-rA", "--junitxml=inline.xml", "--doctest-modules", "--drm-report-dir", "inline"
    )
    assert ran.code == 1
    assert neutral(junit_of(kinds.root / "inline.xml")) == neutral(junit_of(kinds.root / "serial.xml"))
    assert ran.account().total() > 0
