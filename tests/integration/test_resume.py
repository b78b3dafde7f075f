"""A run whose coordinator is killed goes on: nothing that had ended is run again, all is told as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from projects import MODES, Project, junit_of, wait_until

from drm.model.death import DeathKind
from drm.model.events import AttemptFinished, AttemptStarted, RunResumed, RunStarted, TestFinished
from drm.model.work import Outcome
from drm.reporting.ndjson import read_events
from drm.summary import summarise

SUITE = """
import os, pathlib, time
import pytest

@pytest.fixture(scope="module", autouse=True)
def noted():
    yield

@pytest.mark.parametrize("n", range(60))
def test_n(n):
    pathlib.Path(f"begun-{n}").touch()
    if n == 1:
        print("out of one")
        assert n == 2, "one is not two"
    if n == 2:
        pytest.skip("two")
    if n == 3:
        pytest.xfail("three")
    if n == 4:
        print("four speaks")
    if n == 5 and not pathlib.Path("five").exists():
        pathlib.Path("five").touch()
        os.kill(os.getpid(), 9)
    ended = len(list(pathlib.Path().glob("ended-*")))
    while n >= 5 and (n == 5 or ended >= 18) and not pathlib.Path("go").exists():
        time.sleep(0.01)
    with open(f"ended-{n}", "a") as file:
        file.write("x")
