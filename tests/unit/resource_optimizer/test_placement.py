"""The sentence that says why a test fits nowhere."""

from __future__ import annotations

import pytest

from drm.model.cluster import WorkerState, WorkerType, WorkerView
from drm.model.resources import ZERO, Requirements, Resources
from drm.resource_optimizer import placement_problem
from drm.resource_optimizer.placement import side_by_side

GIB = 2**30
SMALL = WorkerType(name="small", capacity=Resources(cpu_cores=2, memory_bytes=4 * GIB))
GPU = WorkerType(
    name="gpu", capacity=Resources(cpu_cores=8, memory_bytes=2 * GIB, gpus=2), labels=frozenset({"cuda", "fast"})
)
DB = WorkerType(name="db", capacity=Resources(cpu_cores=1, memory_bytes=GIB), labels=frozenset({"postgres"}))


@pytest.mark.parametrize(
    ("amounts", "labels", "sentence"),
    [
        (Resources(cpu_cores=1), (), None),
        (Resources(cpu_cores=8, gpus=2), ("cuda",), None),
        (Resources(gpus=3), (), "needs 3 gpu; the largest worker has 2"),
        (Resources(cpu_cores=9), (), "needs 9 cpu; the largest worker has 8"),
        (Resources(memory_bytes=5 * GIB), (), "needs 5 GiB of memory; the largest worker has 4 GiB"),
        (
            Resources(cpu_cores=16, gpus=3),
            (),
            "needs 16 cpu; the largest worker has 8 and needs 3 gpu; the largest worker has 2",
        ),
        (
            Resources(cpu_cores=1, memory_bytes=3 * GIB, gpus=1),
            (),
            "needs 1 cpu, 3 GiB, 1 gpu together; no one worker has all of it",
        ),
        (Resources(gpus=4), ("cuda",), "needs 4 gpu; the largest worker labelled cuda has 2"),
        (ZERO, ("tpu",), "needs the label tpu; no worker carries it"),
        (ZERO, ("tpu", "zos"), "needs the labels tpu, zos; no worker carries them"),
        (ZERO, ("cuda", "postgres"), "needs the labels cuda, postgres together; no one worker carries all of them"),
    ],
)
def test_the_sentence_names_what_lacks(amounts: Resources, labels: tuple[str, ...], sentence: str | None) -> None:
    assert placement_problem(Requirements(amounts=amounts, labels=frozenset(labels)), [SMALL, GPU, DB]) == sentence


def test_without_workers_the_sentence_says_so() -> None:
    assert placement_problem(Requirements(), []) == "needs 1 cpu, 0 B; there is no worker"


def test_a_worker_counts_by_what_is_allocatable_not_by_what_is_free() -> None:
    view = WorkerView(
        worker_id="w",
        worker_type="t",
        state=WorkerState.READY,
        capacity=Resources(cpu_cores=4),
        allocatable=Resources(cpu_cores=3),
        reserved=Resources(cpu_cores=3),
    )
    assert placement_problem(Requirements(amounts=Resources(cpu_cores=3)), [view]) is None
    assert placement_problem(Requirements(amounts=Resources(cpu_cores=4)), [view]) is not None


@pytest.mark.parametrize(
    ("amounts", "count"),
    [
        (Resources(cpu_cores=0.1), 10),
        (Resources(cpu_cores=0.3), 3),
        (Resources(cpu_cores=0.3, memory_bytes=GIB), 1),
        (Resources(cpu_cores=2), 0),
        (ZERO, 1),
    ],
)
def test_how_often_amounts_fit_side_by_side(amounts: Resources, count: int) -> None:
    assert side_by_side(amounts, DB.capacity) == count
