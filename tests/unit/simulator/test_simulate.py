"""Runs in virtual time: the same seed gives the same bytes, nothing is lost, and what a person asks is answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drm.cli import main
from drm.history import open_history
from drm.model import events
from drm.model.resources import Resources, total
from drm.model.samples import Sample
from drm.model.work import Outcome, Usage
from drm.reporting import write_reports
from drm.reporting.ndjson import read_events
from drm.simulator import Result, result_lines, scenario_of, simulate

FAST: dict[str, Any] = {"name": "fast", "weight": 6, "seconds": 0.3, "sigma": 1.0, "peak": "100MiB"}
GPU: dict[str, Any] = {"name": "gpu", "weight": 1, "seconds": 4, "gpu": 1, "labels": ["cuda"], "peak": "100MiB"}
CPU_WORKER: dict[str, Any] = {"name": "cpu", "cpu": 4, "memory": "8GiB", "price": 0.4, "count": 2, "start": "5s"}
GPU_WORKER: dict[str, Any] = {
    "name": "gpu",
    "cpu": 4,
    "memory": "8GiB",
    "gpu": 2,
    "labels": ["cuda"],
    "price": 3,
    "count": 1,
    "start": "5s",
    "jitter": 0.2,
}


def scenario(**changes: Any) -> dict[str, Any]:
    tests = changes.pop("tests", 120)
    return {
        "name": "mixed",
        "seed": 7,
        "workload": {"synthetic": {"tests": tests, "per_module": 10, "classes": [FAST, GPU]}},
        "history": {"error": 0.3},
        "workers": [CPU_WORKER, GPU_WORKER],
        **changes,
    }


def run(data: dict[str, Any], record: Path | None = None, folder: Path = Path()) -> Result:
    return simulate(scenario_of(data, where="s.yml", folder=folder), record=record)


def recorded(data: dict[str, Any], tmp_path: Path) -> tuple[Result, list[events.Event]]:
    path = tmp_path / "run" / "events.ndjson"
    result = run(data, path, tmp_path)
    return result, list(read_events(path))


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    faults = {"stragglers": 0.05, "crashes": 0.02, "worker_life": "60s", "start_failures": 0.1}
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run(scenario(seed=seed, faults=faults), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    """Python's own hashes of texts differ from process to process; no order may come from them."""
    (tmp_path / "s.json").write_text(json.dumps(scenario()))
    here, there = (["simulate", str(tmp_path / "s.json"), "--output-dir", str(tmp_path / name)] for name in "ab")
    other_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    assert main(here) == 0
    command = [sys.executable, "-m", "drm", *there]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": other_seed}, capture_output=True)
    kept = [(tmp_path / name / "run" / "events.ndjson").read_bytes() for name in "ab"]
    assert kept[0] == kept[1]


def test_no_run_beats_the_bounds_and_every_test_has_one_outcome(tmp_path: Path) -> None:
    result, seen = recorded(scenario(), tmp_path)
    assert dict(result.counts) == {"passed": 120}
    assert len({event.task_id for event in seen if isinstance(event, events.TestFinished)}) == 120
    assert result.bound_s <= result.makespan_s < 2 * result.bound_s
    assert result.cost_usd >= result.cost_bound_usd > 0
    assert all(0 < share <= 1 for _, share in (*result.reserved, *result.used))
    assert result.workers == (("cpu", 2), ("gpu", 1))
    check(seen)


def check(seen: list[events.Event]) -> None:
    """Never more is reserved than there is, an executor runs one test at a time, and the account adds up."""
    capacity: dict[str, Resources] = {}
    running: dict[tuple[str, str], Resources] = {}
    for event in seen:
        if isinstance(event, events.WorkerReady):
            capacity[event.worker_id] = event.capacity
        elif isinstance(event, events.AttemptStarted):
            assert (event.worker_id, event.executor_id) not in running
            running[event.worker_id, event.executor_id] = event.reserved
            held = total(amounts for (worker_id, _), amounts in running.items() if worker_id == event.worker_id)
            assert held.fits_in(capacity[event.worker_id])
        elif isinstance(event, events.AttemptFinished):
            del running[event.worker_id, event.executor_id]
    end = seen[-1]
    assert isinstance(end, events.RunFinished)
    assert sum(number for _, number in end.counts) == end.collected


