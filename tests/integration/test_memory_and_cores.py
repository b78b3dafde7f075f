"""Memory and cores that are really there: a cgroup's limit, pools of threads, executors that come and go."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from projects import Project

from drm.model import events
from drm.model.plan import ScalingAction

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.memory_limit import MB, contestants, make_suite, memory_cgroup, run_once

LIMIT = 450 * MB


@pytest.fixture(scope="module")
def _cgroups() -> None:
    try:
        with memory_cgroup(LIMIT):
            pass
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")


@pytest.mark.usefixtures("_cgroups")
def test_a_suite_that_fits_one_large_test_at_a_time(tmp_path: Path) -> None:
    """First run: nothing is known of any test. Second: the small ones run beside the large ones."""
    tests = make_suite(tmp_path)
    for name in ("drm first", "drm again"):
        ran = run_once(tmp_path, contestants(2)[name], tests, LIMIT)
        assert (ran.passed, ran.failed, ran.unrun, ran.exit_code) == (68, 0, 0, 0), ran.said
        assert ran.kills == 0, ran.said
    assert "2 executors" in ran.said


@pytest.mark.usefixtures("_cgroups")
def test_the_limit_of_the_cgroup_is_what_there_is(project: Project) -> None:
    project.file("test_a.py", "def test_a(): pass")
    with memory_cgroup(LIMIT) as group:
        ran = project.run("--drm-report-dir", str(project.report_dir), wrap=tuple(group.command(())))
    assert ran.code == 0, ran.out
    (ready,) = [event for event in project.events() if isinstance(event, events.WorkerReady)]
    assert 0.99 * LIMIT < ready.capacity.memory_bytes <= LIMIT
    (began,) = [event for event in project.events() if isinstance(event, events.AttemptStarted)]
    assert began.reserved.memory_bytes < LIMIT


THREADS = """
import os
import numpy as np
import pytest
import threadpoolctl

def threads():
    square = np.ones((500, 500))
    square @ square
    return max(pool["num_threads"] for pool in threadpoolctl.threadpool_info())

@pytest.mark.parametrize("n", range(4))
def test_one_core(n):
    assert os.environ["OMP_NUM_THREADS"] == os.environ["RAYON_NUM_THREADS"] == "1"
    assert threads() == 1

@pytest.mark.drm(cpu=2)
def test_two_cores():
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert threads() == 2
"""


@pytest.mark.parametrize("mode", ["fork", "spawn"])
def test_a_test_has_as_many_threads_as_cores(project: Project, mode: str) -> None:
    pytest.importorskip("numpy")
    pytest.importorskip("threadpoolctl")
    project.file("conftest.py", "import numpy\n")
    project.file("test_threads.py", THREADS)
    options = ("--drm-cpus", "4", "--drm-executors", "2", "--drm-start", mode)
    names = [name for name in os.environ if name.endswith("_NUM_THREADS")]
    ran = project.run(*options, wrap=("env", *(f"--unset={name}" for name in names)))
    assert ran.code == 0, ran.out
    ran = project.run(*options, "-k", "one_core", OMP_NUM_THREADS="3", RAYON_NUM_THREADS="1")
    assert ran.account()["failed"] == 4, "the user said three"


@pytest.mark.parametrize(
    ("options", "setting", "threads"),
    [
        (("--drm-executors", "0"), "", None),
        (("--drm-executors", "0..0"), "", None),
        ((), "executors = 0", None),
        (("--drm-executors", "1"), "executors = 0", "1"),
        (("--drm-executors", "0", "--drm-workers", "1"), "", "1"),
        (("--drm-executors", "0"), "workers = 1", "1"),
    ],
)
def test_pools_are_bounded_unless_tests_run_in_this_process(
    project: Project, options: tuple[str, ...], setting: str, threads: str | None
) -> None:
    project.file("pytest.ini", f"[pytest]\n[drm]\n{setting}\n")
    project.file("test_a.py", f"import os\ndef test_a(): assert os.environ.get('OMP_NUM_THREADS') == {threads!r}\n")
    ran = project.run(*options, wrap=("env", "--unset=OMP_NUM_THREADS"))
    assert ran.code == 0, ran.out


def test_one_worker_where_there_is_less_than_a_core(project: Project) -> None:
    project.file("test_a.py", "import pytest\n@pytest.mark.drm(cpu=0.5)\ndef test_a(): pass\n")
    ran = project.run("--drm-workers", "auto", "--drm-cpus", "0.5", "--drm-worker-type", "cpu=0.5")
    assert ran.code == 0, ran.out


def test_executors_come_with_the_work_and_go_without(project: Project) -> None:
    project.file(
        "test_a.py",
        "import os, pytest, time\n"
        "def is_executor(pid):\n"
        "    try: return open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[1] == str(os.getppid())\n"
        "    except OSError: return False\n"
        "def executors():\n"  # the list of children that the kernel keeps can lack one while another ends
        "    return sum(map(is_executor, filter(str.isdigit, os.listdir('/proc'))))\n"
        "def wait_for(count):\n"
        "    deadline = time.monotonic() + 60\n"
        "    while executors() != count: assert time.monotonic() < deadline; time.sleep(0.05)\n"
        "@pytest.mark.parametrize('n', range(12))\n"
        "def test_short(n): time.sleep(0.2)\n"
        "def test_long():\n"
        "    wait_for(3)\n"
        "    wait_for(1)\n",
    )
    ran = project.run("--drm-executors", "1..3", "--drm-report-dir", str(project.report_dir))
    assert ran.code == 0, ran.out
    decisions = [event.decision for event in project.events() if isinstance(event, events.ScalingDecided)]
    changes = [decision for decision in decisions if decision.action in (ScalingAction.UP, ScalingAction.DOWN)]
    assert changes[0].granted == 3
    assert changes[-1].granted == 1
    assert all(decision.worker_type == "executors of local" and decision.reason for decision in changes)
    project.assert_nothing_left()


def test_the_kernel_chooses_executors_before_the_rest_of_the_run(project: Project) -> None:
    project.file(
        "test_a.py",
        "import os, subprocess\n"
        "def score(pid): return int(open(f'/proc/{pid}/oom_score_adj').read())\n"
        "def test_score():\n"
        "    assert score('self') > score(os.getppid())\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        "    assert score(child.pid) == score('self')\n",
    )
    for start in ("fork", "spawn"):
        ran = project.run("--drm-start", start)
        assert ran.code == 0, ran.out
