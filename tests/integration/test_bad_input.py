"""What people get wrong: one clear line with the thing and the remedy, pytest's exit code, nothing left behind."""

from __future__ import annotations

import re
import sqlite3

import pytest
from projects import Project, Ran

from drm.cli import main

PASSES = "def test_passes(): pass\n"


def refused(ran: Ran, code: int, *patterns: str) -> None:
    assert ran.code == code, ran.out
    assert "Traceback" not in ran.out, ran.out
    assert "INTERNALERROR" not in ran.out, ran.out
    for pattern in patterns:
        ran.line(pattern)


@pytest.mark.parametrize(
    ("marker", "pattern"),
    [
        ('memroy="1GiB"', r"test_m.py::test_marked.*unknown key 'memroy'; did you mean 'memory'"),
        ("cpu=10**400", r"test_m.py::test_marked.*cpu: 10+\.\.\. is not an amount; give"),
        ("cpu=0", r"test_m.py::test_marked.*a test cannot run on 0 cpu; give"),
        ('memory="lots"', r"test_m.py::test_marked.*memory: 'lots' is not a size; write it like"),
        ("2", r"test_m.py::test_marked.*the drm marker takes no positional values; write @pytest.mark.drm"),
    ],
)
def test_a_wrong_marker(project: Project, marker: str, pattern: str) -> None:
    project.file("test_m.py", f"import pytest\n@pytest.mark.drm({marker})\ndef test_marked(): pass\n")
    refused(project.run(), 4, f"^ERROR.*{pattern}")


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (("--drm-executors", "many"), "--drm-executors: 'many' is not a count; write a number"),
        (("--drm-cpus", "0"), "--drm-cpus: '0' is not a number of cores; give"),
        (("--drm-executors", "99999999999"), "--drm-executors: '99999999999' is not a count; .* from 0 to 1,000"),
        (("--drm-memory", "lots"), "--drm-memory: 'lots' is not a size; write"),
        (("--drm-memory", "0"), "--drm-memory: '0' is no memory to run tests in; give"),
        (("--drm-gpus", "99999999999"), "--drm-gpus: '99999999999' is not a number of gpus; give"),
        (("--drm-cpus", "0.0001"), "--drm-cpus: '0.0001' is not a number of cores; give"),
        (("--drm-workers", "0"), "--drm-workers: 0 workers run no test; give"),
        (("--drm-worker-type", "cpu=1"), "--drm-worker-type is given without .*; add --drm-workers"),
        (("--drm-provider", "docker"), "--drm-provider is given without .*; add --drm-workers"),
        (("--drm-workers", "1", "--drm-worker-type", "cpus=1"), "unknown key 'cpus'; did you mean 'cpu'"),
        (("--drm-workers", "1", "--drm-worker-type", "cpu=9999"), "does not fit on this machine: 9999 cpu of"),
        (
            ("--drm-workers", "1", "--drm-worker-type", "name=a", "--drm-worker-type", "name=a"),
            "two worker types are called 'a'; give",
        ),
        (("--drm-report-dir", ""), "--drm-report-dir: '' is no folder; name one"),
        (("--drm-resume", ""), "holds no record of a run"),
        (("--drm-reserve", "all"), "invalid choice: 'all'"),
        (("--drm-start", "teleport"), "invalid choice: 'teleport'"),
        (("-p", "xdist.plugin", "-n", "2"), "--drm and pytest-xdist's -n both distribute tests; use one of them"),
    ],
    ids=lambda value: "_".join(value).replace("--drm-", "") if isinstance(value, tuple) else "",
)
def test_a_wrong_option(project: Project, options: tuple[str, ...], pattern: str) -> None:
    if "xdist.plugin" in options:
        pytest.importorskip("xdist")
    project.file("test_a.py", PASSES)
    refused(project.run(*options), 4, pattern)


@pytest.mark.parametrize(
    ("name", "text", "pattern"),
    [
        ("pytest.ini", "[pytest]\n[drm]\nexecuters = 2\n", "pytest.ini.*unknown key 'executers'; did you mean"),
        ("pytest.ini", "[pytest]\n[drm]\nmemory = much\n", "pytest.ini.*memory: 'much' is not a size; write"),
        ("pytest.ini", "[pytest]\n[drm]\nexecutors = some\n", "'some' is not a count"),
        ("pyproject.toml", "[tool.drm]\ncpu = -2\n", "pyproject.toml.*cpu: -2 is not an amount; give"),
        ("setup.cfg", "[drm]\ntimeout = x\n", "setup.cfg.*timeout: 'x' is not a duration; write"),
    ],
)
def test_a_wrong_setting(project: Project, name: str, text: str, pattern: str) -> None:
    project.file(name, text)
    project.file("test_a.py", PASSES)
    refused(project.run(), 4, pattern)


