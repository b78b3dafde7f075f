"""The two commands over files of data, on small files made here."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from benchmarks import test_durations as durations
from benchmarks import workflow_memory

HEADER = "process,cpus,memory,submit,realtime,rss,peak_rss,rchar\n"


def trace(folder: Path) -> None:
    """Write a workflow of one process whose memory is 1 GB and a tenth of its input, and rows without measurement."""
    chance = random.Random(1)
    rows = []
    for number in range(100):
        size = chance.randrange(10**9, 10**10)
        peak = 10**9 + size // 10
        rows.append(f"align,1,{16 * 10**9},{1000 - number},3600000,{peak},{peak},{size}\n")
    rows.append("align,1,16000000000,1,5,-,-,-\n")
    (folder / "trace_made.csv").write_text(HEADER + "".join(rows))


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, float]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("protocol", "tasks"), [("A", 70), ("B", 100)])
def test_memory_that_is_easy_to_foresee_is_hardly_wasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str, tasks: int
) -> None:
    trace(tmp_path)
    assert workflow_memory.main([str(tmp_path), "--protocol", protocol, "--seed", "1", "--json"]) == 0
    made, total = lines(capsys)
    assert (made["workflow"], total["workflow"], made["tasks"]) == ("made", "all", tasks)
    assert made["gb_hours"] < 0.15 * tasks + (0 if protocol == "A" else 30)
    assert made["failing_percent"] <= 5


def test_constants_can_be_tried_on_the_known_part_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace(tmp_path)
    command = [str(tmp_path), "--protocol", "A", "--seed", "1", "--json", "--known-only", "--not-boosted"]
    tasks, hours = [], []
    for constants in ([], ["--set", "leaders=1", "--set", "failure_penalty=0"]):
        assert workflow_memory.main([*command, *constants]) == 0
        made, _ = lines(capsys)
        tasks.append(made["tasks"])
        hours.append(made["gb_hours"])
    assert tasks == [45, 45], "half of the known 30, in three orders"
    assert hours[0] != hours[1]
    with pytest.raises(SystemExit, match="leader"):
        workflow_memory.main([*command, "--set", "leader=1"])


def test_a_failed_attempt_wastes_all_that_it_had() -> None:
    score = workflow_memory.Score()
    row = workflow_memory.Row(process="p", size=1.0, peak=3e9, ms=3.6e6, preset=16e9)
    workflow_memory.tried(row, 2e9, 2e9, 16e9, score)
    assert (score.tasks, score.failing, score.gb_hours) == (1, 1, pytest.approx(2 + 1))


def test_durations_of_a_steady_suite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(2)
    rows = [
        f"{1000 + revision},{test},{(1 + test % 7) * chance.lognormvariate(0, 0.05):.6f}\n"
        for revision in range(60)
        for test in range(60)
    ]
    path = tmp_path / "made.csv.gz"
    with gzip.open(path, "wt") as stream:
        stream.write("unix_time_s,test,seconds\n" + "".join(rows))
    assert durations.main([str(path), "--json"]) == 0
    (figures,) = lines(capsys)
    assert figures["predictions"] == 45 * 60
    assert figures["mdape_percent"] < 6
    assert 85 <= figures["covered_percent"] <= 95
    assert 1.0 <= figures["makespan_over_bound_8"] < 1.2


def test_what_is_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no file trace_"):
        workflow_memory.main([str(tmp_path), "--protocol", "A"])
    (tmp_path / "trace_x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match="no column"):
        workflow_memory.main([str(tmp_path), "--protocol", "B"])
    (tmp_path / "x.csv").write_text("unix_time_s,test,seconds\n1,a,soon\n")
    with pytest.raises(SystemExit, match="line 2 is no measurement"):
        durations.main([str(tmp_path / "x.csv")])
