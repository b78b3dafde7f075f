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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks.chaos_clusters import Cluster, SocketCluster, Victim, clusters
from drm.model import events
from drm.model.errors import DrmError
from drm.model.work import Outcome
from drm.reporting.ndjson import read_events
from drm.summary import summarise

MARK = "DRM_CHAOS_RUN"
_PATIENCE_S = 180.0  # for one run; a run that takes longer hangs
_LEFT_S = 15.0  # for processes to end after the run
_TICK_S = 0.02
_SAME_MOMENT_S = 0.05

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
    time.sleep(random.Random(n).choice((0.01, 0.05, 0.1, 0.4)))
    if n %% 17 == 3:
        assert n < 0, "it fails, always"
    if n %% 17 == 5:
        pytest.skip("it skips, always")
"""


def expected(number: int) -> Outcome:
    return {3: Outcome.FAILED, 5: Outcome.SKIPPED}.get(number % 17, Outcome.PASSED)


@dataclass
class Result:
    """What became of one run. ``wrong``: a sentence for everything that must not be."""

    number: int
    seed: int
    tests: int
    wall_s: float = 0.0
    exit_code: int | None = None
    faults: list[str] = field(default_factory=list)
    workers_lost: int = 0
    attempts: int = 0
    attempts_lost: int = 0
    given_up: int = 0
    wrong: list[str] = field(default_factory=list)


class Striker:
    """Strikes at random: ``shares`` of ended tests at which, and with what."""

    def __init__(self, rng: random.Random, cluster: Cluster) -> None:
        self._rng = rng
        self._cluster = cluster
        count = rng.choice((1, 1, 2, 2, 3))
        self.shares = sorted(rng.random() * 0.9 for _ in range(count))
        self._healing: list[tuple[float, Callable[[], None]]] = []
        self.struck: list[str] = []

    def look(self, share: float, victims: Sequence[Victim], now_s: float) -> None:
        for due in [entry for entry in self._healing if entry[0] <= now_s]:
            self._healing.remove(due)
            due[1]()
        if self.shares and share >= self.shares[0] and victims:
            self.shares.pop(0)
            name, act = self._rng.choice(sorted(self._cluster.faults.items()))
            victim = self._rng.choice(victims)
            heal = act(victim)
            if heal is not None:
                self._healing.append((now_s + self._rng.uniform(0.2, 2.5), heal))
            self.struck.append(f"{name} {victim.worker_id} at {share:.0%}")

    def heal(self) -> None:
        for _, heal in self._healing:
            heal()
        self._healing.clear()


def run_once(number: int, seed: int, tests: int, cluster: Cluster, folder: Path) -> Result:
    """Run the suite once under faults; ``folder`` is empty, and keeps the record in ``record/``."""
    rng = random.Random(f"{seed}/{number}")
    result = Result(number=number, seed=seed, tests=tests)
    (folder / "test_chaos.py").write_text(SUITE % {"tests": tests}, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -q\n", encoding="utf-8")
    temp, mark, record = folder / "t", uuid.uuid4().hex, folder / "record"
    temp.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_"))},
        MARK: mark,
        "TMPDIR": str(temp),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))),
    }
    command = [sys.executable, "-m", "pytest", "-p", "drm.pytest_plugin", "--drm", f"--drm-report-dir={record}"]
    striker = Striker(rng, cluster)
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = cluster.start([*command, *cluster.options(rng)], folder, environment, log)
        watched = _Watched(record / "events.ndjson", tests)
        while process.poll() is None and time.monotonic() - began < _PATIENCE_S:
            watched.look()
            striker.look(watched.share, cluster.victims(watched.workers), time.monotonic())
            time.sleep(_TICK_S)
    striker.heal()
    result.wall_s = round(time.monotonic() - began, 2)
    if process.poll() is None:
        result.wrong.append(f"it did not end within {_PATIENCE_S:g} s")
        process.kill()
    result.exit_code = process.wait()
    result.faults = striker.struck
    _check_left(result, mark, temp, cluster)
    _check_record(result, record / "events.ndjson", folder / "begun")
    return result


class _Watched:
    """How far a run is, read from its record."""

    def __init__(self, path: Path, tests: int) -> None:
        from drm.reporting.ndjson import EventReader

        self._path = path
        self._reader = EventReader(path)
        self._tests = tests
        self._ended = 0
        self.workers: dict[str, events.WorkerReady] = {}

    @property
    def share(self) -> float:
        return self._ended / self._tests

    def look(self) -> None:
        if not self._path.exists():
            return
        with suppress(DrmError):
            for event in self._reader.read(on_note=lambda _: None):
                self._ended += isinstance(event, events.TestFinished)
                if isinstance(event, events.WorkerReady):
                    self.workers[event.worker_id] = event
                elif isinstance(event, events.WorkerLost | events.InstanceReleased):
                    self.workers.pop(event.worker_id, None)


def _check_left(result: Result, mark: str, temp: Path, cluster: Cluster) -> None:
    deadline = time.monotonic() + _LEFT_S
    while (left := {**marked(mark), **cluster.leftovers()}) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid, command in left.items():
        result.wrong.append(f"process {pid} is left: {command[:100]}")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    result.wrong += [f"folder {path.name} is left" for path in temp.glob("drm-*")]


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
    result.workers_lost = sum(isinstance(event, events.WorkerLost) for event in seen)
    summary = summarise(seen)
    result.wrong += [f"the account: {doubt}" for doubt in summary.doubts]
    if not summary.finished or summary.reason:
        result.wrong.append(f"the run did not finish: {summary.reason or 'no last event'}")
    if result.exit_code not in (0, 1):
        result.wrong.append(f"exit code {result.exit_code}")
    counts = Counter(event.task_id for event in ended)
    wanted = [f"test_chaos.py::test_n[{n}]" for n in range(result.tests)]
    result.wrong += [f"{name} has {counts[name]} final outcomes" for name in wanted if counts[name] != 1]
    finals = {event.task_id: event for event in ended}
    for number, name in enumerate(wanted):
        final = finals.get(name)
        if final is not None and final.outcome is not expected(number):
            if final.outcome is Outcome.FAILED and ("was lost" in final.message or "killed" in final.message):
                result.given_up += 1
            else:
                result.wrong.append(f"{name} is {final.outcome.value}: {final.message}")
    result.wrong += [
        f"{event.task_id} was started after its final outcome"
        for event in started
        if event.task_id in finals and event.seq > finals[event.task_id].seq
    ]
    if begun.exists():
        for line in begun.read_text(encoding="utf-8").splitlines():
            at, _, name = line.partition(" ")
            final = finals.get(f"test_chaos.py::{name}")
            if final is not None and float(at) > datetime.fromisoformat(final.at).timestamp() + _SAME_MOMENT_S:
                result.wrong.append(f"{name} ran after its final outcome was recorded")


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
                print(f"run {number}: {faults}: {result.wall_s:.1f} s, {result.attempts_lost} lost: {told}", flush=True)
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
    command = [sys.executable, "-m", "drm", "report", "--reports-dir", str(into.parent)]
    subprocess.run(command, check=False, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
