"""The complete workflow, wave by wave: low, steady, spike, cool-down; workers die and stand still; a report at the end.

Coordinator and workers are real processes, the workers of three kinds. No GPU is needed: a label stands for one, so
what is shown here is that such tests go to such workers, not that a device is used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from e2e_cluster import Cluster, decisions, kinds_of_workers, lost_attempts, outcomes, placements
from test_workflow import all_final, check_nothing_left

from drm.model.events import AttemptStarted, Event, TestFinished, UtilizationSampled, WorkerLost, WorkerReady
from drm.model.plan import ScalingAction
from drm.worker.linux import descendants_of

LOW, STEADY = 2, 10
LONG = "test_load.py::test_long"


class Waves:
    """Submits load wave by wave, and counts what must have ended."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.submitted = 0
        self.most: dict[str, int] = defaultdict(int)  # workers, per wave

    def submit(self, **counts: int) -> None:
        self.cluster.submit(self.cluster.tasks(**counts))
        self.submitted += sum(counts.values())

    def done(self, wave: str) -> bool:
        self.most[wave] = max(self.most[wave], self.cluster.workers())
        return all_final(self.cluster, self.submitted)

    def low(self) -> None:
        self.submit(cpu=LOW)
        self.cluster.until(lambda: self.done("low"), timeout_s=90)

    def steady(self, count: int) -> None:
        """Submit as fast as one worker gets done with it: a test whenever fewer than two are open."""

        def step() -> bool:
            nonlocal count
            if count and self.submitted - sum(self.cluster.ears.delivered.values()) < 2:
                self.submit(cpu=1)
                count -= 1
            return self.done("steady") and not count

        self.cluster.until(step, timeout_s=120)

    def cool_down(self) -> None:
        self.cluster.until(lambda: self.cluster.workers() == 1, timeout_s=120)


class Misfortune:
    """Kills the worker that runs the long test, and makes another one stand still for ever, each amid its tests."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.killed = self.frozen = ""

    def strike(self) -> None:
        running = self._cluster.all_running()
        pids = self._cluster.pids()
        for worker_id, task_ids in running.items():
            if not self.killed and LONG in task_ids:
                self.killed = worker_id
                os.kill(pids[worker_id], signal.SIGKILL)
            elif self.killed and not self.frozen and worker_id != self.killed and LONG not in task_ids:
                self.frozen = worker_id
                for pid in (pids[worker_id], *descendants_of(pids[worker_id])):
                    os.kill(pid, signal.SIGSTOP)


def test_the_complete_workflow(cluster: Cluster, quick: bool, tmp_path: Path) -> None:
    waves, misfortune = Waves(cluster), Misfortune(cluster)
    waves.low()
    assert waves.most["low"] == 1
    waves.steady(4 if quick else STEADY)
    assert waves.most["steady"] <= 2
    waves.submit(cpu=24 if quick else 40, highmem=3, gpu=3, long=1)

    def spike() -> bool:
        if not misfortune.frozen:
            misfortune.strike()
        return waves.done("spike")

    cluster.until(spike, timeout_s=180)
    assert waves.most["spike"] >= 3, "every kind of worker was there"
    waves.cool_down()
    waves.submit(cpu=LOW)  # the pool that has shrunk is one that works
    cluster.until(lambda: waves.done("after"), timeout_s=90)
    events = cluster.close()

    check_work(events, waves.submitted)
    check_losses(events, misfortune)
    check_scaling(events)
    check_nothing_left(events)
    check_report(cluster, tmp_path / "report", waves.submitted)


def check_work(events: list[Event], submitted: int) -> None:
    where = placements(events)
    assert where["test_highmem"] == {"highmem"}
    assert where["test_gpu"] == {"gpu"}
    assert set(kinds_of_workers(events).values()) == {"cpu", "highmem", "gpu"}
    found = outcomes(events)
    assert len(found) == submitted
    assert all(outcome == ["passed"] for outcome in found.values())
    final = {event.task_id: event.seq for event in events if isinstance(event, TestFinished)}
    assert not [e for e in events if isinstance(e, AttemptStarted) and e.seq > final[e.task_id]]


def check_losses(events: list[Event], misfortune: Misfortune) -> None:
    """One worker was killed and one stood still; others took their place, and what they had run."""
    lost = {event.worker_id: event for event in events if isinstance(event, WorkerLost)}
    assert lost.keys() == {misfortune.killed, misfortune.frozen}
    assert "nothing was heard of it" in lost[misfortune.frozen].reason
    assert LONG in {event.task_id for event in lost_attempts(events)}
    last = max(event.seq for event in lost.values())
    first = min(event.seq for event in lost.values())
    new = {event.worker_id for event in events if isinstance(event, WorkerReady) and event.seq > first}
    assert new, "none was started in their place"
    assert {event.worker_id for event in events if isinstance(event, AttemptStarted) and event.seq > last}


def check_scaling(events: list[Event]) -> None:
    made = [event.decision for event in decisions(events)]
    assert {ScalingAction.UP, ScalingAction.DOWN} <= {decision.action for decision in made}
    assert all(decision.reason and decision.trigger.code for decision in made)


def check_report(cluster: Cluster, output: Path, submitted: int) -> None:
    """The metrics and the report, as ``drm report`` makes them of the record."""
    command = [sys.executable, "-m", "drm", "report", str(cluster.record / "events.ndjson"), f"--output-dir={output}"]
    done = subprocess.run(
        [*command, "--format=json,html,md,openmetrics"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = (output / "report.metrics.txt").read_text(encoding="utf-8")
    assert f'drm_tests{{outcome="passed"}} {submitted}\n' in metrics
    assert 'drm_tests{outcome="not_run"} 0\n' in metrics
    assert metrics.endswith("# EOF\n")
    written = (output / "report.md").read_text(encoding="utf-8")
    assert f"Passing: {submitted} of {submitted} tests passed." in written
    assert "## Scaling decisions" in written
    assert "nothing was heard of it" in written
    assert (output / "report.html").exists()
    report = (output / "report.json").read_text(encoding="utf-8")
    assert json.loads(report)["state"] == "passing"
    sampled = {event.worker_id for event in cluster.events() if isinstance(event, UtilizationSampled)}
    assert len(sampled) >= 3
    assert all(f'"{worker_id}"' in report for worker_id in sampled)
