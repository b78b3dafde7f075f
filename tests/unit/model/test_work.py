"""Tasks, their ids, and the table of stages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drm.model.cluster import ClusterSnapshot, WorkerState, WorkerView
from drm.model.resources import Resources
from drm.model.stages import COMPONENTS, INTEGRATION, STAGES, component_of, stage_named
from drm.model.work import Forecast, Outcome, Task, unique_ids


def test_an_id_that_comes_again_is_numbered() -> None:
    assert unique_ids(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]
    assert unique_ids(["a", "a", "a (2)", "a"]) == ["a", "a (3)", "a (2)", "a (4)"], "that is another's name"


@given(st.lists(st.sampled_from(["a", "b", "c::d", "e[1]"])))
def test_ids_are_unique_and_keep_their_order(nodeids: list[str]) -> None:
    ids = unique_ids(nodeids)
    assert len(set(ids)) == len(ids) == len(nodeids)
    assert all(unique.startswith(nodeid) for unique, nodeid in zip(ids, nodeids, strict=True))


def test_only_failures_and_errors_are_bad() -> None:
    assert {outcome for outcome in Outcome if outcome.is_bad} == {Outcome.FAILED, Outcome.ERROR}


def test_expected_seconds_come_from_the_forecast() -> None:
    assert Task(task_id="a", scope="a").expected_s == 0
    assert Task(task_id="a", scope="a", forecast=Forecast(wall_s=2.0, memory_bytes=0)).expected_s == 2.0


def test_a_snapshot_knows_who_is_ready() -> None:
    workers = tuple(
        WorkerView(
            worker_id=state.value,
            worker_type="t",
            state=state,
            capacity=Resources(cpu_cores=2),
            allocatable=Resources(cpu_cores=2),
            reserved=Resources(cpu_cores=0.5),
        )
        for state in WorkerState
    )
    snapshot = ClusterSnapshot(now_s=0.0, workers=workers)
    assert [worker.worker_id for worker in snapshot.ready] == ["ready"]
    assert workers[0].free == Resources(cpu_cores=1.5)


def test_stages_and_components_have_distinct_names() -> None:
    names = [stage.name for stage in STAGES]
    assert names == ["unit", "integration", "performance", "e2e", "distributed"]
    assert len({component.slug for component in COMPONENTS}) == len(COMPONENTS) == 5
    assert stage_named("e2e") is STAGES[3]
    assert stage_named("nonsense") is None
    assert all(set(stage.after) < set(names) for stage in STAGES)


def test_a_test_belongs_to_the_component_in_its_path() -> None:
    assert component_of("tests/unit/resource_optimizer/test_plan.py::test_x") == "resource_optimizer"
    assert component_of("tests/e2e/test_run.py::test_resource_optimizer") == INTEGRATION.slug
