"""A minute's worth of the soak: a few of its runs, and a run whose record is spoiled, which must be found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import IO

import pytest

from benchmarks.chaos_clusters import LocalExecutors
from benchmarks.soak import __main__ as soak
from benchmarks.soak.running import run_once
from benchmarks.soak.schedule import Plan, plan
from benchmarks.soak.under_way import Result

ROOT = Path(__file__).parents[2]
SEED = 1
SHORT = ("noops", "locks", "gpu")


def first(mode: str, fault: str) -> int:
    """Return the number of the first short run with that fault."""
    runs = (plan(SEED, number) for number in count())
    return next(
        run.number
        for run in runs
        if run.mode == mode and run.suite in SHORT and fault in run.faults and not run.surroundings
    )


def test_a_few_runs_under_faults_leave_nothing_wrong(tmp_path: Path) -> None:
    numbers = [first("fork", "controller"), first("workers", "kill"), first("fork", "kill")]
    command = [sys.executable, "-m", "benchmarks.soak", "--json", "--seed", str(SEED), "--output", str(tmp_path)]
    only = [word for number in numbers for word in ("--only", str(number))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *only], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["violations"] == [], done.stderr
    assert done.returncode == 0
    assert [run["number"] for run in told["runs"]] == numbers
    assert told["summary"]["controllers_killed"] >= 1, done.stderr
    assert told["summary"]["faults"]["kill"] >= 1, done.stderr
    assert (tmp_path / "last.html").exists()


class Spoiling(LocalExecutors):
    """Leaves a process; and takes one test's outcome out of the record, and leaves a folder, when the run has ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_spoiled = False
        self.left: subprocess.Popen[bytes] | None = None

    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        self.left = subprocess.Popen(["sleep", "600"], env=dict(environment))
        return super().start(command, folder, environment, log)

    def leftovers(self) -> dict[int, str]:
        record = self._folder / "project" / "reports" / "run" / "events.ndjson"
        if not self._is_spoiled:
            self._is_spoiled = True
            lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
            lost = next(number for number, line in enumerate(lines) if line["event"] == "TestFinished")
            kept = [*lines[:lost], *lines[lost + 1 :]]
            record.write_text("".join(json.dumps({**line, "seq": n}) + "\n" for n, line in enumerate(kept, start=1)))
            (self._folder / "home" / ".drm").mkdir()
        return {}


def test_a_lost_outcome_a_file_and_a_process_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.chaos._LEFT_S", 0.2)
    cluster = Spoiling(tmp_path)
    peaceful = Plan(seed=SEED, number=0, mode="fork", suite="gpu", strikes=(), surroundings=())
    try:
        result = run_once(peaceful, cluster, tmp_path)
    finally:
        assert cluster.left is not None
        cluster.left.kill()
        cluster.left.wait()
    told = "; ".join(result.wrong)
    assert " has 0 final outcomes" in told
    assert ".drm is left in home/" in told
    assert "is left: sleep 600" in told
    assert "the account: " in told
    assert "results.json has 20 tests, the events 19" in told


def test_a_violation_is_a_line_that_repeats_it_and_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bad(plan: Plan, _: object, folder: Path) -> Result:
        (folder / "project").mkdir()
        return Result(number=plan.number, told=plan.told, struck=["kill w1 at 7%"], wrong=["a has 0 final outcomes"])

    monkeypatch.setattr(soak, "run_once", bad)
    number = first("fork", "kill")
    assert soak.main(["--only", str(number), "--seed", str(SEED), "--output", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"run {number}, seed {SEED} (fork, " in out
    assert f"kill w1 at 7%): a has 0 final outcomes; again: python -m benchmarks.soak --seed 1 --only {number}" in out
