"""How good predictions are on published traces, where the data are there: the figures of the two commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import test_durations as durations
from benchmarks import workflow_memory

DATA = next((path for up in Path(__file__).resolve().parents if (path := up / "shared" / "data").is_dir()), None)
needs_data = pytest.mark.skipif(DATA is None, reason="no folder shared/data beside or above the project: no traces")
MOST_FAILING = 3.0  # percent
COVERED = (88.0, 92.0)


@needs_data
@pytest.mark.parametrize("protocol", ["A", "B"])
def test_memory_of_workflows(benchmark: Any, request: Any, protocol: str) -> None:
    assert DATA is not None
    folder, quick = DATA / "workflow-memory", bool(request.config.getoption("--quick"))
    seeds = [0] if quick or protocol == "B" else [0, 1, 2]
    rows = benchmark.pedantic(lambda: list(workflow_memory.results(folder, protocol, seeds, None)), rounds=1)
    for row in rows:
        benchmark.extra_info[str(row["workflow"])] = row["gb_hours"]
        assert quick or COVERED[0] <= float(row["covered_percent"]) <= COVERED[1]
        assert float(row.get("presets_gb_hours", row["gb_hours"])) >= float(row["gb_hours"])
    assert float(rows[-1]["failing_percent"]) <= MOST_FAILING


@needs_data
def test_durations_of_a_suite(benchmark: Any) -> None:
    assert DATA is not None
    path = DATA / "test-durations" / "onegov.csv.gz"
    figures = benchmark.pedantic(lambda: durations.replay(path), rounds=1)
    benchmark.extra_info.update(figures)
    assert figures["mdape_percent"] <= 4.0
    assert COVERED[0] <= figures["covered_percent"] <= COVERED[1]
    assert figures["makespan_over_bound_8"] <= 1.01
    assert figures["makespan_over_bound_32"] <= 1.05
