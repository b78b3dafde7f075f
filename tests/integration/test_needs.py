"""What tests may ask of the run as a whole, and of gpus, in real runs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import pytest
from projects import MODES, Project

from drm.model import events

NEEDS = """
import os
import time

import pytest

@pytest.mark.drm(lock="db")
@pytest.mark.parametrize("n", range(4))
def test_write(n): time.sleep(0.03)

@pytest.mark.drm(shared_lock=["db"])
@pytest.mark.parametrize("n", range(6))
def test_read(n): time.sleep(0.06)

@pytest.mark.drm(serial=True)
@pytest.mark.parametrize("n", range(3))
def test_alone(n): time.sleep(0.03)

@pytest.mark.drm(resources={"license": 1})
@pytest.mark.parametrize("n", range(6))
def test_licensed(n): time.sleep(0.06)

@pytest.mark.drm(resources={"license": 2})
def test_both_licenses(): time.sleep(0.03)

@pytest.mark.xdist_group(name="chain")
@pytest.mark.parametrize("n", range(6))
def test_chain(n): time.sleep(0.01)

@pytest.mark.drm(group="needy", resources={"license": 1}, lock="net")
@pytest.mark.parametrize("n", range(4))
def test_needy(n): time.sleep(0.01)

@pytest.mark.parametrize("n", range(40))
def test_plain(n): time.sleep(0.01)
"""


def side_by_side(project: Project) -> Iterator[list[str]]:
    """Yield the names of the tests that ran at one time, at each start of one."""
    running: dict[str, str] = {}
    for event in project.events():
        if isinstance(event, events.AttemptStarted):
            running[event.executor_id] = re.split(r"::|\[", event.task_id)[1]
            yield list(running.values())
        elif isinstance(event, events.AttemptFinished):
            running.pop(event.executor_id)


@pytest.mark.parametrize("executors", [("--drm-executors", "4"), MODES["workers"]])
def test_locks_counted_resources_serial_tests_and_groups(project: Project, executors: tuple[str, ...]) -> None:
    project.file("pytest.ini", "[pytest]\n[drm]\nresources = license:2\n")
    project.file("test_suite.py", NEEDS)
    ran = project.run("--strict-markers", "--drm-report-dir", str(project.report_dir), *executors)
    assert ran.code == 0, ran.out
    seen: set[tuple[str, ...]] = set()
    for names in side_by_side(project):
        seen.add(tuple(sorted(names)))
        assert names.count("test_write") <= 1
        assert not ("test_write" in names and "test_read" in names), "somebody read while somebody wrote"
        assert "test_alone" not in names or len(names) == 1, "a serial test had company"
        assert sum({"test_licensed": 1, "test_needy": 1, "test_both_licenses": 2}.get(name, 0) for name in names) <= 2
    together = any(names.count("test_read") >= 2 for names in seen)
    assert together or executors == MODES["workers"], "readers did not read together"
    for group in ("chain", "needy"):
        ran_on: defaultdict[str, list[str]] = defaultdict(list)
        for event in project.events():
            if isinstance(event, events.AttemptStarted) and f"test_{group}" in event.task_id:
                ran_on[event.executor_id].append(event.task_id[-2])
        assert list(ran_on.values()) == [sorted(*ran_on.values())], "a group was split, or ran out of order"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ('{"licence": 1}', "'licence' is not declared; did you mean 'license'?"),
        ('{"license": 3}', "3 of 'license'; there are 2; ask for less or declare more"),
    ],
)
def test_a_counted_resource_that_is_not_there_is_one_line(project: Project, wanted: str, message: str) -> None:
    project.file("pytest.ini", "[pytest]\n[drm]\nresources = license:2\n")
    project.file("test_suite.py", f"import pytest\n@pytest.mark.drm(resources={wanted})\ndef test_a(): pass\n")
    ran = project.drm()
    assert ran.code == 4
    assert ran.line("license") == f"ERROR: test_suite.py::test_a: drm marker resources: {message}"


GPUS = """
import os
import time