@settings(max_examples=12)
@given(
    seed=st.integers(0, 1000),
    tests=st.integers(0, 60),
    crashes=st.floats(0, 0.3),
    failures=st.floats(0, 0.3),
    life_s=st.sampled_from(["0s", "20s", "200s"]),
    start_failures=st.sampled_from([0, 0.2]),
    count=st.sampled_from(["1", "0..3"]),
    policy=st.sampled_from(["makespan", "utilization,up_cooldown=1s,window=5s"]),
)
def test_whatever_goes_wrong_the_invariants_hold(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    tests: int,
    crashes: float,
    failures: float,
    life_s: str,
    start_failures: float,
    count: str,
    policy: str,
) -> None:
    faults = {"crashes": crashes, "failures": failures, "worker_life": life_s, "start_failures": start_failures}
    workers = [{**CPU_WORKER, "count": count}, {**GPU_WORKER, "count": count}]
    data = scenario(seed=seed, tests=tests, faults=faults, workers=workers, policies={"scaling": policy})
    result, seen = recorded(data, tmp_path_factory.mktemp("run"))
    check(seen)
    assert sum(number for _, number in result.counts) == tests
    assert not result.problem or "did not start" in result.problem
    assert result.problem or dict(result.counts).get("not_run", 0) == 0


def test_what_if_there_were_more_gpu_workers() -> None:
    """The question that a person asks: the gpu tests are the longest, and with more workers for them it ends sooner."""
    one, three = (run(scenario(workers=[CPU_WORKER, {**GPU_WORKER, "count": count}])) for count in (1, 3))
    assert three.makespan_s < 0.6 * one.makespan_s


def test_a_lost_worker_is_replaced_and_costs_nobody_a_test(tmp_path: Path) -> None:
    result, seen = recorded(scenario(faults={"worker_life": "40s"}, tests=400), tmp_path)
    assert result.workers_lost > 0
    assert dict(result.workers)["cpu"] > 2
    assert dict(result.counts) == {"passed": 400}
    assert result.makespan_s > run(scenario(tests=400)).makespan_s
    assert sum(event.requeued for event in seen if isinstance(event, events.WorkerLost)) > 0


def test_crashes_are_tried_again_and_failures_are_not() -> None:
    assert run(scenario(faults={"crashes": 0.1})).attempts > 120
    failed = run(scenario(faults={"failures": 0.5}))
    assert 30 < dict(failed.counts)["failed"] < 90
    assert failed.attempts == 120


def test_stragglers_make_it_longer() -> None:
    plain, slow = run(scenario()), run(scenario(faults={"stragglers": 0.2, "straggler_factor": 20}))
    assert slow.makespan_s > 1.5 * plain.makespan_s
    assert slow.extra_s > plain.extra_s


def test_second_starts_of_stragglers_make_it_shorter() -> None:
    faults = {"stragglers": 0.05, "straggler_factor": 50}
    slow, copied = run(scenario(faults=faults)), run(scenario(faults=faults, policies={"speculate": True}))
    assert dict(copied.counts) == dict(slow.counts) == {"passed": 120}
    assert copied.attempts > slow.attempts == 120
    assert copied.makespan_s < 0.8 * slow.makespan_s


def test_tests_that_hold_more_than_they_asked_for_are_killed_as_the_kernel_does(tmp_path: Path) -> None:
    hog = {**FAST, "peak": "5GiB", "memory": "1GiB", "seconds": 5}
    data = scenario(workload={"synthetic": {"tests": 4, "classes": [hog]}}, history={"known": 0})
    result, seen = recorded(data, tmp_path)
    assert any(isinstance(event, events.AttemptFinished) and event.death == "memory" for event in seen)
    assert dict(result.counts) == {"passed": 4}, "tried again with more they pass"


def test_no_more_workers_than_there_are_to_be_had(tmp_path: Path) -> None:
    result, seen = recorded(scenario(workers=[{**CPU_WORKER, "count": "1..9", "limit": 2}, GPU_WORKER]), tmp_path)
    assert dict(result.workers)["cpu"] <= 2
    assert any(isinstance(event, events.ScalingDecided) and "there are 2 cpu" in event.outcome for event in seen)


def test_a_run_that_no_worker_starts_for_is_given_up_and_says_so(tmp_path: Path) -> None:
    result, seen = recorded(scenario(faults={"start_failures": 1}), tmp_path)
    assert "did not start" in result.problem
    assert dict(result.counts) == {"not_run": 120}
    assert isinstance(seen[-1], events.RunFinished)


