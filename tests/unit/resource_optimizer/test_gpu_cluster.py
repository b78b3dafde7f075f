"""The command that measures allocation on a published trace: its protocol, and files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fleet_examples import load

gpu_cluster = load("gpu_cluster")
NODES = "sn,cpu_milli,memory_mib,gpu,model\na,8000,1024,2,T4\nb,8000,1024,4,V100\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
    "p,1000,64,1,500,T4\nq,1000,64,2,1000,\nr,500,32,0,0,\ns,500,32,1,250,V100|T4\n"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "openb_node_list_gpu_node.csv").write_text(NODES)
    (tmp_path / "openb_pod_list_some.csv").write_text(PODS)
    (tmp_path / "openb_pod_list_other.csv").write_text(
        PODS.replace(",gpu_spec", "").replace("T4", "").replace("V100|", "")
    )
    (tmp_path / "published_gpu_allocation.csv").write_text("workload,Random,FGD\nsome,50,60.5\n")
    return tmp_path


def test_pods_come_until_they_ask_for_130_percent() -> None:
    pods = [gpu_cluster.Request(cpu_milli=1, gpu_milli=300), gpu_cluster.Request(cpu_milli=1, gpu_devices=2)]
    come = gpu_cluster.arrivals(pods, 10_000, 1)
    asked = [gpu_cluster.milli(pod) for pod in come]
    assert sum(asked) >= 13_000 > sum(asked[:-1])
    assert sorted(asked[:2]) == [300, 2000], "first all pods, shuffled"
    assert come == gpu_cluster.arrivals(pods, 10_000, 1) != gpu_cluster.arrivals(pods, 10_000, 2)


@pytest.mark.parametrize("batch", [[], ["--batch"]])
def test_every_workload_of_the_folder_is_run(data: Path, batch: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_cluster.main([str(data), "--seeds", "1-2", "--json", "--jobs", "1", *batch]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["workload"], row["published_fgd_percent"]) for row in rows] == [("other", None), ("some", 60.5)]
    for row in rows:
        assert row["seeds"] == [1, 2]
        assert all(0 < figure <= 100 for figure in row["per_seed_percent"])
    assert gpu_cluster.main([str(data), "--seeds", "1", "--jobs", "1", *batch]) == 0
    table = capsys.readouterr().out.splitlines()
    assert "60.50" in table[2]
    assert len(table) == 3


def test_files_that_are_wrong_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def complaint(*arguments: str) -> str:
        assert gpu_cluster.main([*arguments, "--jobs", "1"]) == 2
        return capsys.readouterr().err

    assert "no openb_pod_list" in complaint(str(data / "nowhere"))
    (data / "openb_pod_list_some.csv").write_text("name,cpu_milli\np,1\n")
    assert "openb_pod_list_some.csv: not a list of pods" in complaint(str(data))
    (data / "openb_node_list_gpu_node.csv").unlink()
    assert "openb_node_list_gpu_node.csv: cannot be read" in complaint(str(data))
    with pytest.raises(SystemExit):
        gpu_cluster.main([str(data), "--seeds", "2-1"])