"""
ARGUMENTS = ("-p", "no:cacheprovider", "-o", "junit_family=xunit1")


def settled(project: Project) -> dict[str, TestFinished]:
    path = project.report_dir / "events.ndjson"
    if not path.exists():
        return {}
    events = read_events(path, on_note=lambda _: None)
    return {event.task_id: event for event in events if isinstance(event, TestFinished)}


def has_crashed(project: Project, task_id: str) -> bool:
    events = read_events(project.report_dir / "events.ndjson", on_note=lambda _: None)
    return any(isinstance(event, AttemptFinished) and event.task_id == task_id for event in events)


def was_resumed(project: Project) -> int:
    events = read_events(project.report_dir / "events.ndjson", on_note=lambda _: None)
    return sum(isinstance(event, RunResumed) for event in events)


def killed(project: Project, mode: str) -> None:
    """Run the suite until a third of it has ended and other tests are under way; then kill the coordinator."""
    project.file("test_it.py", SUITE)
    running = project.start("--drm-report-dir", str(project.report_dir), *MODES[mode], *ARGUMENTS)
    running.wait_for(lambda: len(settled(project)) > 17)
    running.process.send_signal(signal.SIGKILL)
    running.end()
    wait_until(lambda: not project.processes(), timeout_s=60, why="the executors outlive their coordinator")


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_run_goes_on_where_it_was(project: Project, mode: str) -> None:
    killed(project, mode)
    before = settled(project)
    resume = ("--drm-resume", str(project.report_dir), "--drm-report-dir", str(project.report_dir))
    project.file("go", "")
    ran = project.run(*MODES[mode], *ARGUMENTS, *resume, "--junitxml=junit.xml", drm=True)
    assert ran.code == 4, "--junitxml was not given before"
    assert "was started with" in ran.out
    assert settled(project) == before, "a refusal changes nothing"

    ran = project.run(*resume, *MODES[mode], *ARGUMENTS)
    assert ran.code == 1, ran.out
    assert f"{len(before)} of 60 tests had ended and are not run again" in ran.out
    assert "one is not two" in ran.out
    assert "out of one" in ran.out
    account = ran.account()
    assert account == {"passed": 57, "failed": 1, "skipped": 1, "xfailed": 1}
    events = project.events()  # numbers without a gap
    crashes = [e for e in events if isinstance(e, AttemptFinished) and e.death is DeathKind.CRASH]
    assert len(crashes) <= 1
    assert ("1 flaky" in ran.out) == bool(crashes), "a crash before the coordinator's end is not forgotten"
    assert [type(event) for event in events].count(RunStarted) == 1
    assert sum(isinstance(event, RunResumed) for event in events) == 1
    assert all(later.elapsed_s >= event.elapsed_s for event, later in pairwise(events))
    ended = Counter(event.task_id for event in events if isinstance(event, TestFinished))
    assert len(ended) == 60
    assert set(ended.values()) == {1}
    attempts = [(event.task_id, event.attempt) for event in events if isinstance(event, AttemptStarted)]
    assert len(attempts) == len(set(attempts))
    final_at = {event.task_id: event.seq for event in events if isinstance(event, TestFinished)}
    assert not [e for e in events if isinstance(e, AttemptStarted) and e.seq > final_at[e.task_id]]
    for task_id in before:
        ended_file = project.root / f"ended-{task_id.partition('[')[2][:-1]}"
        assert not ended_file.exists() or ended_file.read_text() == "x", f"{task_id} had ended and ran again"
    summary = summarise(events)
    assert summary.doubts == ()
    assert summary.finished
    assert project.results().summary.counts == summary.counts
    project.assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_run_that_was_cut_short_goes_on_where_it_was(project: Project, number: signal.Signals) -> None:
    project.file("test_it.py", SUITE)
    running = project.start("--drm-report-dir", str(project.report_dir), *MODES["fork"], *ARGUMENTS)
    running.wait_for(lambda: len(settled(project)) > 17 and has_crashed(project, "test_it.py::test_n[5]"))
    running.process.send_signal(number)
    assert running.end().code == {signal.SIGINT: 2, signal.SIGTERM: 143}[number]
    told = settled(project)
    due = {name for name, ended in told.items() if ended.retry_due}
    before = {name: end for name, end in told.items() if end.outcome is not Outcome.NOT_RUN and name not in due}
    assert 17 < len(before) < len(told) == 60, "the others did not run"
    assert due == {"test_it.py::test_n[5]"}, "it had crashed, and its second attempt had not ended"
    assert told["test_it.py::test_n[5]"].outcome is Outcome.FAILED
    assert "the run was stopped before another attempt" in told["test_it.py::test_n[5]"].message
    project.file("go", "")
    resume = ("--drm-resume", str(project.report_dir), "--drm-report-dir", str(project.report_dir))
    ran = project.run(*resume, *MODES["fork"], *ARGUMENTS)
    assert ran.code == 1, ran.out
    assert f"{len(before)} of 60 tests had ended and are not run again" in ran.out
    assert ran.account() == {"passed": 57, "failed": 1, "skipped": 1, "xfailed": 1}
    assert "1 flaky" in ran.out, "it is given the attempt that was due"
    events = project.events()  # numbers without a gap
    ended = Counter(event.task_id for event in events if isinstance(event, TestFinished))
    assert (len(ended), set(ended.values())) == (60, {1})
    assert {name: ended for name, ended in settled(project).items() if name in before} == before
    summary = summarise(events)
    assert (summary.doubts, summary.reason, summary.finished) == ((), "", True)
    assert project.results().summary.counts == summary.counts
    flaky = {event.task_id for event in events if isinstance(event, TestFinished) and event.flaky}
    assert flaky <= {"test_it.py::test_n[5]"}, "what was under way when it was cut short is not held against it"
    assert project.run(*resume, *MODES["fork"], *ARGUMENTS).code == 4, "now it has ended"


def test_what_is_told_of_a_resumed_run_is_what_would_have_been_told(project: Project) -> None:
    project.file("test_it.py", SUITE)
    project.file("five", "")
    junit = f"--junitxml={project.root / 'junit.xml'}"
    running = project.start("--drm-report-dir", str(project.report_dir), junit, *MODES["fork"], *ARGUMENTS)
    running.wait_for(lambda: len(settled(project)) > 17)
    running.process.send_signal(signal.SIGKILL)
    running.end()
    project.file("go", "")
    resume = ("--drm-resume", str(project.report_dir), "--drm-report-dir", str(project.report_dir))
    resumed = project.run(*resume, junit, *MODES["fork"], *ARGUMENTS)
    told = junit_of(project.root / "junit.xml")
    whole = project.run("--drm-report-dir", str(project.root / "whole"), junit, *MODES["fork"], *ARGUMENTS)
    assert told == junit_of(project.root / "junit.xml")
    assert len([row for row in told if row[1] == "case"]) == 60
    assert resumed.code == whole.code == 1
    assert resumed.account() == whole.account()


def test_twice_killed_is_resumed_twice_by_the_command_line(project: Project) -> None:
    """``drm run --resume`` needs no other word, and takes the id of a run too."""
    project.file("test_it.py", SUITE)
    project.file("five", "")

    def drm(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "drm", "run", *arguments]
        return subprocess.Popen(
            command,
            cwd=project.root,
            env=project.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    folder = project.root / "reports" / "run"
    project.report_dir = folder

    def goes_on(resumed: int) -> bool:
        return len(settled(project)) >= 10 and was_resumed(project) == resumed

    for resumed in (0, 1):
        process = drm("--resume", "reports/run") if resumed else drm("-q", *ARGUMENTS)
        try:
            wait_until(lambda times=resumed: goes_on(times), timeout_s=60, why="it does not go on")
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        wait_until(lambda: not project.processes(), timeout_s=60, why="executors outlive their coordinator")
    project.file("go", "")
    run_id = project.events_so_far()[0].run_id
    out, _ = (process := drm("--resume", run_id)).communicate(timeout=120)
    assert process.returncode == 1, out
    assert "57 passed" in out
    events = list(read_events(folder / "events.ndjson"))
    assert was_resumed(project) == 2
    assert Counter(e.task_id for e in events if isinstance(e, TestFinished)).most_common(1)[0][1] == 1
    assert (project.root / "reports" / "report.html").exists()
    for arguments, told in ((("--resume", run_id), "has ended"), (("--resume", "nowhere"), "neither a folder")):
        out, _ = (process := drm(*arguments)).communicate(timeout=120)
        assert process.returncode == 4
        assert told in out
        assert len(out.strip().splitlines()) == 1


def test_another_project_a_lost_test_and_a_living_coordinator_are_told_in_a_line(project: Project) -> None:
    killed(project, "fork")
    resume = ("--drm-resume", str(project.report_dir), "--drm-report-dir", str(project.report_dir))
    before = (project.report_dir / "events.ndjson").read_bytes()

    project.file("test_it.py", SUITE.replace("range(60)", "range(50)"))
    ran = project.run(*resume, *MODES["fork"], *ARGUMENTS)
    assert ran.code == 4
    assert "10 tests of run" in ran.out
    assert "are not collected any more" in ran.out

    project.file("test_it.py", SUITE)
    alive = project.start(*resume, *MODES["fork"], *ARGUMENTS)
    alive.wait_for(lambda: len((project.report_dir / "events.ndjson").read_bytes()) > len(before))
    ran = project.run(*resume, *MODES["fork"], *ARGUMENTS)
    assert ran.code == 4, ran.out
    assert "is being written" in ran.out
    project.file("go", "")
    assert alive.end().code == 1

    elsewhere = project.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pytest.ini").write_text("[pytest]\n")
    (elsewhere / "events.ndjson").write_bytes(before)
    ran = project.run(
        "--drm-resume", str(elsewhere), "--drm-report-dir", str(elsewhere), *MODES["fork"], f"--rootdir={elsewhere}"
    )
    assert ran.code == 4
    assert "resume it there" in ran.out


def test_half_a_line_and_a_damaged_one(project: Project, tmp_path: Path) -> None:
    killed(project, "fork")
    record = project.report_dir / "events.ndjson"
    record.write_bytes(record.read_bytes() + b'{"event":"TestFin')
    kept = project.report_dir / "reports.ndjson"
    kept.write_bytes(kept.read_bytes() + b'["reports","x')
    project.file("go", "")
    resume = ("--drm-resume", str(project.report_dir), "--drm-report-dir", str(project.report_dir))
    damaged = record.read_bytes()
    record.write_bytes(b"nonsense\n" + damaged)
    ran = project.run(*resume, *MODES["fork"], *ARGUMENTS)
    assert ran.code == 4
    assert "line 1 is damaged" in ran.out
    record.write_bytes(damaged)
    ran = project.run(*resume, *MODES["fork"], *ARGUMENTS)
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 57, "failed": 1, "skipped": 1, "xfailed": 1}


BENCHMARKS = """
import pathlib, time
import pytest