def test_a_test_that_fits_nowhere_is_refused_with_the_reason(tmp_path: Path) -> None:
    huge = {"name": "huge", "gpu": 3, "labels": ["cuda"]}
    data = scenario(workload={"synthetic": {"tests": 3, "classes": [huge]}})
    result, seen = recorded(data, tmp_path)
    assert dict(result.counts) == {"error": 3}
    messages = {event.message for event in seen if isinstance(event, events.TestFinished)}
    assert any("needs 3 gpu" in message for message in messages)


def test_tests_that_ask_for_half_a_core_share_one() -> None:
    halves = {"name": "half", "cpu": 0.5, "seconds": 1, "peak": 0}
    worker = {"name": "cpu", "cpu": 2, "memory": "8GiB", "count": 1, "start": "0s"}
    result = run(scenario(workload={"synthetic": {"tests": 80, "classes": [halves]}}, workers=[worker], history={}))
    assert result.bound_s == 20
    assert result.makespan_s < 21.5, "four at a time on two cores"


def test_an_empty_suite_ends_at_once() -> None:
    result = run(scenario(tests=0))
    assert (result.tests, result.makespan_s, result.attempts) == (0, 0.0, 0)
    assert list(result_lines(result))


def test_the_report_shows_it(tmp_path: Path) -> None:
    recorded(scenario(), tmp_path)
    written = write_reports(tmp_path)
    text = Path(written["md"]).read_text(encoding="utf-8")
    assert "120" in text
    assert "gpu" in text


def test_a_suite_of_ones_own_from_its_history(tmp_path: Path) -> None:
    """The newest attempt is what happens; the rules say what the history does not know."""
    store = open_history(tmp_path / "history.db", warn=pytest.fail)
    for run_id, wall_s in (("r1", 1.0), ("r2", 2.0)):
        samples = [
            Sample(task_id=f"tests/{kind}/test_a.py::test_{n}", usage=Usage(wall_s=wall_s, cpu_s=1.0), outcome=outcome)
            for kind, outcome in (("gpu", Outcome.PASSED), ("unit", Outcome.FAILED))
            for n in range(6)
        ]
        store.record(run_id, samples)
    store.close()
    data = scenario(
        workload={"history": "history.db", "match": "tests/*"},
        requirements=[{"match": "tests/gpu/*", "gpu": 1, "labels": ["cuda"]}],
        workers=[{**CPU_WORKER, "count": 2}, {**GPU_WORKER, "count": 1, "jitter": 0}],
    )
    result, seen = recorded(data, tmp_path)
    assert dict(result.counts) == {"passed": 6, "failed": 6}
    assert result.work_s == pytest.approx(24.0)
    assert result.bound_s == pytest.approx(5 + 12 / 2), "six gpu tests of 2 s on two gpus, after a start of 5 s"
    gpu = [event for event in seen if isinstance(event, events.AttemptStarted) and event.reserved.gpus == 1]
    assert len(gpu) == 6
    assert isinstance(next(event for event in seen if isinstance(event, events.ForecastMade)), events.ForecastMade)


def test_a_record_and_a_table_are_workloads_too(tmp_path: Path) -> None:
    first, _ = recorded(scenario(), tmp_path)
    again = run(scenario(workload={"trace": "run/events.ndjson"}), folder=tmp_path)
    assert again.tests == first.tests == 120
    assert again.work_s == pytest.approx(first.work_s, rel=0.01)
    assert dict(again.reserved)["gpu"] > 0
    (tmp_path / "t.csv").write_text("test,seconds,gpu,labels,outcome\na::x,3,1,cuda,passed\na::y,90s,,,failed\n")
    table = run(scenario(workload={"trace": "t.csv"}), folder=tmp_path)
    assert dict(table.counts) == {"passed": 1, "failed": 1}
    assert table.work_s == pytest.approx(93.0)


def test_the_command_prints_the_result_and_where_the_record_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.json").write_text(json.dumps(scenario()))
    assert main(["simulate", "s.json", "--set", "workers.gpu.count=3", "--seed", "9"]) == 0
    out = capsys.readouterr().out
    assert "mixed (seed 9): 120 tests: 120 passed" in out
    assert "3 gpu" in out
    for word in ("makespan", "cost", "reserved", "ratio", "drm report --reports-dir simulated"):
        assert word in out
    assert Path("simulated/run/events.ndjson").is_file()
    assert main(["simulate", "s.json", "--json", "--no-record", "--output-dir", "elsewhere"]) == 0
    assert json.loads(capsys.readouterr().out)["tests"] == 120
    assert not Path("elsewhere").exists()
