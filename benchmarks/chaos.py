"""Runs whose workers are killed, stopped and cut off at random: does every test end exactly once, and is nothing left?

    python -m benchmarks.chaos --runs 200 --seed 1

Each run is a real ``drm run`` of a small suite on separate workers. Faults strike when a random share of the tests has
ended. Afterwards the record, and what the tests wrote down themselves, are held against each other:

- every collected test has one final outcome, the right one; none is lost, the account adds up;
- no test began after its final outcome was recorded;
- no process and no folder is left.

A test that loses its worker three times has failed, as documented: that is one outcome too, and is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import run_checks
from benchmarks.chaos_clusters import SHORT, TO_THE_END, Cluster, Outage, SocketCluster, Victim, clusters, send
from drm.model import events
from drm.model.errors import DrmError
from drm.model.work import Outcome
from drm.reporting.ndjson import read_events
from drm.summary import summarise

MARK = "DRM_CHAOS_RUN"
PATIENCE_S = 180.0  # for one run; a run that takes longer hangs
_LEFT_S = 15.0  # for processes to end after the run
_TICK_S = 0.02
_SILENT = ("freeze", "partition", "pause", "stop")  # faults after which nothing is heard of a worker

SUITE = """
import os, random, time
import pytest

def note(name):
    line = f"{time.time():.6f} {os.environ['PYTEST_CURRENT_TEST'].split(' ')[0].partition('::')[2]}\\n"
    with open("begun", "a") as file:
        file.write(line)

@pytest.fixture(scope="module", autouse=True)
def kept():
    yield

@pytest.mark.parametrize("n", range(%(tests)d))
def test_n(n):
    note(n)
    time.sleep(random.Random(n).choice((0.01, 0.05, 0.1, 0.4)) + %(slower_s)g)
    if n %% 17 == 3:
        assert n < 0, "it fails, always"
    if n %% 17 == 5:
        pytest.skip("it skips, always")
"""


def expected(number: int) -> Outcome:
    return {3: Outcome.FAILED, 5: Outcome.SKIPPED}.get(number % 17, Outcome.PASSED)


@dataclass
class Result:
    """What became of one run. ``wrong``: a sentence for everything that must not be.

    ``healed_amid``: faults that were made good again while it went on; ``silent_lost``: lost workers that had been
    cut off or had stood still; ``back_again``: those that joined after they had been lost.
    """

    number: int
    seed: int
    tests: int
    wall_s: float = 0.0
    exit_code: int | None = None
    faults: list[str] = field(default_factory=list)
    outage: str = ""
    healed_amid: int = 0
    workers_lost: int = 0
    silent_lost: int = 0
    back_again: int = 0
    attempts: int = 0
    attempts_lost: int = 0
    given_up: int = 0
    wrong: list[str] = field(default_factory=list)


Faults = Mapping[str, Callable[[Victim], Callable[[], None] | None]]


class Striker:
    """Strikes with ``faults``: at which shares of ended tests and with what says ``strikes``, or else chance.

    ``outage``: how long it takes until they are made good again. To the end of the run that is of the first only: not
    all workers may be gone.
    """

    def __init__(
        self,
        rng: random.Random,
        faults: Faults,
        strikes: Sequence[tuple[float, str]] | None = None,
        *,
        outage: Outage = SHORT,
    ) -> None:
        self._rng = rng
        self._faults = faults
        self._outage = outage
        if strikes is None:
            strikes = [(rng.random() * outage.until, "") for _ in range(rng.choice((1, 1, 2, 2, 3)))]
        self._left = sorted(strikes)
        self._healing: list[tuple[float, Callable[[], None]]] = []
        self.struck: list[str] = []
        self.healed = 0  # while the run went on

    def look(self, share: float, victims: Sequence[Victim], now_s: float) -> None:
        for due in [entry for entry in self._healing if entry[0] <= now_s]:
            self._healing.remove(due)
            due[1]()
            self.healed += 1
        if self._left and share >= self._left[0][0] and victims:
            name = self._left.pop(0)[1] or self._rng.choice(sorted(self._faults))
            victim = self._rng.choice(victims)
            heal = self._faults[name](victim)
            told = f"{name} {victim.worker_id} at {share:.0%}"
            if heal is not None:
                lasts_s = self._outage.lasts_s(self._rng)
                self._healing.append((now_s + lasts_s, heal))
                told += f" {TO_THE_END.name}" if self._outage.is_to_the_end else f" for {lasts_s:.1f} s"
                if self._outage.is_to_the_end:
                    self._outage = SHORT
            self.struck.append(told)

    def heal(self) -> None:
        for _, heal in self._healing:
            heal()
        self._healing.clear()


def run_once(number: int, seed: int, tests: int, cluster: Cluster, folder: Path) -> Result:
    """Run the suite once under faults; ``folder`` is empty, and keeps the record in ``record/``."""
    rng = random.Random(f"{seed}/{number}")
    outage = random.Random(f"{seed}/{number}/outage").choice(cluster.outages)
    result = Result(number=number, seed=seed, tests=tests, outage=outage.name)
    suite = SUITE % {"tests": tests, "slower_s": outage.slower_s}
    (folder / "test_chaos.py").write_text(suite, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -q\n", encoding="utf-8")
    temp, mark, record = folder / "t", uuid.uuid4().hex, folder / "record"
    temp.mkdir()
    command = [sys.executable, "-m", "pytest", "-p", "drm.pytest_plugin", "--drm", f"--drm-report-dir={record}"]
    striker = Striker(rng, cluster.faults, outage=outage)
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = cluster.start([*command, *cluster.options(rng)], folder, environment(mark, temp), log)
        if not drive(process, striker, Watched(record / "events.ndjson", tests), cluster):
            result.wrong.append(f"it did not end within {PATIENCE_S:g} s")
    result.wall_s = round(time.monotonic() - began, 2)
    result.exit_code = process.wait()
    result.faults, result.healed_amid = striker.struck, striker.healed
    result.wrong += left(mark, temp, cluster)
    _check_record(result, record / "events.ndjson", folder / "begun")
    return result


def environment(mark: str, temp: Path) -> dict[str, str]:
    """Return the environment of a run: what it starts carries the mark, and what it leaves lies in ``temp``."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_"))},
        MARK: mark,
        "TMPDIR": str(temp),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))),
    }


