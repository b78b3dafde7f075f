"""One run of the soak: made, surrounded, struck, resumed where its controller was killed, and looked at afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks import run_checks
from benchmarks.chaos import Striker, Watched, drive, environment, left, marked
from benchmarks.chaos_clusters import Cluster, Victim, send
from benchmarks.soak import checks
from benchmarks.soak.around import Around, Impossible, surround
from benchmarks.soak.schedule import Plan
from benchmarks.soak.suites import MARATHON, TOO_MUCH, Suite, make
from drm.model import events
from drm.model.errors import DrmError
from drm.model.work import Outcome
from drm.reporting.ndjson import read_events
from drm.reporting.results import read_results
from drm.summary import summarise

__all__ = ["Result", "run_once"]

_PATIENCE_S = {MARATHON: 900.0}
_USUAL_S = 180.0
_ENDED_S = 60.0  # for the executors of a controller that was killed
_SAMPLE_S = 0.5
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FULL = "full disk under temp"
_NO_RECORD = "full disk under the reports"
_NO_SPACE = ("No space left", "Errno 28")
_SIGKILL = 9


@dataclass
class Result:
    """What became of one run. ``wrong``: a sentence for everything that must not be; ``skipped``: why it could not be.

    ``slope``: bytes by which the controller grew for each test, ``rss``: (tests ended, bytes); of a marathon only.
    """

    number: int
    told: str
    tests: int = 0
    wall_s: float = 0.0
    exit_code: int | None = None
    struck: list[str] = field(default_factory=list)
    surroundings: tuple[str, ...] = ()
    resumed: int = 0
    attempts: int = 0
    attempts_lost: int = 0
    workers_lost: int = 0
    given_up: int = 0
    slope: float | None = None
    rss: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass
class _Run:
    """A run under way: its folders, what it is made of, what comes of it."""

    plan: Plan
    suite: Suite
    cluster: Cluster
    around: Around
    home: Path
    mark: str
    command: list[str]
    environment: dict[str, str]
    result: Result

    @property
    def project(self) -> Path:
        return self.around.project

    @property
    def record(self) -> Path:
        return self.project / "reports" / "run"

    def start(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return self.cluster.start(self.around.wrap(command), self.project, self.environment, log)


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
        run = _Run(
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
        _judge(run)
    return result


def _words(plan: Plan, suite: Suite, around: Around, cluster: Cluster) -> list[str]:
    start = ["--drm-start=spawn"] if plan.mode == "spawn" else []
    return [*cluster.options(plan.chance("cluster")), *start, *around.words, *suite.words]


def _run_before(run: _Run) -> None:
    """Let the suite run once in peace, so that there is a history; then spoil that."""
    command = [sys.executable, "-m", "drm", "run", "--drm-executors=2", "--drm-report-dir=before", "--drm-no-report"]
    with (run.project / "log-before").open("wb") as log:
        done = subprocess.run(
            [*command, *run.suite.words], cwd=run.project, env=run.environment, stdout=log, stderr=log
        )
    if done.returncode not in (0, 1):
        run.result.wrong.append(f"the run before ended with exit code {done.returncode}")
    for name in ("begun", *(path.name for path in run.project.glob("crashed-*"))):
        (run.project / name).unlink(missing_ok=True)
    run.around.before()


def _strike(run: _Run) -> None:
    """Run the suite under faults, and again with ``--resume`` while its controller is killed."""
    result, record = run.result, run.record / "events.ndjson"
    killed: list[bool] = []
    process: subprocess.Popen[bytes] | None = None

    def kill_controller(_: Victim) -> None:
        if process is not None:
            send(process.pid, _SIGKILL)
            killed.append(True)

    faults = {**run.cluster.faults, **run.around.faults, "controller": kill_controller}
    striker = Striker(run.plan.chance("strikes"), faults, run.plan.strikes)
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


def _wait_for_none(run: _Run) -> None:
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


# -- afterwards


def _judge(run: _Run) -> None:
    result, tests = run.result, len(run.suite.wanted)
    out = (run.project / "log").read_text(encoding="utf-8", errors="replace")
    result.wrong += checks.account(out, tests)
    if result.exit_code not in (0, 1):
        result.wrong.append(f"exit code {result.exit_code}: {out.strip().splitlines()[-1:]}")
    if _NO_RECORD in run.plan.faults:  # then junit.xml and what was printed are all there is
        result.wrong += checks.junit(run.project / "junit.xml", tests, None)
        return
    try:
        seen = list(read_events(run.record / "events.ndjson"))
        told = read_results(run.record / "results.json")
    except DrmError as error:
        result.wrong.append(f"the record cannot be read: {error}")
        return
    _judge_record(run, seen)
    result.wrong += run_checks.results(seen, told)
    result.wrong += checks.junit(run.project / "junit.xml", tests, told.summary.bad)
    if result.exit_code != int(told.summary.bad > 0):
        result.wrong.append(f"exit code {result.exit_code} with {told.summary.bad} bad tests")
    result.wrong += checks.page(run.project / "reports" / "report.html")
    if "full disk under the history" not in run.plan.faults:
        result.wrong += checks.history(run.around.history)
    if run.plan.suite == MARATHON:
        result.slope = checks.memory_slope(result.rss)
        if result.slope is None:
            result.notes.append("too few samples of the controller's memory")
        elif result.slope > checks.KIB_PER_TEST * 2**10:
            result.wrong.append(f"the controller grows by {result.slope:.0f} bytes for each test")


def _judge_record(run: _Run, seen: list[events.Event]) -> None:
    result = run.result
    begun = [event for event in seen if isinstance(event, events.AttemptStarted)]
    result.attempts = len(begun)
    result.attempts_lost = sum(isinstance(e, events.AttemptFinished) and e.death is not None for e in seen)
    result.workers_lost = sum(isinstance(event, events.WorkerLost) for event in seen)
    summary = summarise(seen)
    result.wrong += [f"the account: {doubt}" for doubt in summary.doubts]
    if not summary.finished or summary.reason:
        result.wrong.append(f"the run did not finish: {summary.reason or 'no last event'}")
    excused = _excused(run, seen)
    result.given_up = len(excused)
    result.wrong += run_checks.ended_once(seen, run.suite.wanted, excused)
    for check in (run_checks.attempts, run_checks.reservations, run_checks.instances, run_checks.times):
        result.wrong += check(seen)
    if not any(name.startswith("clock") for name in run.plan.faults) and (run.project / "begun").exists():
        lines = (line.partition(" ") for line in (run.project / "begun").read_text(encoding="utf-8").splitlines())
        result.wrong += run_checks.ran_too_late(seen, ((float(at), name) for at, _, name in lines))
    labels = {event.worker_id: event.labels for event in seen if isinstance(event, events.WorkerReady)}
    result.wrong += [
        f"{event.task_id} ran on {event.worker_id}, which has no label {run.suite.labels[event.task_id]}"
        for event in begun
        if event.task_id in run.suite.labels and run.suite.labels[event.task_id] not in labels.get(event.worker_id, ())
    ]


def _excused(run: _Run, seen: list[events.Event]) -> frozenset[str]:
    """Return the tests that may end otherwise than they would in peace, because a fault did that to them."""
    final = [event for event in seen if isinstance(event, events.TestFinished)]
    wanted = run.suite.wanted
    others = {event.task_id: event for event in final if event.outcome not in wanted.get(event.task_id, ())}
    excused = set()
    for name, event in others.items():
        full = _FULL in run.plan.faults and any(word in event.message for word in _NO_SPACE)
        memory = name == TOO_MUCH and {"memory cgroup", "little memory"} & set(run.plan.faults)
        no_label = (
            event.outcome is Outcome.ERROR and name in run.suite.labels and run.result.struck and not event.attempts
        )
        torn = "is held by another test" in event.message and any(
            word in " ".join(run.result.struck) for word in ("freeze", "partition", "stop", "pause")
        )  # a worker that was given up, and lives: nobody can take its lock away
        if full or memory or no_label or torn:
            excused.add(name)
    if run.result.struck or memory_is_short(run.plan):
        excused |= run_checks.given_up(seen) & others.keys()
    return frozenset(excused)


def memory_is_short(plan: Plan) -> bool:
    return bool({"memory cgroup", "little memory"} & set(plan.faults))
