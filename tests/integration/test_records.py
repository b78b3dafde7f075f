"""The record of a run: complete, consistent with itself and with the other files, and learnt from."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from projects import MODES, Project, new_project

from drm.model import events
from drm.model.death import DeathKind
from drm.model.resources import ZERO, Resources
from drm.model.work import Outcome
from drm.reporting.trends_file import TRENDS, read_trends
from drm.summary import summarise

MIB = 2**20
SUITE = """
import collections, os, pathlib, pytest, time

def meet():
    # Until two executors of one worker are at work: the second may start when the first could have run all tests.
    pathlib.Path(f"begun-{os.getppid()}-{os.getpid()}").touch()
    deadline = time.monotonic() + 20
    while "PYTEST_XDIST_WORKER" in os.environ and time.monotonic() < deadline:
        begun = collections.Counter(path.name.split("-")[1] for path in pathlib.Path().glob("begun-*"))
        if max(begun.values()) >= 2:
            break
        time.sleep(0.01)

@pytest.mark.parametrize("n", range(40))
def test_short(n):
    assert n != 3

@pytest.mark.drm(cpu=2)
@pytest.mark.parametrize("n", range(3))
def test_two_cores(n):
    time.sleep(0.02)

@pytest.mark.drm(cpu=0.5, memory="100MiB")
@pytest.mark.parametrize("n", range(12))
def test_half(n):
    meet()
    time.sleep(0.01)

@pytest.mark.drm(memory="500MiB")
@pytest.mark.parametrize("n", range(4))
def test_large(n):
    time.sleep(0.02)

@pytest.mark.drm(lock="db")
@pytest.mark.parametrize("n", range(5))
def test_alone(n):
    time.sleep(0.02)

@pytest.mark.drm(group="steps")
@pytest.mark.parametrize("n", range(6))
def test_step(n):
    time.sleep(0.01)

@pytest.mark.drm(cpu=64)
def test_too_large():
    pass

@pytest.mark.skip(reason="no")
def test_skipped():
    pass

def test_dies():
    os._exit(3)
