"""What a run over Ray plans with: the machines that have joined the coordinator, whoever of them answers first."""

from __future__ import annotations

from pathlib import Path

from drm.engines.ray_engine.engine import RayEngine, type_of
from drm.engines.ray_engine.state import CoordinatorState
from drm.engines.ray_engine.tables import Machine
from drm.worker.suite import Suite

GPU = Machine(name="g", cpu_cores=4, memory_bytes=2**30, gpus=1, labels=("cuda",))


def test_a_machine_whose_agent_has_not_answered_yet_is_planned_with(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, {"host": "127.0.0.1", "port": 7410})
    suite = Suite(args=(), cwd="/", sys_path=(), run_id="r", executor_count=1, basetemp=str(tmp_path))
    engine = RayEngine(suite=suite, state=state, say=print)
    assert engine.machines == ()
    state.note_machines([Machine(name="small", cpu_cores=1), GPU, Machine(name="old", cpu_cores=1, leaving=True)])
    engine._types["small"] = type_of("small", {"cpu_cores": 2})
    small, gpu = engine.machines
    assert (small.name, small.capacity.cpu_cores) == ("small", 2), "it has said itself what it has"
    assert (gpu.name, gpu.capacity.gpus, gpu.labels) == ("g", 1, {"cuda"})
    engine.close()