def test_measured(benchmark):
    benchmark.pedantic(int, rounds=1)

def test_skipped(benchmark):
    pytest.skip("not today")

@pytest.mark.xfail
def test_xfailed(benchmark):
    assert not "well"

def test_failed(benchmark):
    print("out of the benchmark")
    assert not "one is not two"

def test_under_way(benchmark):
    pathlib.Path("under-way").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
"""
IN_BENCHMARKS = ("-p", "pytest_benchmark.plugin", *MODES["fork"], *ARGUMENTS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_a_run_that_ended_amid_its_benchmarks_goes_on_there(project: Project, number: signal.Signals) -> None:
    project.file("test_it.py", BENCHMARKS + "\ndef test_plain(): pass\n")
    running = project.start("--drm-report-dir", str(project.report_dir), *IN_BENCHMARKS)
    running.wait_for((project.root / "under-way").exists)
    running.process.send_signal(number)
    running.end()
    wait_until(lambda: not project.processes(), timeout_s=60, why="the executors outlive their coordinator")
    ended = {name for name, end in settled(project).items() if end.outcome is not Outcome.NOT_RUN}
    assert len(ended) == 5
    assert "test_it.py::test_under_way" not in ended, "it was broken off"
    project.file("go", "")
    resume = ("--drm-resume", str(project.report_dir), "--drm-report-dir", str(project.report_dir))
    ran = project.run(*resume, *IN_BENCHMARKS)
    assert ran.code == 1, ran.out
    assert ran.account() == {"passed": 3, "failed": 1, "skipped": 1, "xfailed": 1}
    assert "out of the benchmark" in ran.out
    assert summarise(project.events()).doubts == ()


def test_a_run_of_nothing_but_benchmarks_is_not_begun_anew_in_its_own_record(project: Project) -> None:
    project.file("test_it.py", BENCHMARKS)
    running = project.start("--drm-report-dir", str(project.report_dir), *IN_BENCHMARKS)
    running.wait_for((project.root / "under-way").exists)
    running.process.send_signal(signal.SIGKILL)
    running.end()
    before = (project.report_dir / "events.ndjson").read_bytes()
    project.file("go", "")
    resume = ("--drm-resume", str(project.report_dir), "--drm-report-dir", str(project.report_dir))
    ran = project.run(*resume, *IN_BENCHMARKS)
    assert ran.code == 4, ran.out
    assert "cannot be resumed" in ran.out
    assert (project.report_dir / "events.ndjson").read_bytes() == before


@pytest.mark.parametrize("mode", MODES)
def test_what_maxfail_has_cut_short_goes_on_to_the_next_failure(project: Project, mode: str) -> None:
    project.file(
        "test_it.py",
        "import time, pytest\n@pytest.mark.parametrize('n', range(12))\n"
        "def test_n(n):\n    time.sleep(0.05)\n    assert n not in (3, 7)\n",
    )
    options = ("-x", "--drm-report-dir", str(project.report_dir), *MODES[mode], *ARGUMENTS)
    failed = []
    for resume in ((), *[("--drm-resume", str(project.report_dir))] * 2):
        ran = project.run(*resume, *options)
        assert ran.code == 1, ran.out
        assert summarise(project.events()).doubts == ()
        failed.append(ran.account()["failed"])
    assert failed == [1, 2, 2]
    assert ran.account() == {"passed": 10, "failed": 2}


def test_a_fixture_that_failed_late_costs_no_other_test_its_outcome(project: Project) -> None:
    project.file(
        "conftest.py",
        "import pytest\n@pytest.fixture(scope='session', autouse=True)\n"
        "def broken():\n    yield\n    raise ValueError('late')\n",
    )
    project.file(
        "test_it.py",
        "import pathlib, time, pytest\ndef test_single(): pass\n"
        "@pytest.mark.xdist_group('g')\n@pytest.mark.parametrize('n', range(6))\n"
        "def test_g(n):\n    time.sleep(0.1)\n"
        "    while n == 4 and not pathlib.Path('go').exists():\n"
        "        pathlib.Path('under-way').touch()\n        time.sleep(0.01)\n",
    )
    options = ("-x", "--drm-report-dir", str(project.report_dir), *MODES["fork"], *ARGUMENTS)
    running = project.start(*options)
    running.wait_for(lambda: (project.root / "under-way").exists() and len(settled(project)) == 5)
    running.process.send_signal(signal.SIGINT)
    running.end()
    assert settled(project)["test_it.py::test_g[3]"].outcome is Outcome.PASSED
    project.file("go", "")
    ran = project.run("--drm-resume", str(project.report_dir), *options)
    assert ran.code == 1, ran.out
    assert summarise(project.events()).doubts == ()
    assert ran.account()["not run"] == 0, ran.out


def test_ctrl_c_while_a_resumed_run_collects_is_ctrl_c(project: Project) -> None:
    killed(project, "fork")
    project.file(
        "test_it.py",
        "import pathlib, time\npathlib.Path('collecting').touch()\n"
        "time.sleep(0 if pathlib.Path('go').exists() else 60)\n" + SUITE,
    )
    resume = ("--drm-resume", str(project.report_dir), "--drm-report-dir", str(project.report_dir))
    running = project.start(*resume, *MODES["fork"], *ARGUMENTS)
    running.wait_for((project.root / "collecting").exists)
    running.process.send_signal(signal.SIGINT)
    ran = running.end()
    assert ran.code == 2, ran.out
    assert "are not collected any more" not in ran.out
    project.file("go", "")
    assert project.run(*resume, *MODES["fork"], *ARGUMENTS).code == 1
