"""One run of the soak: made, surrounded, struck, resumed where its controller was killed, and looked at afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

from benchmarks.chaos import Striker, Watched, drive, environment, left, marked
from benchmarks.chaos_clusters import Cluster, Victim, send
from benchmarks.soak import checks
from benchmarks.soak.around import Around, Impossible, surround
from benchmarks.soak.judging import judge
from benchmarks.soak.schedule import Plan
from benchmarks.soak.suites import MARATHON, Suite, make
from benchmarks.soak.under_way import Result, Run
from drm.model import events
from drm.model.errors import DrmError
from drm.reporting.ndjson import read_events

__all__ = ["run_once"]

_PATIENCE_S = {MARATHON: 900.0}
_USUAL_S = 180.0
_ENDED_S = 60.0  # for the executors of a controller that was killed
_SAMPLE_S = 0.5
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SIGKILL = 9


def run_once(plan: Plan, cluster: Cluster, folder: Path) -> Result:
    """Do the run in an empty folder; its record is left in ``project/reports``."""
    result = Result(number=plan.number, told=plan.told, surroundings=plan.surroundings)
    project, temp, home = folder / "project", folder / "t", folder / "home"
    for each in (project, temp, home):
        each.mkdir()
    suite = make(plan.suite, project, plan.mode, plan.chance("suite"))
    result.tests = len(suite.wanted)
    around = Around(project=project, temp=temp)
    with ExitStack() as stack:
        try:
            surround(plan, around, stack)
        except Impossible as error:
            result.skipped = str(error)
            return result
        mark = uuid.uuid4().hex
        run = Run(
            plan=plan,
            suite=suite,
            cluster=cluster,
            around=around,
            home=home,
            mark=mark,
            command=[sys.executable, "-m", "drm", "run", "--junitxml=junit.xml", *_words(plan, suite, around, cluster)],
            environment={**environment(mark, temp), "HOME": str(home), **around.environment},
            result=result,
        )
        result.notes = around.notes
        if around.needs_history:
            _run_before(run)
        if plan.suite == MARATHON:
            result.pytest_slope = _pytest_alone(run)
        before = checks.listing(project)
        try:
            _strike(run)
        except BaseException:
            left(mark, temp, cluster)  # ends it
            raise
        result.wrong += left(mark, temp, cluster)
        result.wrong += checks.files(project, before, checks.IN_PROJECT)
        result.wrong += checks.files(temp, (), checks.IN_TEMP)
        result.wrong += checks.files(home, (), ())
        judge(run)
    return result


def _words(plan: Plan, suite: Suite, around: Around, cluster: Cluster) -> list[str]:
    start = ["--drm-start=spawn"] if plan.mode == "spawn" else []
    return [*cluster.options(plan.chance("cluster")), *start, *around.words, *suite.words]


def _run_before(run: Run) -> None:
    """Let the suite run once in peace, so that there is a history; then spoil that."""
    code, _ = run.in_peace("before")
    if code not in (0, 1):
        run.result.wrong.append(f"the run before ended with exit code {code}")
    for name in ("begun", *(path.name for path in run.project.glob("crashed-*"))):
        (run.project / name).unlink(missing_ok=True)
    run.around.before()


def _pytest_alone(run: Run) -> float | None:
    """Return by how many bytes pytest itself grows for each test of the suite: it keeps their reports."""
    told = run.home.parent / "memory"
    command = [sys.executable, "-m", "pytest", "--junitxml=junit.xml"]
    environment = {**run.environment, "SOAK_MEMORY": str(told), "SOAK_SLEEP": "0"}
    subprocess.run(command, cwd=run.project, env=environment, capture_output=True, timeout=_USUAL_S, check=False)
    lines = told.read_text(encoding="ascii").splitlines() if told.exists() else []
    (run.project / "begun").unlink(missing_ok=True)
    return checks.memory_slope([(int(ended), int(size)) for ended, _, size in (line.partition(" ") for line in lines)])


def _strike(run: Run) -> None:
    """Run the suite under faults, and again with ``--resume`` while its controller is killed."""
    result, record = run.result, run.record / "events.ndjson"
    killed: list[bool] = []
    process: subprocess.Popen[bytes] | None = None

    def kill_controller(_: Victim) -> None:
        if process is not None:
            send(process.pid, _SIGKILL)
            killed.append(True)

    faults = {**run.cluster.faults, **run.around.faults, "controller": kill_controller}
    # Not to the end: a test that only this worker can run would wait for ever.
    outages = [outage for outage in run.cluster.outages if not outage.is_to_the_end]
    outage = run.plan.chance("outage").choice(outages)
    striker = Striker(run.plan.chance("strikes"), faults, run.plan.strikes, outage=outage)
    watched = Watched(record, result.tests)
    command, began = run.command, time.monotonic()
    with (run.project / "log").open("wb") as log:
        while True:
            process = run.start(command, log)
            sampler = _Sampler(process.pid, watched, result.rss if run.plan.suite == MARATHON else [])
            patience_s = _PATIENCE_S.get(run.plan.suite, _USUAL_S)
            if not drive(process, striker, watched, run.cluster, patience_s=patience_s, look=sampler.look):
                result.wrong.append(f"it did not end within {patience_s:g} s")
            if not killed or _has_ended(record):
                break
            killed.clear()
            result.resumed += 1
            _wait_for_none(run)
            command = [sys.executable, "-m", "drm", "run", "--resume", "reports/run"]
    result.wall_s = round(time.monotonic() - began, 2)
    result.exit_code = process.returncode
    result.struck = striker.struck


def _has_ended(record: Path) -> bool:
    """Tell whether the controller was killed when all was told."""
    try:
        return any(isinstance(event, events.RunFinished) for event in read_events(record, on_note=lambda _: None))
    except DrmError:
        return True


def _wait_for_none(run: Run) -> None:
    deadline = time.monotonic() + _ENDED_S
    while marked(run.mark) or run.cluster.leftovers():
        if time.monotonic() > deadline:
            run.result.wrong.append(f"what the killed controller had started runs on after {_ENDED_S:g} s")
            return
        time.sleep(0.05)


class _Sampler:
    """Notes what the controller holds, now and then."""

    def __init__(self, pid: int, watched: Watched, samples: list[tuple[int, int]]) -> None:
        self._statm = Path(f"/proc/{pid}/statm")
        self._watched = watched
        self._samples = samples
        self._next_s = 0.0

    def look(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _SAMPLE_S
        try:
            self._samples.append((self._watched.ended, int(self._statm.read_text().split()[1]) * _PAGE))
        except (OSError, IndexError):
            return
