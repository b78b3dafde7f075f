"""Scenarios as people write them; what means nothing is refused in one line that names the place and the remedy."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from drm.cli import main
from drm.dynamic_resource_manager import ScalingSettings
from drm.model.errors import ConfigError
from drm.simulator import read_scenario, scenario_of, simulate

TEXT = """
name: example
seed: 3
workload:
  synthetic:
    tests: 10
    classes:
      - {name: a, cpu: 0.5, memory: 1GiB, seconds: 200ms, lock: db, resources: {license: 1}}
workers:
  - {name: cpu, cpu: 4, memory: 8GiB, start: 1m, labels: ssd}
pool: 0..3
faults: {crashes: 0.1, worker_life: 2h}
policies: {scaling: "utilization,target=0.6", retries: "failure=1", order: file, value_of_time: 12}
resources: {license: 2}
sample: 5s
"""


def test_a_scenario_is_read(tmp_path: Path) -> None:
    path = tmp_path / "example.yml"
    path.write_text(TEXT)
    scenario = read_scenario(path, ["seed=4", "workers.cpu.cpu=2", "workload.synthetic.classes.0.seconds=3"])
    assert (scenario.name, scenario.seed, scenario.pool, scenario.sample_s) == ("example", 4, (0, 3), 5.0)
    (spec,) = scenario.workers
    assert (spec.worker_type.capacity.cpu_cores, spec.start_s, spec.count) == (2, 60, None)
    assert scenario.workload.classes[0].seconds == 3  # type: ignore[union-attr]
    assert scenario.policies.scaling == ScalingSettings.of_policy("utilization", target=0.6, value_of_time=12)
    assert scenario.policies.retries.failure == 1
    assert scenario.policies.file_order
    assert scenario.faults.worker_life_s == 7200
    assert simulate(scenario).tests == 10


BASE: dict[str, Any] = {
    "workload": {"synthetic": {"tests": 2, "classes": [{"seconds": 1}]}},
    "workers": [{"memory": "1GiB", "count": 1}],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(BASE)
    place: Any = data
    *inner, last = path.split(".")
    for key in inner:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("wrkers", [], "s.yml: unknown key 'wrkers'; did you mean 'workers'?"),
        ("workers", [], "give a list with one item at least"),
        ("workers", "many", "workers is 'many'"),
        ("workers.0.memory", "lots", "workers[0]: memory: 'lots' is not a size"),
        ("workers.0.cpu", 0, "workers[0]: cpu"),
        ("workers.0.cpu", float("nan"), "workers[0]: cpu"),
        ("workers.0.gpu", -1, "workers[0]: gpu"),
        ("workers.0.count", "0", "there are no workers"),
        ("workers.0.count", "3..1", "workers[0]: count: '3..1' is not a count"),
        ("workers.0.start", "soon", "workers[0]: start: 'soon' is not a duration"),
        ("workers.0.price", float("inf"), "workers[0]: price"),
        ("workers", [{"memory": 1}, {"memory": 1, "name": "worker0"}], "two kinds of workers are called 'worker0'"),
        ("workers", [{"cpu": 1, "count": 1}], "no memory is given"),
        ("workload", {}, "0 sources of tests"),
        ("workload.trace", "x.csv", "2 sources of tests"),
        ("workload.synthetic.tests", -1, "tests: -1 is no number"),
        ("workload.synthetic.tests", 1.5, "tests: 1.5 is no number"),
        ("workload.synthetic.classes.0.sigma", -1, "classes[0]: sigma"),
        ("workload.synthetic.classes.0.cpus", 1, "did you mean 'cpu'"),
        ("workload.synthetic.classes.0.resources", {"x": 1}, "'x' is not declared"),
        ("workload", {"trace": "none.csv"}, "there is no file"),
        ("requirements", [{"gpu": 1}], "it says of no tests"),
        ("history.known", 2, "history: known: 2 is no share"),
        ("faults.crashes", "often", "faults: crashes: 'often' is no amount"),
        ("policies.scaling", "up", "no scaling policy"),
        ("policies.order", "random", "is no order of tests"),
        ("policies.retries", "always", "does not say how often"),
        ("seed", "x", "seed: 'x' is no number"),
    ],
)
def test_what_means_nothing_is_refused(tmp_path: Path, path: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        simulate(scenario_of(changed(path, value), where="s.yml", folder=tmp_path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("test,second\nx,1\n", "did you mean 'seconds'"),
        ("test,seconds\nx,\n", "line 2: how long the test takes is not said"),
        ("test,seconds\nx,-1\n", "line 2: seconds: '-1' is not a duration"),
        ("test,seconds\nx,1\nx,2\n", "test x comes twice"),
        ("test,seconds,outcome\nx,1,fine\n", "'fine' is no outcome"),
        ("test,seconds,gpu\nx,1,nan\n", "gpu"),
        ("test,seconds\n", "holds no test that has run"),
    ],
)
def test_tables_that_mean_nothing_are_refused(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(ConfigError) as caught:
        simulate(scenario_of({**BASE, "workload": {"trace": "t.csv"}}, where="s.yml", folder=tmp_path))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("a: [", (), "correct the file"),
        ("", (), "is no table"),
        (TEXT, ("--set", "workers.gpu.count=3"), "nothing is called 'gpu'; there is cpu"),
        (TEXT, ("--set", "seed"), "not KEY=VALUE"),
        (TEXT, ("--set", "name.x=3"), "there is nothing to set it in"),
    ],
)
def test_the_command_ends_with_one_line_and_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "s.yml"
    path.write_text(text)
    assert main(["simulate", str(path), *arguments, "--output-dir", str(tmp_path / "out")]) == 4
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_scenario_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(tmp_path / "none.yml")]) == 4
    assert "cannot be read" in capsys.readouterr().err