import pytest

def note(n):
    time.sleep(0.1)
    with open("gpus.txt", "a") as notes:
        notes.write(f"{n} {os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ.get('DRM_GPU_IDS')}\\n")

@pytest.mark.drm(gpu=1)
@pytest.mark.parametrize("n", range(4))
def test_whole(n): note("whole")

@pytest.mark.drm(gpu=0.5)
@pytest.mark.parametrize("n", range(6))
def test_half(n): note("half")

@pytest.mark.drm(gpu=2)
def test_both(): note("both")

@pytest.mark.parametrize("n", range(6))
def test_none(n): note("none")
"""


@pytest.mark.parametrize("visible", [None, "GPU-a,GPU-b"])
def test_gpus_are_reserved_device_by_device_and_shown(project: Project, visible: str | None) -> None:
    project.file("test_suite.py", GPUS)
    environment = {"CUDA_VISIBLE_DEVICES": visible} if visible else {}
    ran = project.drm("--drm-gpus", "2", "--drm-executors", "4", **environment)
    assert ran.code == 0, ran.out
    names = visible.split(",") if visible else ["0", "1"]
    shown = {tuple(line.split()) for line in (project.root / "gpus.txt").read_text().splitlines()}
    assert {row for row in shown if row[0] == "both"} == {("both", ",".join(names), "0,1")}
    assert {row for row in shown if row[0] == "none"} == {("none", str(visible), "None")}
    assert {row[1:] for row in shown if row[0] in ("whole", "half")} == {(names[0], "0"), (names[1], "1")}
    share = {"test_whole": 1, "test_half": 0.5, "test_both": 2}
    assert all(sum(share.get(name, 0) for name in names) <= 2 for names in side_by_side(project))


def test_separate_workers_have_gpus_of_their_own(project: Project) -> None:
    project.file("pytest.ini", "[pytest]\n[drm]\ngpus = 2\n")
    project.file("test_suite.py", GPUS.replace("@pytest.mark.drm(gpu=2)", "@pytest.mark.skip"))
    ran = project.drm("--drm-workers", "2", "--drm-worker-type", "cpu=1,gpu=1", mode="fork")
    assert ran.code == 0, ran.out
    shown = {line.split()[1] for line in (project.root / "gpus.txt").read_text().splitlines()}
    assert shown == {"0", "1"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--drm-gpus", "some"), "ERROR: --drm-gpus: 'some' is not a number of gpus; give a whole number, such as 2"),
        (("--drm-gpus", "2"), "ERROR: --drm-gpus: 2 gpus, and CUDA_VISIBLE_DEVICES shows 1; change one of them"),
        (
            ("--drm-workers", "1", "--drm-worker-type", "gpu=2"),
            "ERROR: worker type 'standard' does not fit on this machine",
        ),
    ],
)
def test_gpus_that_are_not_there(project: Project, options: tuple[str, ...], line: str) -> None:
    project.file("test_suite.py", "def test_a(): pass\n")
    ran = project.run(*options, CUDA_VISIBLE_DEVICES="7")
    assert ran.code == 4
    assert ran.line("ERROR").startswith(line)


def test_file_order(project: Project) -> None:
    project.file(
        "test_suite.py",
        "import pytest, time\n@pytest.mark.parametrize('s', [0, 0, 0, 0.3, 0, 0.2])\ndef test_n(s): time.sleep(s)\n",
    )
    starts = []
    for order in ("longest", "longest", "file"):
        assert project.drm("--drm-executors", "1", "--drm-order", order).code == 0
        ran = [event.task_id for event in project.events() if isinstance(event, events.AttemptStarted)]
        starts.append([re.search(r"\[(.*)\]", task_id).group(1) for task_id in ran])  # type: ignore[union-attr]
    assert starts[1][:2] == ["0.3", "0.2"], "the second run knows which take long"
    assert starts[2] == starts[0]
    assert starts[2].index("0.3") == 3
