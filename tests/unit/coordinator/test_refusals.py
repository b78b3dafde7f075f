"""What a person is told of a test that no worker can run, and to do about it."""

from __future__ import annotations

import pytest

from drm.coordinator.ending import refusal_message
from drm.model.cluster import WorkerType, WorkerView
from drm.model.resources import ZERO, Requirements, Resources
from drm.resource_optimizer import lacking

GIB = 2**30
KINDS = (
    WorkerType(name="small", capacity=Resources(cpu_cores=2, memory_bytes=4 * GIB)),
    WorkerType(name="ssd", capacity=Resources(cpu_cores=1, memory_bytes=GIB), labels=frozenset({"gpu memory"})),
)
WORKERS = [WorkerView.planned(kind.name, kind) for kind in KINDS]


@pytest.mark.parametrize(
    ("amounts", "labels", "lacks", "remedy"),
    [
        (Resources(cpu_cores=9, memory_bytes=9 * GIB), (), ("cpu", "memory"), "--drm-cpus, --drm-memory,"),
        (Resources(gpus=1), (), ("gpu",), "(--drm-gpus, --drm-worker-type)"),
        (Resources(cpu_cores=2), ("gpu memory",), ("cpu",), "give larger workers (--drm-cpus, --drm-worker-type)"),
        (ZERO, ("tpu",), ("labels",), "add a worker type with that label"),
    ],
)
def test_the_remedy_is_of_what_lacks_whatever_labels_are_called(
    amounts: Resources, labels: tuple[str, ...], lacks: tuple[str, ...], remedy: str
) -> None:
    needs = Requirements(amounts=amounts, labels=frozenset(labels))
    assert lacking(needs, WORKERS) == lacks
    told = refusal_message(needs, WORKERS)
    assert told is not None
    assert remedy in told


def test_nothing_is_said_of_a_test_that_fits() -> None:
    fits = Requirements(amounts=Resources(cpu_cores=2, memory_bytes=4 * GIB))
    assert (lacking(fits, WORKERS), refusal_message(fits, WORKERS)) == ((), None)


def test_without_workers_larger_ones_are_the_remedy() -> None:
    told = refusal_message(Requirements(), [])
    assert lacking(Requirements(), []) == ("workers",)
    assert told is not None
    assert "there is no worker; lower its @pytest.mark.drm(...) or give larger workers (--drm-worker-type)" in told