"""


@pytest.fixture(scope="module", params=MODES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    for project in new_project(tmp_path_factory.mktemp("records") / "suite"):
        project.file("test_suite.py", SUITE)
        if request.param == "workers":
            types = ("--drm-workers", "1..2", "--drm-worker-type", "cpu=2,memory=600MiB", "--drm-cpus", "4")
            ran = project.run("--drm-report-dir", str(project.report_dir), *types, "--drm-memory", "2GiB")
        else:
            ran = project.drm("--drm-cpus", "2", "--drm-memory", "600MiB", "--drm-executors", "3", mode=request.param)
        assert ran.code == 1, ran.out
        yield project


def of(project: Project, kind: type[Any]) -> list[Any]:
    return [event for event in project.events() if isinstance(event, kind)]


def test_events_are_numbered_without_gaps_and_in_order_of_time(run: Project) -> None:
    lines = [json.loads(line) for line in (run.report_dir / "events.ndjson").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["elapsed_s"] for line in lines] == sorted(line["elapsed_s"] for line in lines)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert (lines[0]["event"], lines[-1]["event"]) == ("RunStarted", "RunFinished")


def test_every_test_has_one_final_outcome(run: Project) -> None:
    (discovered,) = of(run, events.TestsDiscovered)
    finished = Counter(event.task_id for event in of(run, events.TestFinished))
    assert set(finished) == set(discovered.task_ids)
    assert set(finished.values()) == {1}
    (end,) = of(run, events.RunFinished)
    counts = dict(end.counts)
    assert sum(counts.values()) == end.collected == len(discovered.task_ids) == 73
    assert counts == {"passed": 69, "failed": 2, "error": 1, "skipped": 1}


def test_every_attempt_that_began_ended_where_it_began(run: Project) -> None:
    began = {(e.task_id, e.attempt): (e.worker_id, e.executor_id) for e in of(run, events.AttemptStarted)}
    ended = {(e.task_id, e.attempt): (e.worker_id, e.executor_id) for e in of(run, events.AttemptFinished)}
    assert began == ended
    # One died and was tried again.
    assert len(began) == len(of(run, events.AttemptStarted)) == len(of(run, events.AttemptFinished)) == 73
    dead = [event for event in of(run, events.AttemptFinished) if event.cause]
    assert [(event.task_id, event.attempt) for event in dead] == [("test_suite.py::test_dies", n) for n in (1, 2)]
    assert all("exit code 3" in event.cause and event.death is DeathKind.CRASH for event in dead)


def test_the_replayed_record_is_the_summary_in_the_results(run: Project) -> None:
    results = run.results()
    assert summarise(run.events()) == results.summary
    assert results.exit_code == 1
    assert results.collected == 73
    recorded = {test.task_id: test for test in results.summary.tests}
    assert recorded["test_suite.py::test_short[3]"].outcome is Outcome.FAILED
    assert recorded["test_suite.py::test_short[3]"].message == "assert 3 != 3"


def test_reservations_never_exceed_a_worker(run: Project) -> None:
    """An executor holds one reservation at a time, at least while a test of it runs."""
    capacity: dict[str, Resources] = {}
    held: dict[str, dict[str, Resources]] = defaultdict(dict)
    seen = 0
    for event in run.events():
        if isinstance(event, events.WorkerReady):
            capacity[event.worker_id] = event.capacity
        elif isinstance(event, events.AttemptStarted):
            assert event.executor_id not in held[event.worker_id], "an executor runs one test at a time"
            held[event.worker_id][event.executor_id] = event.reserved
            together = sum(held[event.worker_id].values(), ZERO)
            assert together.fits_in(capacity[event.worker_id]), f"{together.describe()} reserved"
            seen = max(seen, len(held[event.worker_id]))
        elif isinstance(event, events.AttemptFinished):
            del held[event.worker_id][event.executor_id]
        elif isinstance(event, events.UtilizationSampled):
            assert event.reserved.fits_in(capacity[event.worker_id])
    assert seen >= 2, "nothing ran side by side"


def test_requirements_were_kept(run: Project) -> None:
    reserved = {event.task_id: event.reserved for event in of(run, events.AttemptStarted)}
    assert reserved["test_suite.py::test_two_cores[0]"].cpu_cores == 2
    assert reserved["test_suite.py::test_half[0]"].cpu_cores == 0.5
    assert reserved["test_suite.py::test_half[0]"].memory_bytes == 100 * MIB
    assert reserved["test_suite.py::test_large[0]"].memory_bytes == 500 * MIB
    alone = [e for e in run.events() if getattr(e, "task_id", "").startswith("test_suite.py::test_alone")]
    attempts = [type(e).__name__ for e in alone if isinstance(e, events.AttemptStarted | events.AttemptFinished)]
    assert attempts == ["AttemptStarted", "AttemptFinished"] * 5, "two tests held one lock"
    steps = [e for e in of(run, events.AttemptStarted) if "test_step" in e.task_id]
    assert [e.task_id for e in steps] == [f"test_suite.py::test_step[{n}]" for n in range(6)]
    dead = {event.executor_id for event in of(run, events.AttemptFinished) if event.cause}
    assert len({e.executor_id for e in steps} - dead) <= 1, "a group moves only when its executor dies"


def test_usage_is_measured(run: Project) -> None:
    usage = {event.task_id: event.usage for event in of(run, events.AttemptFinished)}
    assert 0.019 < usage["test_suite.py::test_large[0]"].wall_s < 5
    assert usage["test_suite.py::test_large[0]"].cpu_s < 1
    assert 0 < usage["test_suite.py::test_large[0]"].peak_rss_bytes < 50 * MIB


def test_workers_are_accounted_for(run: Project) -> None:
    requested = {event.worker_id for event in of(run, events.InstanceRequested)}
    assert requested == {event.worker_id for event in of(run, events.InstanceReleased)}
    assert not of(run, events.InstanceLost)
    if requested:
        ups = [e.decision for e in of(run, events.ScalingDecided) if e.decision.action.value == "up"]
        assert ups
        assert all(decision.reason and decision.trigger.code for decision in ups)


def test_the_second_run_uses_what_the_first_one_learnt(project: Project) -> None:
    project.file(
        "test_a.py",
        "import pytest, time\n@pytest.mark.parametrize('s', [0, 0, 0, 0, 0, 0.6])\ndef test_n(s): time.sleep(s)\n",
    )
    assert project.drm().code == 0
    (first,) = of(project, events.ForecastMade)
    assert dict(first.methods) == {"default": 6}
    assert project.drm().code == 0
    (second,) = of(project, events.ForecastMade)
    assert dict(second.methods) == {"history": 6}
    assert second.longest_task == "test_a.py::test_n[0.6]"
    assert 0.6 <= second.longest_s < 3
    begun = [(event.executor_id, event.task_id) for event in of(project, events.AttemptStarted)]
    (executor,) = [executor for executor, task_id in begun if task_id == "test_a.py::test_n[0.6]"]
    firsts = [task_id for other, task_id in begun if other == executor]
    assert firsts[0] == "test_a.py::test_n[0.6]", "longest first, whichever executor is up first"
    assert of(project, events.AttemptStarted)[0].reserved.memory_bytes < 200 * MIB
    with sqlite3.connect(project.root / ".drm" / "history.db") as database:
        tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
        counts = {name: database.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}
    assert 12 in counts.values()
    assert (project.root / ".drm" / ".gitignore").exists()


def test_a_run_leaves_what_its_branch_has_come_to_for_who_has_no_history(project: Project) -> None:
    project.file("test_a.py", "def test_a(): pass\n")
    for count in (1, 2):
        assert project.drm().code == 0
        left = read_trends(project.report_dir / TRENDS)
        assert [(run.suite, run.tests) for run in left.runs] == [("out", 1)] * count
        assert all(run.allocation_s is not None and 0 <= run.allocation_s < 60 for run in left.runs)
    assert project.drm("--collect-only").code == 0
    assert len(read_trends(project.report_dir / TRENDS).runs) == 2


def test_a_group_that_is_slower_than_predicted_keeps_its_order(project: Project) -> None:
    """Then executors give back what they have no time for, and the next batch must not come first."""
    project.file(
        "test_g.py",
        """