def drive(
    process: subprocess.Popen[bytes],
    striker: Striker,
    watched: Watched,
    cluster: Cluster,
    *,
    patience_s: float = PATIENCE_S,
    look: Callable[[], None] = lambda: None,
) -> bool:
    """Let the striker strike until the run has ended; False where it does not, and was killed."""
    deadline = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < deadline:
        watched.look()
        striker.look(watched.share, cluster.victims(watched.workers), time.monotonic())
        look()
        time.sleep(_TICK_S)
    striker.heal()
    if process.poll() is not None:
        return True
    process.kill()
    process.wait()
    return False


class Watched:
    """How far a run is, read from its record."""

    def __init__(self, path: Path, tests: int) -> None:
        from drm.reporting.ndjson import EventReader

        self._path = path
        self._reader = EventReader(path)
        self._tests = tests
        self.ended = 0
        self.workers: dict[str, events.WorkerReady] = {}

    @property
    def share(self) -> float:
        return self.ended / self._tests

    def look(self) -> None:
        if not self._path.exists():
            return
        with suppress(DrmError):
            for event in self._reader.read(on_note=lambda _: None):
                self.ended += isinstance(event, events.TestFinished)
                if isinstance(event, events.WorkerReady):
                    self.workers[event.worker_id] = event
                elif isinstance(event, events.WorkerLost | events.InstanceReleased):
                    self.workers.pop(event.worker_id, None)


def left(mark: str, temp: Path, cluster: Cluster) -> list[str]:
    """Return what a run that has ended has left, a sentence each; processes are given a while, then killed."""
    deadline = time.monotonic() + _LEFT_S
    while (found := {**marked(mark), **cluster.leftovers()}) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in found:
        send(pid, signal.SIGKILL)
    wrong = [f"process {pid} is left: {command[:100]}" for pid, command in found.items()]
    return wrong + [f"folder {path.name} is left" for path in temp.glob("drm-*")]


