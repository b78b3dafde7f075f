"""Tests that do harm through what they print, report, delete, fill up or leave running.

In each case the right test is blamed, the others finish, the account is exact, and nothing is left.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import MODES, Project, Ran

from drm.model.work import Outcome

GOOD = """
@pytest.mark.parametrize("n", range(12))
def test_good(n, tmp_path, capfd):
    assert os.path.isdir(os.getcwd())
    (tmp_path / "file").write_text("x")
    print("seen")
    assert capfd.readouterr().out == "seen\\n"
"""

HOSTILE = """
import os, shutil, sys, threading, time, pytest

@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.getbasetemp()

def test_deletes_its_temp_folder(root):
    shutil.rmtree(root)

@pytest.mark.drm(serial=True)  # a test that runs beside it would lose its files
def test_deletes_everyone_s_temp_folder(root):
    shutil.rmtree(root.parent)

def test_leaves_the_working_directory_deleted(tmp_path):
    os.chdir(tmp_path)
    shutil.rmtree(tmp_path)

def test_leaves_threads_running():
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()

def test_prints_invalid_bytes_and_surrogates():
    os.write(1, bytes(range(256)))
    sys.stdout.write("\\udcff lone \\ud800")
    raise AssertionError("told all the same: \\udc80")

class Hostile:
    def __repr__(self):
        raise RuntimeError("no repr of me")
    __str__ = __repr__

class Vast:
    def __repr__(self):
        return "v" * 30_000_000

def test_hostile_property(record_property):
    record_property("hostile", Hostile())

def test_hostile_failure():
    value = Hostile()
    assert value == 1

def test_vast_failure():
    assert Vast() == 1, repr(Vast())

def test_unpicklable_error():
    class Local(Exception):
        def __init__(self, one, two):
            self.lock = threading.Lock()
    raise Local(1, 2)

def test_many_sections(request):
    for n in range(200):
        request.node.add_report_section("call", f"part {n}", "s" * 20_000)

@pytest.mark.parametrize("value", ["long" * 1_300_000, Hostile(), threading.Lock(), lambda: 0], ids=str)
def test_hostile_parameter(value):
    assert value != "never"