import os, time, pytest

@pytest.mark.drm(group="g")
@pytest.mark.parametrize("n", range(40))
def test_g(n):
    time.sleep(0.3 if "SLOW" in os.environ and n in (3, 10, 30) else 0)
""",
    )
    assert project.drm().code == 0
    assert project.drm(SLOW="1").code == 0
    started = of(project, events.AttemptStarted)
    assert [event.task_id for event in started] == [f"test_g.py::test_g[{n}]" for n in range(40)]
    assert len({event.executor_id for event in started}) == 1


def test_a_run_in_this_process_leaves_the_same_record(project: Project) -> None:
    project.file("test_suite.py", SUITE.replace("os._exit(3)", "assert 0").replace("@pytest.mark.drm(cpu=64)\n", ""))
    ran = project.run("--drm-executors", "0", "--drm-report-dir", str(project.report_dir))
    assert ran.code == 1
    assert summarise(project.events()) == project.results().summary
    assert project.results().collected == 73
    assert ran.account() == {"passed": 70, "failed": 2, "skipped": 1}


def test_without_a_report_folder_only_history_is_written(project: Project) -> None:
    project.file("test_a.py", "def test_a(): pass\n")
    before = {path.name for path in project.root.iterdir()}
    assert project.run("--drm-executors", "1", "-p", "no:cacheprovider").code == 0
    after = {path.name for path in project.root.iterdir() if not path.name.startswith("log-")}
    assert after - before <= {".drm", "__pycache__"}