def marked(mark: str) -> dict[int, str]:
    """Return the processes that carry a mark in their environment, with their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                    if state not in "ZX":
                        words = (folder / "cmdline").read_bytes().split(b"\0")
                        found[int(folder.name)] = b" ".join(words).decode(errors="replace")
    return found


def _check_record(result: Result, record: Path, begun: Path) -> None:
    try:
        seen = list(read_events(record))
    except DrmError as error:
        result.wrong.append(f"the record cannot be read: {error}")
        return
    ended = [event for event in seen if isinstance(event, events.TestFinished)]
    started = [event for event in seen if isinstance(event, events.AttemptStarted)]
    lost = [event for event in seen if isinstance(event, events.AttemptFinished) and event.death is not None]
    result.attempts, result.attempts_lost = len(started), len(lost)
    gone = [event for event in seen if isinstance(event, events.WorkerLost)]
    result.workers_lost = len(gone)
    silent = {words[1] for words in map(str.split, result.faults) if words[0] in _SILENT}
    result.silent_lost = sum(event.worker_id in silent for event in gone)
    result.back_again = run_checks.back_again(seen)
    summary = summarise(seen)
    result.wrong += [f"the account: {doubt}" for doubt in summary.doubts]
    if not summary.finished or summary.reason:
        result.wrong.append(f"the run did not finish: {summary.reason or 'no last event'}")
    if result.exit_code not in (0, 1):
        result.wrong.append(f"exit code {result.exit_code}")
    wanted = {f"test_chaos.py::test_n[{n}]": {expected(n)} for n in range(result.tests)}
    excused = frozenset(
        event.task_id
        for event in ended
        if event.outcome is Outcome.FAILED and ("was lost" in event.message or "killed" in event.message)
    )
    finals = {event.task_id: event.outcome for event in ended}
    result.given_up = sum(finals[name] not in wanted.get(name, ()) for name in excused)
    result.wrong += run_checks.ended_once(seen, wanted, excused)
    if begun.exists():
        lines = (line.partition(" ") for line in begun.read_text(encoding="utf-8").splitlines())
        result.wrong += run_checks.ran_too_late(seen, ((float(at), f"test_chaos.py::{name}") for at, _, name in lines))


def summary_of(results: Sequence[Result], engine: str) -> dict[str, object]:
    """Return what all runs came to."""
    kinds = Counter(fault.split()[0] for result in results for fault in result.faults)
    walls = sorted(result.wall_s for result in results)
    return {
        "engine": engine,
        "runs": len(results),
        "tests": sum(result.tests for result in results),
        "attempts": sum(result.attempts for result in results),
        "attempts_lost": sum(result.attempts_lost for result in results),
        "workers_lost": sum(result.workers_lost for result in results),
        "silent_lost": sum(result.silent_lost for result in results),
        "back_again": sum(result.back_again for result in results),
        "healed_amid": sum(result.healed_amid for result in results),
        "outages": dict(sorted(Counter(result.outage for result in results).items())),
        "tests_given_up": sum(result.given_up for result in results),
        "faults": dict(sorted(kinds.items())),
        "median_wall_s": walls[len(walls) // 2],
        "longest_wall_s": walls[-1],
        "runs_gone_wrong": sum(bool(result.wrong) for result in results),
    }


def write(results: Sequence[Result], engine: str, output: Path) -> None:
    """Write chaos.json and chaos.md."""
    total = summary_of(results, engine)
    output.mkdir(parents=True, exist_ok=True)
    data = {"summary": total, "runs": [asdict(result) for result in results]}
    (output / "chaos.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    rows = [f"| {name.replace('_', ' ')} | {value} |" for name, value in total.items()]
    wrong = [
        f"- run {result.number} ({', '.join(result.faults)}): {line}" for result in results for line in result.wrong
    ]
    lines = [
        "# Runs under faults",
        "",
        "| | |",
        "|---|---|",
        *rows,
        "",
        "## What went wrong",
        "",
        *(wrong or ["nothing"]),
    ]
    (output / "chaos.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tests", type=int, default=40, help="tests per run")
    parser.add_argument("--engine", choices=sorted(clusters()), default=SocketCluster.name)
    parser.add_argument("--first", type=int, default=0, help="number of the first run, to repeat one")
    parser.add_argument("--output", type=Path, default=Path("reports/chaos"))
    given = parser.parse_args(arguments)
    cluster = clusters()[given.engine]()
    reason = cluster.why_not()
    if reason:
        print(f"chaos: {given.engine} cannot run here: {reason}", file=sys.stderr)
        return 4
    results: list[Result] = []
    most = -1
    with cluster:
        for number in range(given.first, given.first + given.runs):
            folder = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
            try:
                result = run_once(number, given.seed, given.tests, cluster, folder)
                results.append(result)
                told = "; ".join(result.wrong) or "well"
                faults = ", ".join(result.faults) or "no fault"
                lost = f"{result.attempts_lost} lost, {result.silent_lost} silent, {result.back_again} back"
                print(f"run {number} ({result.outage}): {faults}: {result.wall_s:.1f} s, {lost}: {told}", flush=True)
                if (len(result.wrong), result.attempts_lost) > (0, most) or result.wrong:
                    most = result.attempts_lost
                    _keep(folder, given.output / ("wrong" if result.wrong else "run"))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    write(results, given.engine, given.output)
    print(json.dumps(summary_of(results, given.engine)))
    return int(any(result.wrong for result in results))


def _keep(folder: Path, into: Path) -> None:
    """Keep the record of a run, and make its report: the one that lost most, and the last that went wrong."""
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(folder / "record", into)
    shutil.copy(folder / "log", into / "stage.log")
    if (folder / "begun").exists():  # a test has begun
        shutil.copy(folder / "begun", into / "begun.log")
    command = [sys.executable, "-m", "drm", "report", "--reports-dir", str(into.parent)]
    subprocess.run(command, check=False, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