"""
FAILED = {
    "test_prints_invalid_bytes_and_surrogates",
    "test_hostile_failure",
    "test_vast_failure",
    "test_unpicklable_error",
}


def judge(project: Project, ran: Ran, bad: set[str], *, good: int = 12) -> None:
    """Check that the tests of that name are bad, all others passed, and all are accounted for."""
    assert "INTERNALERROR" not in ran.out, ran.out[-3000:]
    tests = {test.task_id.partition("::")[2]: test for test in project.results().summary.tests}
    assert {name for name, test in tests.items() if test.outcome is not Outcome.PASSED} == bad, ran.out[-3000:]
    assert sum(name.startswith("test_good") for name in tests) == good
    assert ran.account() == {"passed": len(tests) - len(bad), "failed": len(bad)} if bad else {"passed": len(tests)}
    assert ran.counts()["passed"] == len(tests) - len(bad)
    assert ran.code == bool(bad)
    project.assert_nothing_left()


@pytest.mark.parametrize("mode", MODES)
def test_hostile_tests(project: Project, mode: str) -> None:
    hostile = HOSTILE.replace(", ids=str)", ', ids=lambda value: value if isinstance(value, str) else "o")')
    project.file("test_h.py", hostile + GOOD)
    project.file(
        "conftest.py",
        "import pytest\n@pytest.hookimpl(optionalhook=True)\ndef pytest_testnodedown(error):\n"
        "    if error: open('died', 'a').write(error)\n",
    )
    ran = project.drm("--junitxml=out.xml", "-q", "--tb=short", mode=mode)
    judge(project, ran, FAILED)
    assert "the middle of 28.6 MiB is left out: a report keeps 1 MiB of each part" in ran.out
    assert "RuntimeError in repr of Hostile object" in (project.root / "out.xml").read_text(encoding="utf-8")
    assert (project.root / "out.xml").stat().st_size < 40_000_000
    died = project.root / "died"
    assert not died.exists(), f"threads that are left running hold nobody up: {died.read_text()}"


@pytest.mark.parametrize("mode", ["fork", "spawn"])
def test_a_gigabyte_of_output(project: Project, mode: str) -> None:
    """It goes to a file; neither the executor nor the controller holds more than the report does."""
    project.file(
        "conftest.py",
        "import re\n"
        "def pytest_unconfigure(config):\n"
        "    if not hasattr(config, 'workerinput'):\n"
        "        peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]\n"
        "        open('controller_kib', 'w').write(peak)\n",
    )
    project.file(
        "test_much.py",
        "import os, pytest\n"
        "def test_prints():\n"
        "    print('the beginning')\n"
        "    block = b'x' * 2**20\n"
        "    for _ in range(1024):\n"
        "        os.write(1, block)\n"
        "    print('the end', flush=True)\n"
        "    assert 0\n" + GOOD,
    )
    ran = project.drm("--drm-executors", "1", "--junitxml=out.xml", "-q", mode=mode)
    judge(project, ran, {"test_prints"})
    for text in ("the beginning", "the end", "the middle of 1 GiB is left out: a report keeps 1 MiB of each part"):
        assert text in ran.out
    assert len(ran.out) < 8_000_000
    (executor,) = {test.peak_rss_bytes for test in project.results().summary.tests if "test_prints" in test.task_id}
    assert executor < 200 * 2**20
    assert int((project.root / "controller_kib").read_text()) < 400 * 2**10


def test_ids_that_are_others_in_every_process(project: Project) -> None:
    project.file(
        "test_ids.py",
        "import os, pytest\n"
        "@pytest.mark.parametrize('n', [f'pid{os.getpid()}-{n}' for n in range(3)])\ndef test_n(n): pass\n" + GOOD,
    )
    ran = project.drm("-q", mode="spawn")
    assert ran.account() == {"passed": 12, "error": 3}, ran.out
    ran.line(
        r"^drm: test_ids.py::test_n\[pid\d+-\d\] was collected here and not by an executor that collected for itself"
    )
    assert ran.code == 1
    assert project.drm("-q").account() == {"passed": 15}, "a fork has the ids of the controller"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


FILLS = """
import os, pytest

def test_fills_the_disk(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 8_000_000)

def test_good(): pass
"""


def test_a_full_disk_under_basetemp(project: Project, small_disk: Path) -> None:
    """The test that wants space fails with the system's own words."""
    project.file("test_d.py", FILLS)
    ran = project.drm("-q", f"--basetemp={small_disk / 'temp'}")
    judge(project, ran, {"test_fills_the_disk"}, good=1)
    assert "No space left on device" in ran.out


def test_a_full_disk_under_the_reports(project: Project, small_disk: Path) -> None:
    """Tests are run and told all the same; what could not be written is said."""
    (small_disk / "filler").write_bytes(b"x" * (2 * 2**20 - 8192))
    project.report_dir = small_disk / "out"
    project.file("test_d.py", "import pytest\n@pytest.mark.parametrize('n', range(99))\ndef test_n(n): assert n != 7\n")
    ran = project.drm("-q", f"--junitxml={small_disk / 'out.xml'}")
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 98, "failed": 1}
    assert "INTERNALERROR" not in ran.out
    assert "Traceback" not in ran.out
    ran.line(r"^drm: .*events\.ndjson.*No space left on device")
    ran.line(r"^drm: cannot write .*No space left on device")


def test_a_limit_on_the_size_of_files(project: Project) -> None:
    """As a full disk, without a disk: a write ends with EFBIG, in the test that writes."""
    project.file(
        "test_d.py",
        FILLS.replace("import os", "import os, resource, signal").replace(
            "    (tmp_path",
            "    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))\n    (tmp_path",
        ),
    )
    ran = project.drm("-q", "--drm-executors", "1")
    judge(project, ran, {"test_fills_the_disk"}, good=1)
    assert "File too large" in ran.out
