"""What a simulated test costs: the whole coordinator, without processes; and how near its runs come to the bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drm.simulator import Simulation, read_scenario, simulate

SCENARIOS = Path(__file__).parent / "scenarios"
WORST = {"gpu_mixed.yml": 1.2, "million.yml": 1.002}  # makespan over bound, when last measured, rounded up


@pytest.mark.parametrize(("workers", "tests"), [(20, 2_000), (400, 2_000)])
def test_simulate(measure: Any, workers: int, tests: int) -> None:
    """The scenario of a million tests, made smaller. What more workers do to the cost of an event: ``event_cost``."""
    changes = [f"workload.synthetic.tests={tests}", f"workers.cpu.count={workers}"]
    scenario = read_scenario(SCENARIOS / "million.yml", changes)
    result = measure(
        lambda simulation: simulation.run(), setup=lambda: Simulation(scenario), tests=tests, workers=workers
    )
    measure.extra["events"] = result.events
    assert dict(result.counts) == {"passed": tests}


@pytest.mark.parametrize("name", sorted(WORST))
def test_makespan_over_bound(name: str) -> None:
    """Quality by a fixed seed: it is the same on every machine."""
    result = simulate(read_scenario(SCENARIOS / name, ["workload.synthetic.tests=4000", "workers.cpu.count=12"]))
    assert result.makespan_s / result.bound_s <= WORST[name]
