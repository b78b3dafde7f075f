"""``drm run`` as a person meets it: what it leaves behind, and what the terminal shows."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects import clean_environment

from drm.model.events import AttemptStarted
from drm.reporting.ndjson import read_events


def drm_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "drm", "run", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def badge(folder: Path) -> str:
    return str(json.loads((folder / "reports/badges/drm_status.json").read_text())["message"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_an_old_run_never_passes_for_a_new_one(folder: Path) -> None:
    suite = folder / "test_a.py"
    suite.write_text("def test_a(): pass\n")
    assert drm_run(folder).returncode == 0
    assert badge(folder) == "passing (1/1)"

    suite.write_text("import nothing_of_that_name\n")
    assert drm_run(folder).returncode == 2
    assert badge(folder) == "error"

    suite.write_text("")
    assert drm_run(folder).returncode == 5
    assert badge(folder) == "no status"


def test_of_two_report_folders_the_last_counts(folder: Path) -> None:
    (folder / "test_a.py").write_text("def test_a(): pass\n")
    ran = drm_run(folder, "--drm-report-dir", "a", "--drm-report-dir=b")
    assert ran.returncode == 0, ran.stdout
    assert "the record of the run is in b" in ran.stdout
    assert not (folder / "a").exists()
    assert {path.name for path in (folder / "b").iterdir()} >= {"events.ndjson", "results.json", "status.json"}


def test_an_empty_report_folder_is_refused_and_nothing_is_written(folder: Path) -> None:
    (folder / "test_a.py").write_text("def test_a(): pass\n")
    ran = drm_run(folder, "--drm-report-dir=")
    assert ran.returncode == 4, ran.stdout
    assert not (folder / "status.json").exists()


@pytest.mark.parametrize(
    ("options", "code"), [(("--no-such-option",), 4), (("no_such_file.py",), 4), (("--co",), 0), (("--help",), 0)]
)
def test_what_runs_no_test_leaves_the_record_of_the_run_before(
    folder: Path, options: tuple[str, ...], code: int
) -> None:
    (folder / "test_a.py").write_text("def test_a(): pass\n")
    assert drm_run(folder).returncode == 0
    before = {path: path.read_bytes() for path in (folder / "reports").rglob("*") if path.is_file()}
    assert drm_run(folder, *options).returncode == code
    assert {path: path.read_bytes() for path in (folder / "reports").rglob("*") if path.is_file()} == before


def test_a_suite_that_cannot_be_collected_costs_no_record(folder: Path) -> None:
    suite, record = folder / "test_a.py", folder / "reports/run/events.ndjson"
    suite.write_text("def test_a(): pass\n")
    assert drm_run(folder).returncode == 0
    before = record.read_bytes()
    suite.write_text("import nothing_of_that_name\n")
    assert drm_run(folder).returncode == 2
    assert record.read_bytes() == before
    assert badge(folder) == "error"


def test_a_run_that_is_killed_has_nothing_of_the_one_before(folder: Path) -> None:
    (folder / "test_a.py").write_text("def test_a(): pass\n")
    assert drm_run(folder).returncode == 0
    (folder / "test_a.py").write_text("import os, signal\ndef test_a(): os.kill(os.getpid(), signal.SIGKILL)\n")
    assert drm_run(folder, "--drm-executors", "0").returncode == -9
    left = {path.name: path for path in (folder / "reports/run").iterdir()}
    assert sorted(left) == ["events.ndjson", "reports.ndjson"]
    assert left["reports.ndjson"].read_bytes() == b""


def test_a_status_that_cannot_be_written_is_said_with_the_remedy(folder: Path) -> None:
    (folder / "test_a.py").write_text("def test_a(): pass\n")
    (folder / "reports/run/status.json").mkdir(parents=True)
    ran = drm_run(folder)
    assert ran.returncode == 0
    assert "drm: reports/run/status.json: cannot be written (Is a directory); move away the file or" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_wrong_command_line_ends_with_the_code_of_pytest(folder: Path) -> None:
    for wrong in (["reprot"], ["report", "--no-such-option"], ["badges", "--output-dir"]):
        ran = subprocess.run(
            [sys.executable, "-m", "drm", *wrong], cwd=folder, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 4, wrong
        assert "error: " in ran.stderr


def test_collecting_only_leaves_no_report(folder: Path) -> None:
    (folder / "test_a.py").write_text("def test_a(): pass\n")
    assert drm_run(folder, "--collect-only").returncode == 0
    assert not (folder / "reports").exists()


def test_the_first_failure_ends_the_batch(folder: Path) -> None:
    (folder / "test_a.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(50))\n"
        "def test_n(n):\n    open('begun', 'a').write('.')\n    assert n != 3\n"
    )
    drm_run(folder, "--drm-no-report")  # the second run knows that the tests are short, and sends many at once
    (folder / "begun").unlink()
    # pytest-randomly is there where the tests of the ecosystem are; the failure may have been the longest before
    options = ("-x", "--drm-executors", "1", "--drm-order", "file", "-p", "no:randomly")
    ran = drm_run(folder, *options, "--drm-no-report")
    assert ran.returncode == 1
    assert "drm: 50 tests = 3 passed + 1 failed + 46 not run" in ran.stdout
    assert (folder / "begun").read_text() == "...."


def test_what_late_teardowns_print_is_kept_from_the_terminal(folder: Path) -> None:
    (folder / "conftest.py").write_text(
        "import pytest\n"
        "@pytest.fixture(scope='session', autouse=True)\n"
        "def late():\n    yield\n    print('from the session fixture')\n"
        "def pytest_sessionfinish(session):\n"
        "    print('from an executor' if hasattr(session.config, 'workerinput') else '')\n"
    )
    (folder / "test_a.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    ran = drm_run(folder, "--drm-no-report")
    assert ran.returncode == 0
    assert "from the session fixture" not in ran.stdout
    assert "from an executor" not in ran.stdout
    assert "from the session fixture" in drm_run(folder, "--drm-no-report", "-s").stdout


def test_a_failed_subtest_fails_its_test(folder: Path) -> None:
    pytest.importorskip("_pytest.subtests", reason="subtests came with pytest 9")
    (folder / "test_a.py").write_text(
        "def test_a(subtests):\n    for n in range(3):\n        with subtests.test(n=n):\n            assert n != 1\n"
    )
    ran = drm_run(folder, "--drm-no-report")
    assert ran.returncode == 1
    assert "contains 1 failed subtest" in ran.stdout
    assert "drm: 1 test = 1 failed" in ran.stdout


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\n[drm]\nmemory = 64MiB\n"),
        ("setup.cfg", "[drm]\nmemory = 64MiB\n"),
        ("pyproject.toml", "[tool.drm]\nmemory = '64MiB'\n"),
    ],
)
def test_memory_from_the_configuration_is_what_is_reserved(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n")
    assert drm_run(tmp_path, f"--rootdir={tmp_path}", "--drm-no-report").returncode == 0
    (begun,) = [e for e in read_events(tmp_path / "reports/run/events.ndjson") if isinstance(e, AttemptStarted)]
    assert begun.reserved.memory_bytes == 64 * 2**20


def test_an_error_names_the_file_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.drm]\nexecutors = 'zz'\n")
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n")
    ran = drm_run(tmp_path, f"--rootdir={tmp_path}", "--drm-no-report")
    assert ran.returncode == 4
    assert "pyproject.toml [tool.drm]: executors: 'zz' is not a count" in ran.stderr


@pytest.mark.parametrize(("rows", "sign"), [(10, b"running |"), (40, b" running\x1b[0m")], ids=["low", "high"])
def test_the_status_line_stays_on_a_terminal(folder: Path, rows: int, sign: bytes) -> None:
    if rows > 16:
        pytest.importorskip("rich", reason="rich is not installed: pip install rich")
    (folder / "test_a.py").write_text(
        "import time, pytest\n@pytest.mark.parametrize('n', range(60))\ndef test_n(n): time.sleep(0.02)\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "drm", "run", "--drm-no-report", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**clean_environment(), "TERM": "xterm", "COLUMNS": "100", "LINES": str(rows)},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end has closed
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    assert process.wait(timeout=30) == 0
    shown, taken_away = written.count(sign), len(re.findall(rb"\x1b7(?:\x1b\[B\r\x1b\[2K)+\x1b8", written))
    assert shown > 20, "it comes back after the tests that pytest shows"
    assert taken_away >= shown - 10
    assert written.rstrip().endswith(b"\x1b[0m") or b"60 passed" in written
    assert sign not in written[written.rindex(b"60 passed") :], "and is gone at the end"