def test_a_requirement_larger_than_any_worker(project: Project) -> None:
    project.file(
        "test_large.py",
        "import pytest\n"
        "@pytest.mark.drm(cpu=1000)\ndef test_cpu(): pass\n"
        '@pytest.mark.drm(memory="900TiB")\ndef test_memory(): pass\n'
        "@pytest.mark.drm(gpu=1)\ndef test_gpu(): pass\n"
        '@pytest.mark.drm(labels=["x86"])\ndef test_label(): pass\n'
        "def test_small(): pass\n",
    )
    for mode in ("fork", "workers"):
        ran = project.drm(mode=mode)
        refused(ran, 1, "^ERROR test_large.py::test_cpu", "^drm: test_large.py::test_gpu: could not be placed: ")
        assert ran.account() == {"passed": 1, "error": 4}
        messages = {test.task_id: test.message for test in project.results().summary.tests}
        assert "1000 cpu" in messages["test_large.py::test_cpu"]
        assert "lower its @pytest.mark.drm" in messages["test_large.py::test_cpu"]
        assert "label x86" in messages["test_large.py::test_label"]


def test_an_empty_collection(project: Project) -> None:
    refused(project.drm(), 5, "no tests ran")
    project.file("test_a.py", "")
    refused(project.run(), 5, "no tests ran")


def test_a_history_that_is_none(project: Project) -> None:
    project.file("test_a.py", PASSES)
    project.file(".drm/history.db", "this is no database " * 500)
    ran = project.run()
    refused(ran, 0, r"^drm: history .*history\.db")
    assert list((project.root / ".drm").glob("history.db.damaged-*"))
    again = project.run()
    refused(again, 0)
    assert "drm: history" not in again.out
    rows = sqlite3.connect(project.root / ".drm" / "history.db").execute("select name from sqlite_master").fetchall()
    assert rows


def test_a_history_that_cannot_be_opened(project: Project) -> None:
    project.file("test_a.py", PASSES)
    (project.root / ".drm" / "history.db").mkdir(parents=True)
    refused(project.run(), 0, r"^drm: history .*history\.db cannot be opened.*; move away what is at .*history\.db")


def test_a_project_that_cannot_be_written_to(project: Project) -> None:
    project.file("test_a.py", PASSES)
    project.file(".drm", "a file where a folder should be")
    refused(project.run(), 0, r"^drm: history .*history\.db cannot be opened.*; move the file .*\.drm away$")


def test_a_full_disk_under_the_report(project: Project) -> None:
    project.file("test_a.py", "import pytest\n@pytest.mark.parametrize('n', range(50))\ndef test_n(n): assert n != 7\n")
    project.report_dir.mkdir()
    (project.report_dir / "events.ndjson").symlink_to("/dev/full")
    ran = project.drm()
    refused(ran, 1, r"^drm: .*events\.ndjson.*No space left on device")
    assert ran.account() == {"passed": 49, "failed": 1}
    assert project.results().exit_code == 1


def test_a_full_disk_under_the_junit_file_costs_only_that_file(project: Project) -> None:
    project.file("test_f.py", "def test_f(): assert 0\n")
    project.file("conftest.py", "def pytest_sessionfinish(): print('the end of the first plugin')\n")
    (project.root / "j.xml").symlink_to("/dev/full")
    ran = project.drm("--junitxml=j.xml", "-rf", "-s")
    refused(
        ran, 1, r"^drm: cannot write .*/j\.xml: No space left on device; free some space$", "^FAILED test_f.py::test_f"
    )
    assert "= FAILURES =" in ran.out
    assert ran.counts() == {"failed": 1}
    assert ran.account() == {"failed": 1}
    assert project.run("--lf", "--co", "-q").out.count("test_f.py::test_f"), "what else ends with the session was done"


def test_a_report_folder_that_is_none(project: Project) -> None:
    project.file("test_a.py", PASSES)
    project.file("out", "a file")
    ran = project.drm()
    assert ran.code == 0, ran.out
    assert "Traceback" not in ran.out
    assert [line for line in ran.lines if line.startswith("drm: ") and "/out" in line]
    assert ran.account() == {"passed": 1}


def test_a_suite_that_collects_differently_each_time(project: Project) -> None:
    """With spawned executors, which collect for themselves, a test may not be found again."""
    project.file(
        "test_a.py",
        "import os, pytest\n@pytest.mark.parametrize('n', [os.getpid(), 1])\ndef test_n(n): pass\n",
    )
    ran = project.drm(mode="spawn")
    refused(ran, 1)
    assert ran.account() == {"passed": 1, "error": 1}
    assert "make collection deterministic" in ran.out


@pytest.mark.parametrize("mode", ["spawn", "workers"])
def test_executors_that_cannot_collect(project: Project, mode: str) -> None:
    """The controller collects, its workers fail to: the run ends with a reason, not never."""
    project.file("test_a.py", PASSES)
    project.file(
        "conftest.py",
        "import os, pathlib\nif pathlib.Path('seen').exists():\n    raise ValueError('not twice')\n"
        "pathlib.Path('seen').touch()\n",
    )
    ran = project.drm(mode=mode)
    assert ran.code == 3, ran.out
    assert "INTERNALERROR" not in ran.out
    assert [line for line in ran.lines if "in a row" in line], ran.out
    assert project.results().collected == 1
    (project.root / "seen").unlink()


@pytest.mark.parametrize(
    "command",
    [
        ("reap", "--docker", "--boot-grace", "nan"),
        ("drain", "w1", "--timeout", "-1"),
        ("bench", "compare", "HEAD", "--timeout", "inf"),
        ("history", "show", "test_a", "--last", "0"),
    ],
)
def test_a_number_that_is_none(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 4
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf"drm .*: error: argument {command[-2]}: '{command[-1]}' is no (time|count); give .*", last)
